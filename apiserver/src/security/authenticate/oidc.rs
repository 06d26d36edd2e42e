//! Tokens of issuers outside (OpenID Connect): their keys are fetched from where their discovery document says, and kept.
//!
//! Behaviour as upstream's `apiserver/plugin/pkg/authenticator/token/oidc`; distributed claims are not there.

pub mod config;
pub mod mapping;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, Validation};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::anonymous::Anonymous;
use super::{Authenticated, Question, TokenAuthenticator};
use crate::backend::Trust;
use crate::cache::Cache;
use crate::reload;
use crate::security::remote::Remote;
use crate::security::token::keys::VerifyingKey;
use crate::security::token::{issuer_of, quoted};
use crate::security::{Invalid, items, text};
use config::{Configuration, Issuer};

/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A token that names an unknown key makes keys be fetched again, but not more often than this: anyone can invent such tokens.
const FETCH_EVERY: Duration = Duration::from_secs(1);

/// What the flags say about issuers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--oidc-*`.
    pub flags: config::Flags,
    /// `--authentication-config`, instead of them.
    pub config_file: Option<PathBuf>,
    /// How often that file is looked at; a minute if nothing.
    pub reload: Option<Duration>,
}

/// The issuers that are believed.
pub struct Issuers {
    providers: ArcSwap<Vec<Provider>>,
    algorithms: Vec<Algorithm>,
    cache: Arc<Cache>,
    reserved: Vec<String>,
    /// Where nobody in particular may ask, as the file said at first: that does not change while the server runs.
    anonymous: Option<Anonymous>,
}

/// One issuer and its keys.
struct Provider {
    issuer: Issuer,
    discovery: Remote,
    /// Its keys, as far as they were fetched.
    known: ArcSwap<Vec<Arc<VerifyingKey>>>,
    /// When they were last fetched, or tried to; held by who fetches them.
    fetched: Mutex<Option<Instant>>,
}

impl Issuers {
    /// As the options say, and where nobody in particular may ask, if a file says so.
    ///
    /// # Errors
    /// A file cannot be read or does not say what it should.
    pub fn new(
        options: &Options,
        reserved: &[String],
        cache: &Arc<Cache>,
    ) -> anyhow::Result<Option<(Self, Option<Anonymous>)>> {
        let found = match &options.config_file {
            Some(path) => config::read(path, reserved)?,
            None if options.flags.issuer_url.is_empty() => return Ok(None),
            None => config::of_object(&options.flags.to_object()?, reserved)?,
        };
        let named = match (&options.config_file, options.flags.signing_algs.as_slice()) {
            (Some(_), _) => ["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512"]
                .map(str::to_owned)
                .to_vec(),
            (None, []) => vec!["RS256".to_owned()],
            (None, given) => given.to_vec(),
        };
        let algorithms = named
            .iter()
            .map(|name| match name.parse() {
                Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 | Algorithm::EdDSA) | Err(_) => {
                    Err(anyhow::anyhow!("oidc: unsupported signing alg: {name:?}"))
                }
                Ok(algorithm) => Ok(algorithm),
            })
            .collect::<Result<_, _>>()?;
        let issuers = Self {
            providers: ArcSwap::default(),
            algorithms,
            cache: cache.clone(),
            reserved: reserved.to_vec(),
            anonymous: found.anonymous.clone(),
        };
        let anonymous = issuers.anonymous.clone();
        issuers.take(found)?;
        Ok(Some((issuers, anonymous)))
    }

    fn take(&self, found: Configuration) -> anyhow::Result<()> {
        let mut providers = Vec::new();
        for issuer in found.issuers {
            let trust = match &issuer.ca_pem {
                Some(pem) => Trust::Bundle(pem.clone().into_bytes().into()),
                None => Trust::System,
            };
            let below = format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/'));
            let url = issuer.discovery_url.as_ref().unwrap_or(&below);
            let discovery = Remote::at(url, trust, TIMEOUT, &self.cache)?;
            let (known, fetched) = Default::default();
            providers.push(Provider { issuer, discovery, known, fetched });
        }
        self.providers.store(Arc::new(providers));
        Ok(())
    }

    /// Takes the file in again whenever it changes, and calls `changed`; one that cannot be used leaves what was.
    pub fn follow(
        self: &Arc<Self>,
        path: PathBuf,
        every: Duration,
        count: reload::Count,
        shutdown: CancellationToken,
        changed: impl Fn() + Send + Sync + 'static,
    ) {
        let issuers = self.clone();
        let file = reload::Followed { path, every, what: "issuers", count };
        reload::follow(file, shutdown, move |path| {
            let found = config::read(path, &issuers.reserved)?;
            anyhow::ensure!(
                found.anonymous == issuers.anonymous,
                "anonymous: Forbidden: changed from initial configuration file"
            );
            issuers.take(found)?;
            changed();
            Ok(())
        });
    }
}

impl Provider {
    /// The keys that may have signed a token that names this one (any, if it names none).
    async fn keys(&self, named: &str, cache: &Arc<Cache>) -> Result<Vec<Arc<VerifyingKey>>, Invalid> {
        let fits = || -> Vec<Arc<VerifyingKey>> {
            let of_name = |key: &&Arc<VerifyingKey>| named.is_empty() || key.id == named;
            self.known.load().iter().filter(of_name).cloned().collect()
        };
        let found = fits();
        if !found.is_empty() {
            return Ok(found);
        }
        // One fetch at a time; those who wait find its keys. Tokens of known keys wait for nothing.
        let mut fetched = self.fetched.lock().await;
        if fits().is_empty() && fetched.is_none_or(|at| at.elapsed() >= FETCH_EVERY) {
            let answer = self.fetch(cache).await;
            *fetched = Some(Instant::now());
            self.known.store(Arc::new(answer?));
        }
        Ok(fits())
    }

    async fn fetch(&self, cache: &Arc<Cache>) -> Result<Vec<Arc<VerifyingKey>>, Invalid> {
        let told = |why: String| Invalid(format!("oidc: fetching keys: {why}"));
        let document = self.discovery.get().await.map_err(told)?;
        let said = text(&document, "/issuer");
        if said != self.issuer.url {
            return Err(told(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {said:?}",
                self.issuer.url
            )));
        }
        let trust = match &self.issuer.ca_pem {
            Some(pem) => Trust::Bundle(pem.clone().into_bytes().into()),
            None => Trust::System,
        };
        let uri = text(&document, "/jwks_uri");
        let keys = Remote::at(uri, trust, TIMEOUT, cache).map_err(|error| told(error.to_string()))?;
        let set: Value = keys.get().await.map_err(told)?;
        let of_use = |key: &&Value| matches!(text(key, "/use"), "" | "sig");
        Ok(items(&set, "/keys")
            .iter()
            .filter(of_use)
            .filter_map(|key| VerifyingKey::of_jwk(key).ok())
            .map(Arc::new)
            .collect())
    }

    async fn judge(&self, asked: &Question<'_>, issuers: &Issuers) -> Result<Option<Authenticated>, Invalid> {
        let told = |why: String| Invalid(format!("oidc: verify token: {why}"));
        let header = jsonwebtoken::decode_header(asked.token).map_err(|error| told(error.to_string()))?;
        if !issuers.algorithms.contains(&header.alg) {
            return Err(told(format!("oidc: id token signed with unsupported algorithm {:?}", header.alg)));
        }
        let named = header.kid.as_deref().unwrap_or_default();
        let mut claims = None;
        for key in self.keys(named, &issuers.cache).await? {
            if !key.algorithms.contains(&header.alg) {
                continue;
            }
            let mut rules = Validation::new(header.alg);
            // Times and audience are checked against the clock and the audiences that were given.
            rules.validate_exp = false;
            rules.validate_aud = false;
            rules.required_spec_claims.clear();
            if let Ok(found) = jsonwebtoken::decode::<Value>(asked.token, &key.decoding, &rules) {
                claims = Some(found.claims);
                break;
            }
        }
        let claims = claims
            .ok_or_else(|| told("failed to verify signature: failed to verify id token signature".into()))?;
        let until_s = check(&claims, &self.issuer, asked.now_s).map_err(told)?;
        let user = self.issuer.mapping.user(&claims)?;
        Ok(asked.whatever_the_audience(user).map(|answer| Authenticated { until_s, ..answer }))
    }
}

/// Whether a token is of the issuer, in its time and meant for us; until when.
fn check(claims: &Value, issuer: &Issuer, now_s: i64) -> Result<i64, String> {
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    #[allow(clippy::cast_possible_truncation, reason = "seconds since 1970")]
    let whole = |at: f64| at as i64;
    if text(claims, "/iss") != issuer.url {
        return Err(format!("oidc: id token issued by a different provider, expected {:?}", issuer.url));
    }
    let audiences: Vec<String> = match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        _ => crate::security::texts(claims, "/aud"),
    };
    if !audiences.iter().any(|one| issuer.audiences.contains(one)) {
        return Err(format!(
            "oidc: expected audience in {} got {}",
            quoted(&issuer.audiences),
            quoted(&audiences)
        ));
    }
    let Some(exp) = seconds("exp") else { return Err("oidc: token is expired (it names no time)".into()) };
    if whole(exp) <= now_s {
        return Err("oidc: token is expired".into());
    }
    // As upstream's library: an issuer's clock may be five minutes ahead.
    if seconds("nbf").is_some_and(|nbf| whole(nbf) > now_s + 300) {
        return Err("oidc: current time before the nbf (not before) time".into());
    }
    Ok(whole(exp))
}

#[async_trait::async_trait]
impl TokenAuthenticator for Issuers {
    async fn token(&self, asked: &Question<'_>) -> Result<Option<Authenticated>, Invalid> {
        let Some(issuer) = issuer_of(asked.token) else { return Ok(None) };
        let providers = self.providers.load_full();
        match providers.iter().find(|provider| provider.issuer.url == issuer) {
            Some(provider) => provider.judge(asked, self).await,
            None => Ok(None),
        }
    }
}
