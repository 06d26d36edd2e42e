//! The flags of auditing, under upstream's names.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use skiff_apiserver::audit::{LogOptions, Options, Policy, WebhookOptions};

/// What is recorded of requests, and where.
#[derive(Debug, Clone, Args)]
pub struct Audit {
    /// The audit policy (audit.k8s.io/v1); without one nothing is recorded.
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// The file that audit events are written to; - is the standard output.
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// The size at which that file is set aside and begun anew; 0 is 100.
    #[arg(long, value_name = "MEGABYTES", default_value_t = 0)]
    pub audit_log_maxsize: u64,
    /// How many of the files that were set aside are kept; 0 is all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// How long the files that were set aside are kept; 0 is for ever.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub audit_log_maxage: u32,
    /// Whether the files that were set aside are compressed.
    #[arg(long)]
    pub audit_log_compress: bool,
    /// A kubeconfig of the server that audit events are sent to.
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// The most events that wait to be sent there.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub audit_webhook_batch_buffer_size: usize,
    /// The most events that are sent at once.
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub audit_webhook_batch_max_size: usize,
    /// The longest that an event waits for others.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::duration)]
    pub audit_webhook_batch_max_wait: Duration,
    /// How long to wait before events that were not taken are sent again.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = super::duration)]
    pub audit_webhook_initial_backoff: Duration,
}

impl Audit {
    /// Reads the policy.
    pub fn options(&self) -> anyhow::Result<Options> {
        let read = |path: &PathBuf| {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let policy = Policy::read(&text).map_err(anyhow::Error::msg);
            policy.with_context(|| format!("the audit policy {} is not valid", path.display()))
        };
        let policy = self.audit_policy_file.as_ref().map(read).transpose()?;
        let log = self.audit_log_path.clone().map(|path| LogOptions {
            path,
            max_size_mb: self.audit_log_maxsize,
            max_backups: self.audit_log_maxbackup,
            max_age_days: self.audit_log_maxage,
            compress: self.audit_log_compress,
        });
        let webhook = self.audit_webhook_config_file.clone().map(|config_file| WebhookOptions {
            config_file,
            buffer: self.audit_webhook_batch_buffer_size,
            batch: self.audit_webhook_batch_max_size,
            wait: self.audit_webhook_batch_max_wait,
            backoff: self.audit_webhook_initial_backoff,
        });
        Ok(Options { policy, log, webhook })
    }
}
