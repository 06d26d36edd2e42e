//! The words of `skiff token`, after kubeadm's.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// `skiff token`: what new nodes join with.
#[derive(Debug, Clone, Args)]
pub struct Token {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
    /// How to reach the API, and as whom; that of the data directory if not given.
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Where the cluster's data is kept.
    #[arg(long, value_name = "DIR", global = true, default_value_os_t = super::default_data_dir())]
    pub data_dir: PathBuf,
}

/// What is done with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Make a token, and print the command by which a node joins with it.
    Create(Create),
    /// Print the tokens that there are.
    List,
    /// Take tokens back.
    Delete {
        /// The tokens, or their first six letters.
        #[arg(required = true, value_name = "TOKEN")]
        tokens: Vec<String>,
    },
}

/// `skiff token create`.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// The token, as [a-z0-9]{6}.[a-z0-9]{16}; made up if not given.
    pub token: Option<String>,
    /// How long it is good for; 0 is for ever.
    #[arg(long, value_name = "DURATION", default_value = "24h0m0s", value_parser = super::duration)]
    pub ttl: Duration,
    /// What it may be used for.
    #[arg(long, value_delimiter = ',', default_value = "signing,authentication")]
    pub usages: Vec<String>,
    /// The groups that it stands for besides system:bootstrappers.
    #[arg(long, value_delimiter = ',', default_value = skiff_api::bootstrap_token::NODE_GROUP)]
    pub groups: Vec<String>,
    /// What it is for, for people.
    #[arg(long, default_value = "")]
    pub description: String,
}
