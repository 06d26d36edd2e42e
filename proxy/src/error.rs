//! What can go wrong here.

use std::path::PathBuf;

/// An error of the proxy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be started.
    #[error("cannot run {program}: {source}; is it installed?")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A program answered with a failure.
    #[error("{program} {arguments}: {message}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// What it was asked.
        arguments: String,
        /// What it said.
        message: String,
    },
    /// A file of the kernel could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel's connection table could not be asked.
    #[error("connection tracking: {0}")]
    Conntrack(#[from] nix::Error),
}

/// The result of what can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
