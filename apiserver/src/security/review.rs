//! The API's questions about who someone is and what they may do, answered.
//!
//! Behaviour as upstream's `pkg/registry/authorization` and `pkg/registry/authentication`.

mod access;

use serde_json::{Map, Value, json};
use skiff_api::status::Status;

use super::{Authenticator, Authorization, Objects, User, text, texts};

/// Whom a review is about, and who can tell.
pub struct Subjects<'a> {
    /// Who asks.
    pub user: &'a User,
    /// Decides.
    pub authorizer: &'a dyn Authorization,
    /// Knows tokens.
    pub authenticator: &'a Authenticator,
    /// What tokens are bound to.
    pub objects: &'a dyn Objects,
    /// The time.
    pub now_s: i64,
}

/// Answers a review: the object with its status. `namespace` is that of the request, empty for the cluster scope.
///
/// # Errors
/// 400 or 422 for a review that is wrong in itself, 501 for a kind that is none of the six.
pub async fn review(
    kind: &str,
    namespace: &str,
    mut object: Value,
    subjects: &Subjects<'_>,
) -> Result<Value, Status> {
    if !object.is_object() {
        return Err(Status::bad_request(format!("not a {kind}")));
    }
    let group = match kind {
        "SelfSubjectReview" | "TokenReview" => "authentication.k8s.io",
        _ => access::GROUP,
    };
    let status = match kind {
        "SubjectAccessReview" | "LocalSubjectAccessReview" | "SelfSubjectAccessReview" => {
            access::answer(kind, namespace, &object, subjects).await?
        }
        "SelfSubjectRulesReview" => rules(&object, subjects)?,
        "SelfSubjectReview" => {
            let now = jiff::Timestamp::from_second(subjects.now_s).map_err(Status::internal)?;
            object["metadata"] = json!({"creationTimestamp": now.to_string()});
            json!({"userInfo": info(subjects.user)})
        }
        "TokenReview" => token(&object, subjects).await?,
        other => return Err(Status::not_implemented(other)),
    };
    object["kind"] = kind.into();
    object["apiVersion"] = format!("{group}/v1").into();
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["status"] = status;
    Ok(object)
}

fn rules(object: &Value, subjects: &Subjects<'_>) -> Result<Value, Status> {
    let namespace = text(object, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let known = subjects.authorizer.rules_for(subjects.user, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) = known.rules.iter().partition(|rule| !rule.urls.is_empty());
    let objects = |rules: Vec<&super::rbac::Rule>| {
        rules.into_iter().map(super::rbac::Rule::to_object).collect::<Value>()
    };
    let mut status = json!({
        "resourceRules": objects(resources), "nonResourceRules": objects(paths),
        "incomplete": known.incomplete,
    });
    if !known.error.is_empty() {
        status["evaluationError"] = known.error.into();
    }
    Ok(status)
}

async fn token(object: &Value, subjects: &Subjects<'_>) -> Result<Value, Status> {
    let token = text(object, "/spec/token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = texts(object, "/spec/audiences");
    let found = subjects.authenticator.review(token, &audiences, subjects.objects, subjects.now_s).await;
    Ok(match found {
        Ok(found) => {
            json!({"authenticated": true, "user": info(&found.user), "audiences": found.audiences})
        }
        Err(why) => json!({"user": {}, "error": why.to_string()}),
    })
}

/// A `UserInfo`.
pub(crate) fn info(user: &User) -> Value {
    let mut info = Map::new();
    info.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        info.insert("uid".into(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        info.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        info.insert("extra".into(), json!(user.extra));
    }
    info.into()
}

#[cfg(test)]
mod tests;
