//! Tokens of service accounts: signed and verified (ES256), with upstream's claims (`pkg/serviceaccount/claims.go`).

mod claims;

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Invalid, Objects, User};
use claims::{Claims, Kubernetes, Reference};

/// The issuer, as upstream's clusters have it.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Verified signatures kept; when full, all are forgotten and verified anew.
const MAX_REMEMBERED: usize = 4096;

/// A deleted object still counts for this long, and clocks may differ by as much.
pub(crate) const LEEWAY_S: i64 = 60;

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
        f.debug_struct("ServiceAccountTokens")
            .field("issuer", &self.issuer)
            .field("key_id", &self.key_id)
            .finish()
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
    /// The node of a pod that has one.
    pub node: Option<String>,
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
        let bad = |error: &dyn std::fmt::Display| {
            Invalid(format!("the key that signs service-account tokens is not usable: {error}"))
        };
        let pair = rcgen::KeyPair::from_pem(key_pem).map_err(|error| bad(&error))?;
        if !pair.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
            return Err(bad(&"it must be an ECDSA P-256 key"));
        }
        let public = rcgen::PublicKeyData::subject_public_key_info(&pair);
        Ok(Self {
            issuer: ISSUER.into(),
            signing: EncodingKey::from_ec_pem(key_pem.as_bytes()).map_err(|error| bad(&error))?,
            verifying: DecodingKey::from_ec_pem(pair.public_key_pem().as_bytes())
                .map_err(|error| bad(&error))?,
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
    pub fn sign(&self, grant: &Grant) -> Result<String, Invalid> {
        let now_s = grant.now.as_second();
        let mut audiences = grant.audiences.clone();
        if audiences.is_empty() {
            audiences.push(self.issuer.clone());
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
                    bound.node =
                        object.node.as_ref().map(|name| Reference { name: name.clone(), uid: String::new() });
                }
                "secrets" => bound.secret = reference,
                "nodes" => bound.node = reference,
                other => return Err(Invalid(format!("a token cannot be bound to {other}"))),
            }
        }
        let mut lifetime_s = grant.seconds;
        if in_pod && lifetime_s == POD_LIFETIME_S && audiences == [self.issuer.as_str()] {
            bound.warnafter = Some(now_s + lifetime_s);
            lifetime_s = EXTENDED_S;
        }
        let claims = Claims {
            aud: audiences,
            exp: now_s + lifetime_s,
            iat: now_s,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: user_name(&grant.namespace, &grant.name),
            bound,
            nbf: now_s,
        };
        let header = Header { typ: None, kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|error| Invalid(error.to_string()))
    }

    /// Whom a token stands for now. It must be ours, in its time, meant for one of `audiences` (this API server if none
    /// are given), and all that it is bound to must still exist.
    ///
    /// # Errors
    /// Why it is not valid.
    pub fn verify(&self, token: &str, audiences: &[String], objects: &dyn Objects) -> Result<User, Invalid> {
        self.verify_at(token, audiences, objects, Timestamp::now().as_second()).map(|(user, _)| user)
    }

    /// As [`Self::verify`] at a time, with those of `audiences` that the token is meant for.
    ///
    /// # Errors
    /// Why it is not valid.
    pub fn verify_at(
        &self,
        token: &str,
        audiences: &[String],
        objects: &dyn Objects,
        now_s: i64,
    ) -> Result<(User, Vec<String>), Invalid> {
        let own = [self.issuer.clone()];
        let wanted = if audiences.is_empty() { &own } else { audiences };
        let claims = self.claims(token, wanted, now_s)?;
        let user = claims.user(objects, now_s)?;
        Ok((user, wanted.iter().filter(|one| claims.aud.contains(one)).cloned().collect()))
    }

    fn claims(&self, token: &str, audiences: &[String], now_s: i64) -> Result<Claims, Invalid> {
        let claims = self.signed(token)?;
        let why = if claims.iss != self.issuer {
            "the token is of another issuer".into()
        } else if now_s > claims.exp + LEEWAY_S {
            "service account token has expired".into()
        } else if now_s + LEEWAY_S < claims.nbf {
            "service account token is not valid yet".into()
        } else if !claims.aud.iter().any(|one| audiences.contains(one)) {
            format!("token audiences {:?} is invalid for the target audiences {audiences:?}", claims.aud)
        } else {
            return Ok(claims);
        };
        Err(Invalid(why))
    }

    fn signed(&self, token: &str) -> Result<Claims, Invalid> {
        if let Some(claims) = self.lock().get(token) {
            return Ok(claims.clone());
        }
        let mut rules = Validation::new(Algorithm::ES256);
        // Times, issuer and audience are checked by the caller, against the clock that it was given.
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &rules)
            .map_err(|error| Invalid(format!("the token is not one of ours: {error}")))?
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

/// The user name of a service account.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

#[cfg(test)]
pub(crate) mod tests;
