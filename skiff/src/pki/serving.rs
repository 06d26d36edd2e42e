//! What the API server shows: the certificate in two files, and what they hold next, without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::{Pair, files};

/// How often the files are compared with what is shown.
const COMPARE: Duration = Duration::from_secs(1);

/// The certificate that counts now.
#[derive(Debug)]
pub struct Serving {
    shown: ArcSwap<CertifiedKey>,
    certificate: PathBuf,
    key: PathBuf,
}

impl Serving {
    /// Shows `pair`, which `dir/FILE.crt` and `dir/FILE.key` hold.
    pub(super) fn new(dir: &Path, file: &str, pair: &Pair) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            shown: ArcSwap::new(certified(pair)?),
            certificate: dir.join(format!("{file}.crt")),
            key: dir.join(format!("{file}.key")),
        }))
    }

    /// Shows what the files hold whenever that is something else.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut known = self.read();
        loop {
            tokio::select! {
                () = tokio::time::sleep(COMPARE) => {}
                () = shutdown.cancelled() => return,
            }
            let found = self.read();
            let Some(pair) = found.as_ref().filter(|_| found != known) else { continue };
            match certified(pair) {
                Ok(certified) => {
                    self.shown.store(certified);
                    tracing::info!(file = %self.certificate.display(), "a new certificate is shown");
                }
                // One file is written after the other.
                Err(error) => {
                    tracing::debug!(error = format!("{error:#}"), "the files do not fit together yet")
                }
            }
            known = found;
        }
    }

    fn read(&self) -> Option<Pair> {
        let read = |path| files::read(path).ok().flatten();
        Some((read(&self.certificate)?, read(&self.key)?))
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }
}

/// A certificate with its key, which must belong together.
fn certified((certificate, key): &Pair) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider);
    certified.map(Arc::new).context("the certificate and the key do not belong together")
}
