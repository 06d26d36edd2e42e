//! What can go wrong in the runtime.

use std::path::PathBuf;

/// The runtime's errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server answered with an error, or did not answer.
    #[error("API request failed: {0}")]
    Api(#[from] kube::Error),
    /// A kubeconfig could not be used.
    #[error("kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What kube says about it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A configuration file does not say what it should.
    #[error("{}: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Which field, what was wrong, what is allowed.
        message: String,
    },
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The process is stopping.
    #[error("shutting down")]
    Shutdown,
}
