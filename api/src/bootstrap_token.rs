//! Bootstrap tokens: what a new node shows before it has a certificate, and what vouches for the cluster to it.
//!
//! Behaviour as upstream's `k8s.io/cluster-bootstrap` and kubeadm.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The type of the Secrets that hold tokens, in `kube-system`.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of all who show a token.
pub const GROUP: &str = "system:bootstrappers";
/// The group that may ask for a node's certificate, unless a token says otherwise.
pub const NODE_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
/// The ConfigMap in `kube-public` that tells where the cluster is and what its CA is.
pub const CLUSTER_INFO: &str = "cluster-info";
/// The key in it that is signed.
pub const KUBECONFIG: &str = "kubeconfig";
/// What the keys of signatures begin with; the token's public part follows.
pub const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// The keys of such a Secret.
pub mod key {
    /// The public part of the token.
    pub const ID: &str = "token-id";
    /// The secret part.
    pub const SECRET: &str = "token-secret";
    /// When it ends (RFC 3339); never, if it is absent.
    pub const EXPIRATION: &str = "expiration";
    /// What it is for, for people.
    pub const DESCRIPTION: &str = "description";
    /// Further groups, with commas.
    pub const GROUPS: &str = "auth-extra-groups";
    /// `true`: it may be shown to the API server.
    pub const AUTHENTICATION: &str = "usage-bootstrap-authentication";
    /// `true`: it signs the ConfigMap.
    pub const SIGNING: &str = "usage-bootstrap-signing";
}

/// A token: `ID.SECRET`. Only its public part is ever shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Six letters or digits.
    pub id: String,
    /// Sixteen of them.
    pub secret: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.…)", self.id)
    }
}

fn is_word(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

impl Token {
    /// Reads `ID.SECRET`.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        (is_word(id, 6) && is_word(secret, 16)).then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// The token that random bytes stand for.
    pub fn from_random(bytes: [u8; 22]) -> Self {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let text: String = bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % 36])).collect();
        Self { id: text[..6].to_owned(), secret: text[6..].to_owned() }
    }

    /// What is shown as a bearer token.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// The Secret's name.
    pub fn secret_name(&self) -> String {
        secret_name(&self.id)
    }

    /// The signature of a text: a JWS (HS256) whose payload is left out.
    pub fn sign(&self, text: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{}"}}"#, self.id));
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(text));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The name of the Secret of a token with this public part.
pub fn secret_name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// What a CA is pinned by: `sha256:` and the digest of its public key, as kubeadm has it.
pub fn pin(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let digest = digest::digest(&digest::SHA256, certificate.public_key().raw);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256:{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_and_made() {
        let table = [
            ("abcdef.0123456789abcdef", true),
            ("abcdef.0123456789abcde", false),
            ("abcdeF.0123456789abcdef", false),
            ("abcde.0123456789abcdef", false),
            ("abcdef0123456789abcdef", false),
            ("abcdef.0123456789abcdef ", false),
        ];
        for (text, good) in table {
            assert_eq!(Token::parse(text).is_some(), good, "{text}");
        }
        let made = Token::from_random([200; 22]);
        assert_eq!(Token::parse(&made.bearer()), Some(made.clone()));
        assert!(!format!("{made:?}").contains(&made.secret));
    }

    /// Upstream's own example.
    #[test]
    fn a_text_is_signed_as_kubernetes_does() {
        let token = Token { id: "joshua".into(), secret: "my voice is my passcode".into() };
        let text = "Hello from the other side. I must have called a thousand times.";
        let expected =
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8";
        assert_eq!(token.sign(text), expected);
    }
}
