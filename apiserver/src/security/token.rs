//! Tokens of service accounts: signed and verified (ES256), with upstream's claims (`pkg/serviceaccount/claims.go`).

mod claims;
pub mod keys;
pub mod legacy;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Invalid;
use super::authenticate::{Authenticated, Question, TokenAuthenticator};
use claims::{Claims, Kubernetes, Reference};
use keys::VerifyingKey;

/// The issuer, as upstream's clusters have it.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A deleted object still counts for this long, and clocks may differ by as much.
pub(crate) const LEEWAY_S: i64 = 60;

/// The `--service-account-*` flags and `--api-audiences`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who signs, first of all; tokens of the others are believed too.
    pub issuers: Vec<String>,
    /// What this API server is called in tokens; the first issuer if empty.
    pub api_audiences: Vec<String>,
    /// Keys (PEM) that verify tokens besides the one that signs.
    pub keys_pem: Vec<String>,
    /// Where others find the keys; on this server if empty.
    pub jwks_uri: String,
    /// The longest time that a token may be asked for, in seconds; no bound of its own if nothing.
    pub max_expiration_s: Option<i64>,
    /// Whether tokens in pods work for a year while the client is told an hour.
    pub extend_expiration: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            issuers: vec![ISSUER.into()],
            api_audiences: Vec::new(),
            keys_pem: Vec::new(),
            jwks_uri: String::new(),
            max_expiration_s: None,
            extend_expiration: true,
        }
    }
}

/// Signs and verifies tokens of service accounts.
pub struct ServiceAccountTokens {
    options: Options,
    signing: EncodingKey,
    keys: Vec<VerifyingKey>,
}

impl std::fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountTokens").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What to sign.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// The account's namespace.
    pub namespace: String,
    /// The account's name.
    pub name: String,
    /// The account's uid.
    pub uid: String,
    /// Whom the token is meant for; none for this API server.
    pub audiences: Vec<String>,
    /// How long it lives, as the client is told.
    pub seconds: i64,
    /// The object without which it is void.
    pub bound: Option<Bound>,
    /// The time.
    pub now: Timestamp,
}

/// The object without which a token is void.
#[derive(Debug, Clone, Default)]
pub struct Bound {
    /// `pods`, `secrets` or `nodes`.
    pub resource: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Name and uid of the node of a pod that has one.
    pub node: Option<(String, String)>,
}

/// What the tokens in pods ask for, in seconds. Such a token works for a year, while the client is told the hour: a
/// client that reads its token only once goes on working, as upstream decided.
const POD_LIFETIME_S: i64 = 3607;
const EXTENDED_S: i64 = 365 * 24 * 3600;

impl ServiceAccountTokens {
    /// From a private ECDSA P-256 key (PKCS #8 PEM), with [`ISSUER`].
    ///
    /// # Errors
    /// It is not such a key.
    pub fn new(key_pem: &str) -> Result<Self, Invalid> {
        Self::with(key_pem, Options::default())
    }

    /// The same with these options.
    ///
    /// # Errors
    /// A key is not usable, or there is no issuer.
    pub fn with(key_pem: &str, mut options: Options) -> Result<Self, Invalid> {
        let bad = |error: &dyn std::fmt::Display| {
            Invalid(format!("the key that signs service-account tokens is not usable: {error}"))
        };
        let pair = rcgen::KeyPair::from_pem(key_pem).map_err(|error| bad(&error))?;
        if !pair.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
            return Err(bad(&"it must be an ECDSA P-256 key"));
        }
        let Some(issuer) = options.issuers.first() else {
            return Err(Invalid("service-account-issuer is a required flag".into()));
        };
        if options.api_audiences.is_empty() {
            options.api_audiences.push(issuer.clone());
        }
        let mut keys = vec![VerifyingKey::of_spki(&rcgen::PublicKeyData::subject_public_key_info(&pair))?];
        for pem in &options.keys_pem {
            for key in VerifyingKey::all_of_pem(pem)? {
                if keys.iter().all(|known| known.id != key.id) {
                    keys.push(key);
                }
            }
        }
        let signing = EncodingKey::from_ec_pem(key_pem.as_bytes()).map_err(|error| bad(&error))?;
        Ok(Self { options, signing, keys })
    }

    /// The issuer of what is signed here.
    pub fn issuer(&self) -> &str {
        &self.options.issuers[0]
    }

    /// What this API server is called in tokens.
    pub fn api_audiences(&self) -> &[String] {
        &self.options.api_audiences
    }

    /// The longest time that a token may be asked for, in seconds.
    pub fn max_expiration_s(&self) -> Option<i64> {
        self.options.max_expiration_s
    }

    /// A token.
    ///
    /// # Errors
    /// Signing failed.
    pub fn sign(&self, grant: &Grant) -> Result<String, Invalid> {
        let now_s = grant.now.as_second();
        let mut audiences = grant.audiences.clone();
        if audiences.is_empty() {
            audiences.clone_from(&self.options.api_audiences);
        }
        let mut bound = Kubernetes {
            namespace: grant.namespace.clone(),
            serviceaccount: Reference { name: grant.name.clone(), uid: grant.uid.clone() },
            ..Kubernetes::default()
        };
        let mut in_pod = false;
        if let Some(object) = &grant.bound {
            let reference = Some(Reference { name: object.name.clone(), uid: object.uid.clone() });
            match object.resource.as_str() {
                "pods" => {
                    in_pod = true;
                    bound.pod = reference;
                    let node = object.node.clone();
                    bound.node = node.map(|(name, uid)| Reference { name, uid });
                }
                "secrets" => bound.secret = reference,
                "nodes" => bound.node = reference,
                other => return Err(Invalid(format!("a token cannot be bound to {other}"))),
            }
        }
        let mut lifetime_s = grant.seconds;
        let for_us = audiences.iter().all(|audience| self.options.api_audiences.contains(audience));
        if self.options.extend_expiration && in_pod && lifetime_s == POD_LIFETIME_S && for_us {
            bound.warnafter = Some(now_s + lifetime_s);
            lifetime_s = EXTENDED_S;
        }
        let claims = Claims {
            aud: audiences,
            exp: now_s + lifetime_s,
            iat: now_s,
            iss: self.issuer().to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: user_name(&grant.namespace, &grant.name),
            bound,
            nbf: now_s,
        };
        let header =
            Header { typ: None, kid: Some(self.keys[0].id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|error| Invalid(error.to_string()))
    }

    /// Whom a token stands for; nothing if it is of another issuer. It must be signed by a key that is known, in its time,
    /// meant for one of the audiences asked for, and all that it is bound to must still exist.
    ///
    /// # Errors
    /// Why it is not valid.
    pub fn judge(&self, asked: &Question<'_>) -> Result<Option<Authenticated>, Invalid> {
        let Some(issuer) = issuer_of(asked.token) else { return Ok(None) };
        if issuer == legacy::ISSUER {
            let claims: legacy::Claims = self.signed(asked.token)?;
            let audiences = self.common(self.api_audiences(), asked)?;
            return claims.judge(asked, &audiences).map(Some);
        }
        if !self.options.issuers.contains(&issuer) {
            return Ok(None);
        }
        let claims: Claims = self.signed(asked.token)?;
        let audiences = match claims.aud.as_slice() {
            [] => self.common(self.api_audiences(), asked)?,
            own => self.common(own, asked)?,
        };
        claims.judge(asked, &audiences).map(Some)
    }

    /// The audiences that a token is meant for and that are asked for.
    fn common(&self, own: &[String], asked: &Question<'_>) -> Result<Vec<String>, Invalid> {
        let wanted = if asked.audiences.is_empty() { self.api_audiences() } else { asked.audiences };
        let common: Vec<String> = own.iter().filter(|one| wanted.contains(one)).cloned().collect();
        if common.is_empty() {
            return Err(Invalid(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(own),
                quoted(wanted)
            )));
        }
        Ok(common)
    }

    /// What a token says, if its signature is of a key that is known.
    fn signed<C: DeserializeOwned + Clone>(&self, token: &str) -> Result<C, Invalid> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| Invalid(error.to_string()))?;
        let named = header.kid.as_deref().unwrap_or_default();
        let mut keys = self.keys.iter().filter(|key| named.is_empty() || key.id == named).peekable();
        if keys.peek().is_none() {
            return Err(Invalid("invalid signature, no keys found".into()));
        }
        let mut why = Invalid("invalid signature".into());
        for key in keys {
            let mut rules = Validation::new(key.algorithms[0]);
            rules.algorithms.clone_from(&key.algorithms);
            // Times and audience are checked against the clock and the audiences that were given.
            rules.validate_exp = false;
            rules.validate_aud = false;
            rules.required_spec_claims.clear();
            match jsonwebtoken::decode::<C>(token, &key.decoding, &rules) {
                Ok(found) => return Ok(found.claims),
                Err(error) => why = Invalid(error.to_string()),
            }
        }
        Err(why)
    }

    /// `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        json!({"keys": self.keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()})
    }

    /// `/.well-known/openid-configuration`; `address` is where others reach this server. Nothing if the issuer is not an
    /// `https` URL, which verifiers could not follow.
    pub fn openid_configuration(&self, address: &str) -> Option<Value> {
        let issuer = self.issuer();
        if !issuer.starts_with("https://") || issuer.contains(['?', '#']) {
            return None;
        }
        let uri = match self.options.jwks_uri.as_str() {
            "" => format!("https://{address}/openid/v1/jwks"),
            uri => uri.to_owned(),
        };
        let mut algorithms: Vec<&str> = self.keys.iter().filter_map(|key| key.jwk["alg"].as_str()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        Some(json!({
            "issuer": issuer, "jwks_uri": uri,
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        }))
    }
}

#[async_trait::async_trait]
impl TokenAuthenticator for ServiceAccountTokens {
    async fn token(&self, asked: &Question<'_>) -> Result<Option<Authenticated>, Invalid> {
        self.judge(asked)
    }
}

/// The issuer that a token claims; it has not been verified. Nothing if it is no JSON Web Token.
pub(crate) fn issuer_of(token: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Issuer {
        #[serde(default)]
        iss: String,
    }
    use base64::Engine;
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Issuer>(&bytes).ok().map(|found| found.iss)
}

/// A list as Go's `%q` writes it.
pub(crate) fn quoted(list: &[String]) -> String {
    let list: Vec<String> = list.iter().map(|one| format!("{one:?}")).collect();
    format!("[{}]", list.join(" "))
}

/// The groups of the service accounts of a namespace.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}

/// The user name of a service account.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

#[cfg(test)]
pub(crate) mod tests;
