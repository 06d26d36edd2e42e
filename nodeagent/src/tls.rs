//! TLS of the node: its server, and probes that trust whatever a pod shows.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What the node serves with now; nothing, before it has a certificate.
#[derive(Default)]
pub struct Serving {
    config: ArcSwapOption<ServerConfig>,
    client_ca: ArcSwapOption<String>,
}

impl Serving {
    /// Clients are let in with certificates of this CA, from the next certificate on.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn trust(&self, client_ca_pem: &str) -> anyhow::Result<()> {
        roots(client_ca_pem)?;
        self.client_ca.store(Some(Arc::new(client_ca_pem.to_owned())));
        Ok(())
    }

    /// Serves new connections with this certificate.
    ///
    /// # Errors
    /// It cannot be read, or the key is another's.
    pub fn set(&self, cert_pem: &str, key_pem: &str) -> anyhow::Result<()> {
        let client_ca = self.client_ca.load();
        let config = server(cert_pem, key_pem, client_ca.as_ref().map(|pem| pem.as_str()))?;
        self.config.store(Some(Arc::new(config)));
        Ok(())
    }

    /// How the next connection is served.
    pub fn current(&self) -> Option<TlsAcceptor> {
        self.config.load_full().map(TlsAcceptor::from)
    }
}

fn roots(pem: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(cert?)?;
    }
    Ok(roots)
}

/// The node's server: it asks for a client certificate, and lets `/healthz` do without.
fn server(cert_pem: &str, key_pem: &str, client_ca_pem: Option<&str>) -> anyhow::Result<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca_pem {
        Some(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider());
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    // Upgrades need HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// For probes: as upstream, the certificate of a pod is not checked.
pub fn trusting_connector() -> tokio_rustls::TlsConnector {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider())))
        .with_no_client_auth();
    Arc::new(config).into()
}

#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
