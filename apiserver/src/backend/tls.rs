//! Whom to believe: certificates of servers outside, by the bundle that was given for them.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::{Failure, Trust};

/// A certificate that is shown to servers, and its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From PEM.
    pub fn read(certificate: &str, key: &str) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>()?;
        Ok(Self { chain, key: PrivateKeyDer::from_pem_slice(key.as_bytes())? })
    }
}

/// What makes connections that believe as told.
pub fn connector(trust: &Trust, identity: Option<&Identity>) -> Result<TlsConnector, Failure> {
    let verifier = Verifier::new(trust)?;
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let failed = |error: rustls::Error| Failure::Other(format!("tls: {error}"));
    let config = match identity {
        Some(identity) => {
            config.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key()).map_err(failed)?
        }
        None => config.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Why a bundle cannot be used, if it cannot.
pub fn bundle_error(pem: &[u8]) -> Option<&'static str> {
    let unusable = "unable to load root certificates: unable to parse bytes as PEM block";
    certificates(pem).is_none_or(|list| list.is_empty()).then_some(unusable)
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

/// Checks a server's certificate as Go does: one that stands in the bundle itself is believed too, whether or
/// not it may sign others.
#[derive(Debug)]
struct Verifier {
    /// None believes all.
    chains: Option<Arc<WebPkiServerVerifier>>,
    known: Vec<CertificateDer<'static>>,
    schemes: Vec<SignatureScheme>,
}

impl Verifier {
    fn new(trust: &Trust) -> Result<Self, Failure> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let known = match trust {
            Trust::Anyone => return Ok(Self { chains: None, known: Vec::new(), schemes }),
            Trust::System => rustls_native_certs::load_native_certs().certs,
            Trust::Bundle(pem) => certificates(pem).filter(|list| !list.is_empty()).ok_or_else(|| {
                Failure::Other("unable to load root certificates: unable to parse bytes as PEM block".into())
            })?,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(known.iter().cloned());
        // A bundle of which nothing can sign still names what is believed.
        let chains = if roots.is_empty() { None } else { Some(roots) };
        let chains = chains
            .map(|roots| {
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider)).build()
            })
            .transpose()
            .map_err(|error| Failure::Other(format!("tls: {error}")))?;
        match chains {
            Some(chains) => Ok(Self { chains: Some(chains), known, schemes }),
            None => Err(Failure::Other(
                "tls: failed to verify certificate: x509: certificate signed by unknown authority".into(),
            )),
        }
    }

    /// Whether this very certificate was given, is made out to this name, and is of now.
    fn is_known(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<bool, rustls::Error> {
        if !self.known.iter().any(|known| known.as_ref() == certificate.as_ref()) {
            return Ok(false);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = parsed.validity();
        let valid = validity.not_before.timestamp() <= at && at <= validity.not_after.timestamp();
        if valid { Ok(true) } else { Err(expired) }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chains) = &self.chains else { return Ok(ServerCertVerified::assertion()) };
        let verified = chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Ok(verified) => Ok(verified),
            Err(_) if self.is_known(end_entity, server_name, now)? => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
