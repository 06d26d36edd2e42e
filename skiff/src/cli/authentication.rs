//! The flags that say who is believed, with kube-apiserver's names.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{ArgAction, Args};
use skiff_apiserver::security::authenticate::{self, anonymous::Anonymous, front_proxy, oidc, webhook};
use skiff_apiserver::security::token;

/// Who is believed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authentication")]
pub struct Authentication {
    /// Whether requests without credentials pass to authorization; if not given, for health and version only.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub anonymous_auth: Option<bool>,
    /// CAs (PEM) whose client certificates are believed, besides the cluster's own.
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Tokens, one a line: token,user,uid,"group1,group2".
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Whether Secrets of type bootstrap.kubernetes.io/token in kube-system let nodes in to ask for a certificate.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub enable_bootstrap_token_auth: bool,
    /// Who issues service-account tokens; given more than once, the first signs and all are believed.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub service_account_issuer: Vec<String>,
    /// Keys (PEM) that verify service-account tokens besides the cluster's own.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub service_account_key_file: Vec<PathBuf>,
    /// Where others find the keys of service-account tokens; on this server if not given.
    #[arg(long, value_name = "URL")]
    pub service_account_jwks_uri: Option<String>,
    /// The longest time that a service-account token may be asked for.
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub service_account_max_token_expiration: Option<std::time::Duration>,
    /// Whether tokens in pods go on working for a year although clients are told an hour.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub service_account_extend_token_expiration: bool,
    /// What this API server is called in tokens; the issuer if not given.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// The CA (PEM) of proxies that say in headers who asks.
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// The common names that such a proxy may have; any if not given.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// The headers that name the user.
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    /// The headers that carry the uid.
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// The headers that name groups.
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    /// What headers with further facts begin with.
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// An AuthenticationConfiguration (apiserver.config.k8s.io) with issuers of tokens; it is taken in again when it changes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["oidc_issuer_url", "anonymous_auth"])]
    pub authentication_config: Option<PathBuf>,
    /// An OpenID Connect issuer whose tokens are believed.
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// Whom its tokens must be meant for.
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub oidc_client_id: Option<String>,
    /// The CA (PEM) of its certificate; this machine's if not given.
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// The claim that names the user.
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    pub oidc_username_claim: String,
    /// What is put before the user's name: `-` for nothing; the issuer's URL and # if not given, unless the claim is email.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub oidc_username_prefix: String,
    /// The claim that names groups.
    #[arg(long, value_name = "CLAIM", default_value = "")]
    pub oidc_groups_claim: String,
    /// What is put before groups.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub oidc_groups_prefix: String,
    /// A claim that must have a value: key=value; may be given more than once.
    #[arg(long, value_name = "CLAIMS", value_delimiter = ',')]
    pub oidc_required_claim: Vec<String>,
    /// The algorithms that its tokens may be signed with.
    #[arg(long, value_name = "ALGORITHMS", value_delimiter = ',', default_value = "RS256")]
    pub oidc_signing_algs: Vec<String>,
    /// A kubeconfig that says where a server is that knows tokens.
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// The version of the TokenReview that it is asked with: v1 or v1beta1.
    #[arg(long, value_name = "VERSION", default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    pub authentication_token_webhook_version: String,
    /// How long its answers are believed.
    #[arg(long, value_name = "DURATION", default_value = "2m0s", value_parser = super::duration)]
    pub authentication_token_webhook_cache_ttl: std::time::Duration,
}

impl Authentication {
    /// What the API server is told.
    pub fn options(&self) -> anyhow::Result<authenticate::Options> {
        let default = token::Options::default();
        let mut keys_pem = Vec::new();
        for path in &self.service_account_key_file {
            keys_pem.push(read(path, "--service-account-key-file")?);
        }
        Ok(authenticate::Options {
            anonymous: match self.anonymous_auth {
                None => Anonymous::Health,
                Some(true) => Anonymous::Always,
                Some(false) => Anonymous::Never,
            },
            client_ca_pem: match &self.client_ca_file {
                Some(path) => read(path, "--client-ca-file")?,
                None => String::new(),
            },
            token_auth_file: self.token_auth_file.clone(),
            bootstrap_tokens: self.enable_bootstrap_token_auth,
            service_accounts: token::Options {
                issuers: or(&self.service_account_issuer, default.issuers),
                api_audiences: self.api_audiences.clone(),
                keys_pem,
                jwks_uri: self.service_account_jwks_uri.clone().unwrap_or_default(),
                max_expiration_s: self
                    .service_account_max_token_expiration
                    .and_then(|longest| i64::try_from(longest.as_secs()).ok())
                    .filter(|longest_s| *longest_s > 0),
                extend_expiration: self.service_account_extend_token_expiration,
            },
            front_proxy: front_proxy::Options {
                client_ca_file: self.requestheader_client_ca_file.clone(),
                allowed_names: self.requestheader_allowed_names.clone(),
                username_headers: self.requestheader_username_headers.clone(),
                uid_headers: self.requestheader_uid_headers.clone(),
                group_headers: self.requestheader_group_headers.clone(),
                extra_headers_prefix: self.requestheader_extra_headers_prefix.clone(),
            },
            oidc: oidc::Options {
                flags: oidc::config::Flags {
                    issuer_url: self.oidc_issuer_url.clone().unwrap_or_default(),
                    client_id: self.oidc_client_id.clone().unwrap_or_default(),
                    ca_file: self.oidc_ca_file.clone(),
                    username_claim: self.oidc_username_claim.clone(),
                    username_prefix: self.oidc_username_prefix.clone(),
                    groups_claim: self.oidc_groups_claim.clone(),
                    groups_prefix: self.oidc_groups_prefix.clone(),
                    required_claims: self.oidc_required_claim.clone(),
                    signing_algs: self.oidc_signing_algs.clone(),
                },
                config_file: self.authentication_config.clone(),
                reload: None,
            },
            webhook: self.authentication_token_webhook_config_file.clone().map(|config_file| {
                webhook::Options {
                    config_file,
                    version: self.authentication_token_webhook_version.clone(),
                    cache_ttl: self.authentication_token_webhook_cache_ttl,
                }
            }),
        })
    }
}

fn or(given: &[String], default: Vec<String>) -> Vec<String> {
    if given.is_empty() { default } else { given.to_vec() }
}

fn read(path: &Path, flag: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{flag}: cannot read {}", path.display()))
}
