//! The flags that say who may do what, with kube-apiserver's names.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use skiff_apiserver::security::authorize::{self, webhook};

/// Who may do what.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authorization")]
pub struct Authorization {
    /// Who is asked, in order: Node, RBAC, Webhook, AlwaysAllow, AlwaysDeny.
    #[arg(long, value_name = "MODES", value_delimiter = ',', default_value = "Node,RBAC")]
    pub authorization_mode: Vec<String>,
    /// An AuthorizationConfiguration (apiserver.config.k8s.io), instead of the other flags; it is taken in again when it changes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["authorization_mode", "authorization_webhook_config_file"])]
    pub authorization_config: Option<PathBuf>,
    /// A kubeconfig that says where the server of the mode Webhook is.
    #[arg(long, value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// The version of the SubjectAccessReview that it is asked with: v1 or v1beta1.
    #[arg(long, value_name = "VERSION", default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    pub authorization_webhook_version: String,
    /// How long its yes is believed.
    #[arg(long, value_name = "DURATION", default_value = "5m0s", value_parser = super::duration)]
    pub authorization_webhook_cache_authorized_ttl: Duration,
    /// How long its no is believed.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::duration)]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,
}

impl Authorization {
    /// What the API server is told.
    pub fn options(&self) -> authorize::Options {
        let webhook = self.authorization_webhook_config_file.clone().map(|config_file| webhook::Options {
            name: "default".into(),
            config_file,
            version: self.authorization_webhook_version.clone(),
            authorized_ttl: self.authorization_webhook_cache_authorized_ttl,
            unauthorized_ttl: self.authorization_webhook_cache_unauthorized_ttl,
            timeout: Duration::from_secs(30),
            failure: webhook::Failure::NoOpinion,
            conditions: Vec::new(),
        });
        authorize::Options {
            modes: self.authorization_mode.clone(),
            webhook,
            config_file: self.authorization_config.clone(),
            ..Default::default()
        }
    }
}
