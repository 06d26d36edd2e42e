//! What a token says, and whom it stands for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LEEWAY_S, user_name};
use crate::security::certificate::CREDENTIAL_ID;
use crate::security::{AUTHENTICATED, Invalid, Objects, User, text};

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
    /// Its uid; empty for the node of a pod, which is not checked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Claims {
    /// The user, if every object that the token is bound to still exists with the same uid.
    ///
    /// # Errors
    /// What is gone.
    pub(super) fn user(&self, objects: &dyn Objects, now_s: i64) -> Result<User, Invalid> {
        let bound = &self.bound;
        let (namespace, account) = (&bound.namespace, &bound.serviceaccount);
        still_there(objects, "serviceaccounts", namespace, account, now_s)?;
        let mut user = User {
            name: user_name(namespace, &account.name),
            uid: account.uid.clone(),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                AUTHENTICATED.into(),
            ],
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
            if !node.uid.is_empty() {
                note("authentication.kubernetes.io/node-uid", &node.uid);
            }
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
) -> Result<(), Invalid> {
    let gone = || Invalid(format!("the token is void: {resource} {namespace}/{} is gone", reference.name));
    let object = objects.get(resource, namespace, &reference.name).ok_or_else(gone)?;
    let deleted: Option<Timestamp> = text(&object, "/metadata/deletionTimestamp").parse().ok();
    let deleted = deleted.is_some_and(|at| at.as_second() < now_s - LEEWAY_S);
    if text(&object, "/metadata/uid") != reference.uid || deleted {
        return Err(gone());
    }
    Ok(())
}
