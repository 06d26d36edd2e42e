//! The words of `skiff certs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `skiff certs`: the certificates in a data directory.
#[derive(Debug, Clone, Args)]
pub struct Certs {
    /// What to do; all are shown if nothing is said.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Where the cluster's data, or a node's, is kept.
    #[arg(long, value_name = "DIR", global = true, default_value_os_t = super::default_data_dir())]
    pub data_dir: PathBuf,
}

/// What is done with certificates.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Print who each is for, who signed it and when it ends.
    Show,
    /// Make certificates anew, with new keys. What runs takes them over.
    Renew {
        /// Which, as `show` names them; all that the cluster's CA signed if none is named.
        names: Vec<String>,
    },
}
