//! Tokens that a server outside knows (`--authentication-token-webhook-config-file`): it is asked with a TokenReview.
//!
//! Behaviour as upstream's `apiserver/plugin/pkg/authenticator/token/webhook`: what it says, yes or no, is believed for a while.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Authenticated, Question, TokenAuthenticator};
use crate::security::remote::Remote;
use crate::security::{Invalid, User, text, texts};

/// Answers kept; when full, all are forgotten.
const MAX: usize = 4096;
/// How long the server may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The `--authentication-token-webhook-*` flags.
#[derive(Debug, Clone)]
pub struct Options {
    /// A kubeconfig that says where the server is.
    pub config_file: PathBuf,
    /// The version of the TokenReview: `v1` or `v1beta1`.
    pub version: String,
    /// How long an answer is believed.
    pub cache_ttl: Duration,
}

/// An answer, and until when it is believed.
type Kept = (Option<Authenticated>, Instant);

/// Asks the server.
pub struct Webhook {
    remote: Remote,
    version: String,
    cache_ttl: Duration,
    known: Mutex<HashMap<[u8; 32], Kept>>,
}

impl Webhook {
    /// A server.
    pub fn new(remote: Remote, options: &Options) -> Self {
        Self {
            remote,
            version: options.version.clone(),
            cache_ttl: options.cache_ttl,
            known: Mutex::default(),
        }
    }
}

#[async_trait::async_trait]
impl TokenAuthenticator for Webhook {
    async fn token(&self, asked: &Question<'_>) -> Result<Option<Authenticated>, Invalid> {
        let wanted = if asked.audiences.is_empty() { asked.api_audiences } else { asked.audiences };
        // Tokens themselves are not kept.
        let mut digest = Sha256::new();
        digest.update(asked.token);
        wanted.iter().for_each(|audience| digest.update(format!("\0{audience}")));
        let key: [u8; 32] = digest.finalize().into();
        if let Some((answer, until)) = self.known.lock().expect("no holder of this lock panics").get(&key)
            && Instant::now() < *until
        {
            return Ok(answer.clone());
        }
        let review = json!({
            "apiVersion": format!("authentication.k8s.io/{}", self.version), "kind": "TokenReview",
            "metadata": {}, "spec": {"token": asked.token, "audiences": wanted},
        });
        let answer = self.remote.post(&review).await.map_err(Invalid)?;
        let found = judge(&answer, wanted, asked.api_audiences)?;
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if known.len() >= MAX {
            known.clear();
        }
        known.insert(key, (found.clone(), Instant::now() + self.cache_ttl));
        Ok(found)
    }
}

/// What the server said: its user, if it knows the token and the token is meant for one of the audiences.
fn judge(
    answer: &Value,
    wanted: &[String],
    api_audiences: &[String],
) -> Result<Option<Authenticated>, Invalid> {
    let said = texts(answer, "/status/audiences");
    let meant = if said.is_empty() { api_audiences } else { &said };
    let common: Vec<String> = wanted.iter().filter(|audience| meant.contains(audience)).cloned().collect();
    if common.is_empty() {
        return Ok(None);
    }
    if answer["status"]["authenticated"] != true {
        return match text(answer, "/status/error") {
            "" => Ok(None),
            why => Err(Invalid(why.to_owned())),
        };
    }
    let extra = answer.pointer("/status/user/extra").and_then(Value::as_object);
    let user = User {
        name: text(answer, "/status/user/username").to_owned(),
        uid: text(answer, "/status/user/uid").to_owned(),
        groups: texts(answer, "/status/user/groups"),
        extra: extra.into_iter().flatten().map(|(key, values)| (key.clone(), texts(values, ""))).collect(),
    };
    Ok(Some(Authenticated::new(user, &common)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_taken_as_upstream_takes_it() {
        let own = ["api".to_owned()];
        let user = json!({"username": "jane", "uid": "7", "groups": ["dev"], "extra": {"k": ["v"]}});
        let said = |status: Value| json!({"status": status});
        let ask = |status: Value, wanted: &[String]| judge(&said(status), wanted, &own).map_err(|why| why.0);
        let found = ask(json!({"authenticated": true, "user": user}), &own).unwrap().unwrap();
        assert_eq!((found.user.name.as_str(), found.user.uid.as_str()), ("jane", "7"));
        assert_eq!(found.user.extra["k"], ["v"]);
        assert_eq!(found.audiences, ["api"]);
        assert_eq!(ask(json!({"authenticated": false}), &own), Ok(None));
        assert_eq!(ask(json!({"authenticated": false, "error": "gone"}), &own), Err("gone".into()));
        let other = ["vault".to_owned()];
        assert_eq!(ask(json!({"authenticated": true, "user": user}), &other), Ok(None));
        let meant = json!({"authenticated": true, "user": user, "audiences": ["vault"]});
        assert_eq!(ask(meant, &other).unwrap().unwrap().audiences, ["vault"]);
    }
}
