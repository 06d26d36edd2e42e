//! What a token says, and whom it stands for.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LEEWAY_S, groups, user_name};
use crate::security::authenticate::{Authenticated, Question, Rest};
use crate::security::certificate::CREDENTIAL_ID;
use crate::security::{Invalid, User, text};

/// What a token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The audiences that it is meant for.
    #[serde(default)]
    pub aud: Vec<String>,
    /// Seconds since 1970 after which it is void.
    pub exp: i64,
    /// Seconds since 1970 when it was made.
    pub iat: i64,
    /// The issuer.
    pub iss: String,
    /// The token's own id.
    #[serde(default)]
    pub jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub bound: Kubernetes,
    /// Seconds since 1970 before which it is void.
    pub nbf: i64,
    /// The user name.
    pub sub: String,
}

/// The claim `kubernetes.io`: the objects without which a token is void.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kubernetes {
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
    /// Its uid; empty for the node of a pod that was gone when the token was made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Claims {
    /// Whether it is in its time.
    pub(super) fn check_time(&self, now_s: i64) -> Result<(), Invalid> {
        let why = if now_s > self.exp + LEEWAY_S {
            "service account token has expired"
        } else if now_s + LEEWAY_S < self.nbf {
            "service account token is not valid yet"
        } else if now_s + LEEWAY_S < self.iat {
            "service account token is issued in the future"
        } else {
            return Ok(());
        };
        Err(Invalid(why.into()))
    }

    /// The account, if every object that the token is bound to still exists with the same uid.
    ///
    /// # Errors
    /// What is gone.
    pub(super) fn judge(&self, asked: &Question<'_>, audiences: &[String]) -> Result<Authenticated, Invalid> {
        self.check_time(asked.now_s)?;
        let bound = &self.bound;
        let (namespace, account) = (&bound.namespace, &bound.serviceaccount);
        let mut rests_on = vec![self.account(asked)?];
        let mut user = User {
            name: user_name(namespace, &account.name),
            uid: account.uid.clone(),
            groups: groups(namespace),
            ..User::default()
        };
        let mut note = |key: &str, value: &str| {
            user.extra.insert(key.to_owned(), vec![value.to_owned()]);
        };
        if let Some(secret) = &bound.secret {
            let words = ("secret", "service account secret ref");
            rests_on.push(still_there(asked, "secrets", namespace, secret, words)?);
        }
        if let Some(pod) = &bound.pod {
            let words = ("pod", "service account pod ref");
            rests_on.push(still_there(asked, "pods", namespace, pod, words)?);
            note("authentication.kubernetes.io/pod-name", &pod.name);
            note("authentication.kubernetes.io/pod-uid", &pod.uid);
        }
        if let Some(node) = &bound.node {
            if bound.pod.is_none() {
                let words = ("node", "service account node ref");
                rests_on.push(still_there(asked, "nodes", "", node, words)?);
            }
            note("authentication.kubernetes.io/node-name", &node.name);
            if !node.uid.is_empty() {
                note("authentication.kubernetes.io/node-uid", &node.uid);
            }
        }
        if !self.jti.is_empty() {
            note(CREDENTIAL_ID, &format!("JTI={}", self.jti));
        }
        Ok(Authenticated { rests_on, until_s: self.exp + LEEWAY_S, ..Authenticated::new(user, audiences) })
    }

    fn account(&self, asked: &Question<'_>) -> Result<Rest, Invalid> {
        let (namespace, account) = (&self.bound.namespace, &self.bound.serviceaccount);
        let (object, rest) = asked
            .look("serviceaccounts", namespace, &account.name)
            .ok_or_else(|| Invalid(format!("serviceaccounts {:?} not found", account.name)))?;
        let uid = text(&object, "/metadata/uid");
        if uid != account.uid {
            return Err(Invalid(format!(
                "service account UID ({uid}) does not match claim ({})",
                account.uid
            )));
        }
        if is_gone(&object, asked.now_s) {
            return Err(Invalid(format!("service account {namespace}/{} has been deleted", account.name)));
        }
        Ok(rest)
    }
}

/// An object that is bound to; `words` is what upstream calls it and its claim.
fn still_there(
    asked: &Question<'_>,
    resource: &'static str,
    namespace: &str,
    reference: &Reference,
    words: (&str, &str),
) -> Result<Rest, Invalid> {
    let void = || Invalid("service account token has been invalidated".into());
    let (object, rest) = asked.look(resource, namespace, &reference.name).ok_or_else(void)?;
    let uid = text(&object, "/metadata/uid");
    if uid != reference.uid {
        let (what, claim) = words;
        return Err(Invalid(format!("{what} UID ({uid}) does not match {claim} claim ({})", reference.uid)));
    }
    if is_gone(&object, asked.now_s) { Err(void()) } else { Ok(rest) }
}

/// Whether an object was deleted more than a moment ago.
fn is_gone(object: &Arc<Value>, now_s: i64) -> bool {
    let deleted: Option<Timestamp> = text(object, "/metadata/deletionTimestamp").parse().ok();
    deleted.is_some_and(|at| at.as_second() < now_s - LEEWAY_S)
}
