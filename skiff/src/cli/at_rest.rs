//! The flags of encryption at rest, under upstream's names.

use std::path::PathBuf;

use clap::Args;

/// How values are kept in the store.
#[derive(Debug, Clone, Default, Args)]
pub struct AtRest {
    /// An EncryptionConfiguration (apiserver.config.k8s.io/v1). Without one, Secrets of the embedded store are encrypted
    /// with the key in DATA/encryption.key, and etcd is written in plain.
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Whether a change of that file counts without a restart.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    pub encryption_provider_config_automatic_reload: bool,
}
