//! The token that a Secret holds: signed (ES256), without an end, bound to the Secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The private key (PEM) that signs tokens of service accounts. It is never shown.
#[derive(Clone)]
pub struct SigningKey(String);

impl SigningKey {
    /// From PEM.
    pub fn new(pem: impl Into<String>) -> Self {
        Self(pem.into())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

/// What the token says, in upstream's words (`pkg/serviceaccount/legacy.go`).
#[derive(Serialize)]
pub(super) struct Claims {
    iss: &'static str,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
    sub: String,
}

impl Claims {
    pub fn of(namespace: &str, secret: &str, account: &ServiceAccount) -> Self {
        Self {
            iss: "kubernetes/serviceaccount",
            namespace: namespace.into(),
            secret: secret.into(),
            account: account.name_any(),
            uid: account.uid().unwrap_or_default(),
            sub: format!("system:serviceaccount:{namespace}:{}", account.name_any()),
        }
    }
}

/// Signs.
pub(super) struct Signer {
    key: EncodingKey,
    key_id: String,
}

impl Signer {
    /// From a private ECDSA P-256 key.
    pub fn new(key: &SigningKey) -> Result<Self, Error> {
        let pair = rcgen::KeyPair::from_pem(&key.0).map_err(|error| Error::Key(error.to_string()))?;
        let public = rcgen::PublicKeyData::subject_public_key_info(&pair);
        Ok(Self {
            key: EncodingKey::from_ec_pem(key.0.as_bytes()).map_err(|error| Error::Key(error.to_string()))?,
            key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(public)),
        })
    }

    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let header = Header { typ: None, kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|error| Error::Key(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_upstreams_says() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let signer = Signer::new(&SigningKey::new(pair.serialize_pem())).unwrap();
        let mut account = ServiceAccount::default();
        account.metadata.name = Some("sa".into());
        account.metadata.uid = Some("u".into());
        let token = signer.sign(&Claims::of("ns", "s", &account)).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let said: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(
            said,
            serde_json::json!({
                "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:ns:sa",
                "kubernetes.io/serviceaccount/namespace": "ns",
                "kubernetes.io/serviceaccount/secret.name": "s",
                "kubernetes.io/serviceaccount/service-account.name": "sa",
                "kubernetes.io/serviceaccount/service-account.uid": "u",
            })
        );
        assert!(!format!("{:?}", SigningKey::new("secret")).contains("secret"));
        assert!(Signer::new(&SigningKey::new("nonsense")).is_err());
    }
}
