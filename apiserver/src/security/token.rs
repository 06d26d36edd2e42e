//! Tokens of service accounts: signed and verified (ES256), with upstream's claims (`pkg/serviceaccount/claims.go`).

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::certificate::CREDENTIAL_ID;
use super::{Objects, User, text};

/// The issuer, as upstream's clusters have it.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Verified signatures kept; when full, all are forgotten and verified anew.
const MAX_REMEMBERED: usize = 4096;

/// A deleted object still counts for this long, and clocks may differ by as much.
const LEEWAY_S: i64 = 60;

/// Signs and verifies tokens of service accounts.
pub struct ServiceAccountTokens {
    issuer: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    key_id: String,
    point: Vec<u8>,
    /// Checking a signature costs 100 µs, a pod's token comes thousands of times.
    remembered: Mutex<HashMap<String, Claims>>,
}

impl std::fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountTokens").field("issuer", &self.issuer).field("key_id", &self.key_id).finish()
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The audiences that it is meant for.
    pub aud: Vec<String>,
    /// Seconds since 1970 after which it is void.
    pub exp: i64,
    /// Seconds since 1970 when it was made.
    pub iat: i64,
    /// The issuer.
    pub iss: String,
    /// The token's own id.
    pub jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub bound: Bound,
    /// Seconds since 1970 before which it is void.
    pub nbf: i64,
    /// The user name.
    pub sub: String,
}

/// The objects without which a token is void.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// The namespace of the account, pod and secret.
    pub namespace: String,
    /// The node of the pod, or the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// A pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
    /// Seconds since 1970 when a fresh token should have been taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// One object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What to sign.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// What the token is bound to; `warnafter` is set by `extended`.
    pub bound: Bound,
    /// Whom it is meant for.
    pub audiences: Vec<String>,
    /// How long it lives.
    pub lifetime_s: i64,
    /// Whether it works for a year, while the client is told `lifetime_s`: upstream does so for the tokens in pods, so
    /// that a client that reads its token only once goes on working.
    pub extended: bool,
}

/// A token as handed out.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The token.
    pub token: String,
    /// Seconds since 1970 until which the client should use it.
    pub expires_s: i64,
}

impl ServiceAccountTokens {
    /// From a private ECDSA P-256 key (PKCS #8 PEM), with [`ISSUER`].
    ///
    /// # Errors
    /// It is not such a key.
    pub fn new(key_pem: &str) -> Result<Self, String> {
        let bad = |error: &dyn std::fmt::Display| format!("the key that signs service-account tokens is not usable: {error}");
        let pair = rcgen::KeyPair::from_pem(key_pem).map_err(|error| bad(&error))?;
        if !pair.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
            return Err(bad(&"it must be an ECDSA P-256 key"));
        }
        let public = rcgen::PublicKeyData::subject_public_key_info(&pair);
        Ok(Self {
            issuer: ISSUER.into(),
            signing: EncodingKey::from_ec_pem(key_pem.as_bytes()).map_err(|error| bad(&error))?,
            verifying: DecodingKey::from_ec_pem(pair.public_key_pem().as_bytes()).map_err(|error| bad(&error))?,
            key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(&public)),
            point: pair.public_key_raw().to_vec(),
            remembered: Mutex::default(),
        })
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A token.
    ///
    /// # Errors
    /// Signing failed.
    pub fn sign(&self, grant: &Grant, now_s: i64) -> Result<Signed, String> {
        let mut bound = grant.bound.clone();
        let expires_s = now_s + grant.lifetime_s;
        let mut exp = expires_s;
        if grant.extended {
            bound.warnafter = Some(expires_s);
            exp = now_s + 365 * 24 * 3600;
        }
        let claims = Claims {
            aud: grant.audiences.clone(),
            exp,
            iat: now_s,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: user_name(&bound.namespace, &bound.serviceaccount.name),
            bound,
            nbf: now_s,
        };
        let header = Header { typ: None, kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|error| error.to_string())?;
        Ok(Signed { token, expires_s })
    }

    /// What a token says, if we signed it, now is within its time, and it is meant for one of `audiences`. Whether the
    /// objects that it is bound to still exist is for [`Claims::user`] to tell.
    ///
    /// # Errors
    /// Why it is not valid.
    pub fn verify(&self, token: &str, audiences: &[String], now_s: i64) -> Result<Claims, String> {
        let claims = self.signed(token)?;
        if claims.iss != self.issuer {
            return Err("the token is of another issuer".into());
        }
        if now_s > claims.exp + LEEWAY_S {
            return Err("service account token has expired".into());
        }
        if now_s + LEEWAY_S < claims.nbf {
            return Err("service account token is not valid yet".into());
        }
        if !claims.aud.iter().any(|one| audiences.contains(one)) {
            return Err(format!("token audiences {:?} is invalid for the target audiences {audiences:?}", claims.aud));
        }
        Ok(claims)
    }

    fn signed(&self, token: &str) -> Result<Claims, String> {
        if let Some(claims) = self.lock().get(token) {
            return Ok(claims.clone());
        }
        let mut rules = Validation::new(Algorithm::ES256);
        // Times, issuer and audience are checked by the caller, against the clock that it was given.
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &rules)
            .map_err(|error| format!("the token is not one of ours: {error}"))?
            .claims;
        let mut remembered = self.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Claims>> {
        self.remembered.lock().expect("no holder of this lock panics")
    }

    /// `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        // An uncompressed point is 0x04, x, y.
        let (x, y) = self.point[1..].split_at(32);
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": part(x), "y": part(y)}]})
    }

    /// `/.well-known/openid-configuration`.
    pub fn openid_configuration(&self) -> Value {
        json!({
            "issuer": self.issuer, "jwks_uri": format!("{}/openid/v1/jwks", self.issuer),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

impl Claims {
    /// The user, if every object that the token is bound to still exists with the same uid.
    ///
    /// # Errors
    /// What is gone.
    pub fn user(&self, objects: &dyn Objects, now_s: i64) -> Result<User, String> {
        let bound = &self.bound;
        let (namespace, account) = (&bound.namespace, &bound.serviceaccount);
        still_there(objects, "serviceaccounts", namespace, account, now_s)?;
        let mut user = User {
            name: user_name(namespace, &account.name),
            uid: account.uid.clone(),
            groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
            ..User::default()
        };
        let mut note = |key: &str, value: &str| {
            user.extra.insert(key.to_owned(), vec![value.to_owned()]);
        };
        if let Some(secret) = &bound.secret {
            still_there(objects, "secrets", namespace, secret, now_s)?;
        }
        if let Some(pod) = &bound.pod {
            still_there(objects, "pods", namespace, pod, now_s)?;
            note("authentication.kubernetes.io/pod-name", &pod.name);
            note("authentication.kubernetes.io/pod-uid", &pod.uid);
        }
        if let Some(node) = &bound.node {
            if bound.pod.is_none() {
                still_there(objects, "nodes", "", node, now_s)?;
            }
            note("authentication.kubernetes.io/node-name", &node.name);
            note("authentication.kubernetes.io/node-uid", &node.uid);
        }
        note(CREDENTIAL_ID, &format!("JTI={}", self.jti));
        Ok(user)
    }
}

fn still_there(
    objects: &dyn Objects,
    resource: &str,
    namespace: &str,
    reference: &Reference,
    now_s: i64,
) -> Result<(), String> {
    let gone = || format!("the token is void: {resource} {namespace}/{} is gone", reference.name);
    let object = objects.get(resource, namespace, &reference.name).ok_or_else(gone)?;
    let deleted: Option<jiff::Timestamp> = text(&object, "/metadata/deletionTimestamp").parse().ok();
    let deleted = deleted.is_some_and(|at| at.as_second() < now_s - LEEWAY_S);
    if text(&object, "/metadata/uid") != reference.uid || deleted {
        return Err(gone());
    }
    Ok(())
}

/// The user name of a service account.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

#[cfg(test)]
pub(crate) mod tests;
