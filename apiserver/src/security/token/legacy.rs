//! Tokens that a Secret of type `kubernetes.io/service-account-token` holds. They name no time and no audience, and are void
//! as soon as the Secret no longer holds them.
//!
//! Behaviour as upstream's `pkg/serviceaccount/legacy.go`. The controllers sign them (`skiff-controller`, `tokens`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::user_name;
use crate::security::authenticate::{Authenticated, LastUse, Question, Rest};
use crate::security::{Invalid, User, text};

/// Who signs them.
pub const ISSUER: &str = "kubernetes/serviceaccount";
/// When a token was last seen, as a label of its Secret.
pub const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// What such a token says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The user name.
    #[serde(default)]
    pub sub: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
}

impl Claims {
    /// The account, if the Secret still holds this very token.
    ///
    /// # Errors
    /// A claim is missing, or what is gone.
    pub(super) fn judge(&self, asked: &Question<'_>, audiences: &[String]) -> Result<Authenticated, Invalid> {
        let fail = |why: String| Err(Invalid(why));
        for (value, name) in [
            (&self.sub, "sub"),
            (&self.namespace, "namespace"),
            (&self.secret, "secretName"),
            (&self.account, "serviceAccountName"),
            (&self.uid, "serviceAccountUID"),
        ] {
            if value.is_empty() {
                return fail(format!("{name} claim is missing"));
            }
        }
        let (namespace, account) = (self.namespace.as_str(), self.account.as_str());
        if self.sub != user_name(namespace, account) {
            return fail("sub claim is invalid".into());
        }
        let (secret, secret_rest) = asked
            .look("secrets", namespace, &self.secret)
            .filter(|(secret, _)| text(secret, "/metadata/deletionTimestamp").is_empty())
            .ok_or_else(|| Invalid("Token has been invalidated".into()))?;
        let held = STANDARD.decode(text(&secret, "/data/token")).unwrap_or_default();
        if held != asked.token.as_bytes() {
            return fail("Token does not match server's copy".into());
        }
        let (found, rest) = asked
            .look("serviceaccounts", namespace, account)
            .ok_or_else(|| Invalid(format!("serviceaccounts {account:?} not found")))?;
        if !text(&found, "/metadata/deletionTimestamp").is_empty() {
            return fail(format!("ServiceAccount {namespace}/{account} has been deleted"));
        }
        let uid = text(&found, "/metadata/uid");
        if uid != self.uid {
            return fail(format!("ServiceAccount UID ({uid}) does not match claim ({})", self.uid));
        }
        let label = |name: &str| secret["metadata"]["labels"][name].as_str().unwrap_or_default();
        if !label(INVALID_SINCE).is_empty() {
            return fail(format!(
                "the token in secret {namespace}/{} for service account {namespace}/{account} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token",
                self.secret
            ));
        }
        let user = User {
            name: self.sub.clone(),
            uid: uid.to_owned(),
            groups: super::groups(namespace),
            ..User::default()
        };
        Ok(Authenticated {
            rests_on: vec![secret_rest, rest],
            last_use: self.last_use(&secret, label(LAST_USED), asked.now_s),
            ..Authenticated::new(user, audiences)
        })
    }

    /// The label is written once a day.
    fn last_use(&self, secret: &Value, labelled: &str, now_s: i64) -> Option<LastUse> {
        let day = |at_s: i64| {
            let at = jiff::Timestamp::from_second(at_s).ok()?;
            Some(at.strftime("%Y-%m-%d").to_string())
        };
        let (today, tomorrow) = (day(now_s)?, day(now_s + 24 * 3600)?);
        if labelled == today || labelled == tomorrow {
            return None;
        }
        Some(LastUse {
            namespace: self.namespace.clone(),
            secret: self.secret.clone(),
            uid: text(secret, "/metadata/uid").into(),
            day: today,
        })
    }

    /// For tests: the claims of a Secret's token.
    #[cfg(test)]
    pub(super) fn of(namespace: &str, account: &str, uid: &str, secret: &str) -> Self {
        Self {
            iss: ISSUER.into(),
            sub: user_name(namespace, account),
            account: account.into(),
            uid: uid.into(),
            secret: secret.into(),
            namespace: namespace.into(),
        }
    }
}

impl Question<'_> {
    /// An object and what remembers how it was.
    pub(super) fn look(
        &self,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Option<(std::sync::Arc<Value>, Rest)> {
        // The stamp first: what changes between the two is looked at anew.
        let stamp = self.objects.stamp(resource, namespace, name)?;
        let object = self.objects.get(resource, namespace, name)?;
        Some((object, Rest::new(resource, namespace, name, stamp)))
    }
}
