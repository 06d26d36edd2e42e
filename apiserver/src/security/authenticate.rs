//! From what a request shows to who asks: a list of authenticators, asked in upstream's order.
//!
//! 1. a proxy in front, by its certificate and headers ([`front_proxy`]);
//! 2. the client's own certificate ([`super::certificate`]);
//! 3. a bearer token, from the header or a WebSocket's subprotocols ([`credentials`]), shown to each [`TokenAuthenticator`]: the token file,
//!    service accounts, bootstrap tokens, OIDC issuers, a webhook;
//! 4. nobody ([`anonymous`]), only where no credentials were shown at all.
//!
//! The first who knows the credentials decides. Whoever shows credentials that nobody believes is refused, also where nobody in
//! particular would be let in. As upstream's `pkg/kubeapiserver/authenticator`.

pub mod anonymous;
pub mod bootstrap_token;
pub mod cache;
pub mod credentials;
pub mod front_proxy;
pub mod oidc;
pub mod token_file;
pub mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use skiff_api::status::Status;
use tokio_util::sync::CancellationToken;

use super::certificate::ClientAuthorities;
pub use super::certificate::Shown as ShownCertificate;
use super::remote::Remote;
use super::tls::AnyClient;
pub use super::token::{Bound, Grant, ISSUER, ServiceAccountTokens};
use super::{ANONYMOUS, AUTHENTICATED, Invalid, Objects, UNAUTHENTICATED, User, token};
use crate::cache::Cache;
use crate::reload;
use anonymous::Anonymous;

/// How often files that say who is believed are looked at.
const RELOAD: Duration = Duration::from_secs(60);

/// What the flags say about authentication.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where nobody in particular may ask.
    pub anonymous: Anonymous,
    /// CAs of clients besides the cluster's own, as PEM (`--client-ca-file`).
    pub client_ca_pem: String,
    /// `--token-auth-file`.
    pub token_auth_file: Option<PathBuf>,
    /// `--enable-bootstrap-token-auth`.
    pub bootstrap_tokens: bool,
    /// `--service-account-*` and `--api-audiences`.
    pub service_accounts: token::Options,
    /// `--requestheader-*`.
    pub front_proxy: front_proxy::Options,
    /// `--oidc-*` and `--authentication-config`.
    pub oidc: oidc::Options,
    /// `--authentication-token-webhook-*`.
    pub webhook: Option<webhook::Options>,
}

/// A token, shown by someone.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// It.
    pub token: &'a str,
    /// Whom it must be meant for; this API server if empty.
    pub audiences: &'a [String],
    /// What this API server is called.
    pub api_audiences: &'a [String],
    /// What tokens are bound to.
    pub objects: &'a dyn Objects,
    /// The time.
    pub now_s: i64,
}

impl Question<'_> {
    /// The answer of an authenticator whose tokens name no audience: they are meant for this API server.
    pub fn whatever_the_audience(&self, user: User) -> Option<Authenticated> {
        let wanted = if self.audiences.is_empty() { self.api_audiences } else { self.audiences };
        let common: Vec<String> =
            self.api_audiences.iter().filter(|own| wanted.contains(own)).cloned().collect();
        (!common.is_empty()).then(|| Authenticated::new(user, &common))
    }
}

/// Who someone is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// The user.
    pub user: Arc<User>,
    /// Those of the audiences asked for that the credentials are meant for.
    pub audiences: Vec<String>,
    /// The objects without which this is void.
    pub rests_on: Vec<Rest>,
    /// Seconds since 1970 after which this is void.
    pub until_s: i64,
    /// A Secret's token was used; its label should say so.
    pub last_use: Option<LastUse>,
}

impl Authenticated {
    /// A user whom nothing can take back.
    pub fn new(user: User, audiences: &[String]) -> Self {
        Self {
            user: Arc::new(user),
            audiences: audiences.to_vec(),
            rests_on: Vec::new(),
            until_s: i64::MAX,
            last_use: None,
        }
    }
}

/// An object as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// The plural.
    pub resource: &'static str,
    /// Empty for the cluster scope.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which state of it.
    pub stamp: u64,
}

impl Rest {
    /// An object in a state.
    pub fn new(resource: &'static str, namespace: &str, name: &str, stamp: u64) -> Self {
        Self { resource, namespace: namespace.into(), name: name.into(), stamp }
    }
}

/// The day on which a Secret's token was last used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    /// The Secret's namespace.
    pub namespace: String,
    /// Its name.
    pub secret: String,
    /// Its uid.
    pub uid: String,
    /// Such as `2026-01-31`.
    pub day: String,
}

/// Knows one sort of tokens.
#[async_trait::async_trait]
pub trait TokenAuthenticator: Send + Sync {
    /// Who a token stands for; nothing if it is not of this sort.
    ///
    /// # Errors
    /// It is of this sort, and not valid.
    async fn token(&self, asked: &Question<'_>) -> Result<Option<Authenticated>, Invalid>;
}

/// What a request shows.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The client's certificate, as it was judged when the connection began.
    pub certificate: Option<&'a ShownCertificate>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The path asked for.
    pub path: &'a str,
}

/// Knows every way to prove who one is.
pub struct Authenticator {
    /// Tokens of service accounts.
    pub accounts: Arc<ServiceAccountTokens>,
    clients: ClientAuthorities,
    front_proxy: front_proxy::Options,
    tokens: Vec<Arc<dyn TokenAuthenticator>>,
    anonymous: Anonymous,
    cache: Arc<cache::TokenCache>,
}

impl Authenticator {
    /// As the flags say; `ca_pem` is the cluster's own CA, `key_pem` what signs service-account tokens.
    ///
    /// # Errors
    /// A file cannot be read or does not say what it should.
    pub fn new(options: &Options, ca_pem: &str, key_pem: &str) -> anyhow::Result<Self> {
        let accounts = Arc::new(ServiceAccountTokens::with(key_pem, options.service_accounts.clone())?);
        let proxy_ca_pem = match &options.front_proxy.client_ca_file {
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                anyhow::anyhow!("--requestheader-client-ca-file: {}: {error}", path.display())
            })?,
            None => String::new(),
        };
        let client_ca_pem = format!("{ca_pem}\n{}", options.client_ca_pem);
        let clients = ClientAuthorities::new(&client_ca_pem, &proxy_ca_pem)?;
        let mut tokens: Vec<Arc<dyn TokenAuthenticator>> = Vec::new();
        if let Some(path) = &options.token_auth_file {
            tokens.push(Arc::new(token_file::TokenFile::open(path)?));
        }
        tokens.push(accounts.clone());
        if options.bootstrap_tokens {
            tokens.push(Arc::new(bootstrap_token::BootstrapTokens));
        }
        Ok(Self {
            accounts,
            clients,
            front_proxy: options.front_proxy.clone(),
            tokens,
            anonymous: options.anonymous.clone(),
            cache: Arc::default(),
        })
    }

    /// The same with those that ask servers outside, which come last. What a file says is taken in again when it changes, until `shutdown`.
    ///
    /// # Errors
    /// A file cannot be read or does not say what it should.
    pub fn with_servers(
        mut self,
        options: &Options,
        cache: &Arc<Cache>,
        reloads: &reload::Count,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let reserved = &options.service_accounts.issuers;
        if let Some((issuers, anonymous)) = oidc::Issuers::new(&options.oidc, reserved, cache)? {
            let issuers = Arc::new(issuers);
            self.tokens.push(issuers.clone());
            self.anonymous = anonymous.unwrap_or(self.anonymous);
            if let Some(path) = options.oidc.config_file.clone() {
                let every = options.oidc.reload.unwrap_or(RELOAD);
                let cached = self.cache.clone();
                // What was believed by the old file is not by the new.
                issuers.follow(path, every, reloads.clone(), shutdown.clone(), move || cached.clear());
            }
        }
        if let Some(options) = &options.webhook {
            let remote = Remote::of_kubeconfig(&options.config_file, webhook::TIMEOUT, cache)?;
            self.tokens.push(Arc::new(webhook::Webhook::new(remote, options)));
        }
        Ok(self)
    }

    /// Judges a certificate chain that a client has shown.
    pub fn certificate(&self, chain: &[rustls::pki_types::CertificateDer<'_>]) -> ShownCertificate {
        self.clients.judge(chain)
    }

    /// What TLS asks of clients: any certificate, which is judged afterwards.
    pub fn client_verifier(&self) -> Arc<AnyClient> {
        AnyClient::new(self.clients.subjects())
    }

    /// Who asks.
    ///
    /// # Errors
    /// 401 if credentials are bad, or absent where they are needed.
    pub async fn authenticate(
        &self,
        shown: &Credentials<'_>,
        objects: &dyn Objects,
        now_s: i64,
    ) -> Result<Arc<Authenticated>, Status> {
        let refuse = |why: &Invalid| {
            tracing::debug!(%why, path = shown.path, "credentials refused");
            Status::unauthorized()
        };
        match self.identify(shown, objects, now_s).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) if self.anonymous.allows(shown.path) => {
                Ok(Arc::new(Authenticated::new(User::anonymous(), self.accounts.api_audiences())))
            }
            Ok(None) => Err(Status::unauthorized()),
            Err(why) => Err(refuse(&why)),
        }
    }

    async fn identify(
        &self,
        shown: &Credentials<'_>,
        objects: &dyn Objects,
        now_s: i64,
    ) -> Result<Option<Arc<Authenticated>>, Invalid> {
        let mut errors = Errors::default();
        let audiences = self.accounts.api_audiences();
        if let Some(certificate) = shown.certificate {
            match certificate.proxy(now_s) {
                Ok(Some(name)) if self.front_proxy.allows(name) => {
                    if let Some(user) = self.front_proxy.user(shown.headers) {
                        return Ok(Some(Arc::new(Authenticated::new(with_authenticated(user), audiences))));
                    }
                }
                Ok(Some(name)) => {
                    errors.add(format!("x509: subject with cn={name} is not in the allowed list"))
                }
                Ok(None) => {}
                Err(why) => errors.add(why.0),
            }
            match certificate.user(now_s) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(why) => errors.add(why.0),
            }
        }
        if let Some(token) = credentials::bearer(shown.headers) {
            match self.token(token, objects, now_s).await {
                Ok(found) => return Ok(Some(found)),
                Err(why) => errors.add(why.0),
            }
        }
        match credentials::websocket(shown.headers) {
            Ok(Some(token)) => match self.token(&token, objects, now_s).await {
                Ok(found) => return Ok(Some(found)),
                Err(why) => errors.add(why.0),
            },
            Ok(None) => {}
            Err(why) => errors.add(why.0),
        }
        errors.result().map(|()| None)
    }

    /// Who a token stands for when it is shown to this API server.
    async fn token(
        &self,
        token: &str,
        objects: &dyn Objects,
        now_s: i64,
    ) -> Result<Arc<Authenticated>, Invalid> {
        if let Some(known) = self.cache.get(token, objects, now_s) {
            return Ok(known);
        }
        let found = Arc::new(self.review(token, &[], objects, now_s).await?);
        self.cache.put(token, &found, now_s);
        Ok(found)
    }

    /// Who a token stands for, if it is meant for one of `audiences` (this API server if none are given).
    ///
    /// # Errors
    /// Why it is not believed.
    pub async fn review(
        &self,
        token: &str,
        audiences: &[String],
        objects: &dyn Objects,
        now_s: i64,
    ) -> Result<Authenticated, Invalid> {
        let api_audiences = self.accounts.api_audiences();
        let asked = Question { token, audiences, api_audiences, objects, now_s };
        let mut errors = Errors::default();
        for authenticator in &self.tokens {
            match authenticator.token(&asked).await {
                Ok(Some(mut found)) => {
                    let user = Arc::unwrap_or_clone(found.user);
                    found.user = Arc::new(with_authenticated(user));
                    return Ok(found);
                }
                Ok(None) => {}
                Err(why) => errors.add(why.0),
            }
        }
        errors.result()?;
        Err(Invalid("invalid bearer token".into()))
    }

    /// Takes the credentials out of a request that has been authenticated.
    pub fn strip(&self, headers: &mut HeaderMap) {
        credentials::strip(headers, &self.front_proxy.headers(), &self.front_proxy.prefixes());
    }
}

/// Everyone who showed credentials is in the group of those who did.
pub(super) fn with_authenticated(mut user: User) -> User {
    let known = user.name == ANONYMOUS || user.is_in(AUTHENTICATED) || user.is_in(UNAUTHENTICATED);
    if !known {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

/// Several reasons in one text, as Go joins them: each once, in brackets if there are several.
#[derive(Default)]
pub(super) struct Errors(Vec<String>);

impl Errors {
    pub(super) fn add(&mut self, why: String) {
        if !self.0.contains(&why) {
            self.0.push(why);
        }
    }

    pub(super) fn text(&self) -> String {
        match self.0.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        }
    }

    pub(super) fn result(self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid(self.text())) }
    }
}

#[cfg(test)]
pub(super) mod tests;
