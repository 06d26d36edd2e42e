//! The API's questions about who someone is and what they may do, answered.
//!
//! Behaviour as upstream's `pkg/registry/authorization` and `pkg/registry/authentication`. A selector given as
//! requirements is understood where it demands one value; others are passed over, which asks for more, never for less.

use serde_json::{Map, Value, json};
use skiff_api::status::{FieldError, Status};

use super::{Attributes, Authorizer, Objects, ServiceAccountTokens, User, items, text, texts};

const AUTHORIZATION: &str = "authorization.k8s.io";

/// Whom a review is about, and who can tell.
pub struct Subjects<'a> {
    /// Who asks.
    pub user: &'a User,
    /// Decides.
    pub authorizer: &'a dyn Authorizer,
    /// Knows tokens.
    pub tokens: &'a ServiceAccountTokens,
    /// What tokens are bound to.
    pub objects: &'a dyn Objects,
}

/// Answers a review: the object with its status. `namespace` is that of the request, empty for the cluster scope.
///
/// # Errors
/// 400 or 422 for a review that is wrong in itself, 501 for a kind that is none of the six.
pub fn review(
    kind: &str,
    namespace: &str,
    mut object: Value,
    subjects: &Subjects<'_>,
) -> Result<Value, Status> {
    let group = match kind {
        "SelfSubjectReview" | "TokenReview" => "authentication.k8s.io",
        _ => AUTHORIZATION,
    };
    let status = match kind {
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let user = subject(&object)?;
            if kind.starts_with("Local") {
                check_namespace(&object, namespace)?;
            }
            access(kind, &object, &user, subjects.authorizer)?
        }
        "SelfSubjectAccessReview" => access(kind, &object, subjects.user, subjects.authorizer)?,
        "SelfSubjectRulesReview" => rules(&object, subjects)?,
        "SelfSubjectReview" => json!({"userInfo": info(subjects.user)}),
        "TokenReview" => token(&object, subjects)?,
        other => return Err(Status::not_implemented(other)),
    };
    if !object.is_object() {
        return Err(Status::bad_request(format!("not a {kind}")));
    }
    object["kind"] = kind.into();
    object["apiVersion"] = format!("{group}/v1").into();
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["status"] = status;
    Ok(object)
}

/// Whom a SubjectAccessReview names.
fn subject(object: &Value) -> Result<User, Status> {
    let user = User {
        name: text(object, "/spec/user").to_owned(),
        uid: text(object, "/spec/uid").to_owned(),
        groups: texts(object, "/spec/groups"),
        extra: std::collections::BTreeMap::new(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let error = FieldError::invalid("spec.user", "", "at least one of user or group must be specified");
        return Err(Status::invalid(AUTHORIZATION, "SubjectAccessReview", "", &[error]));
    }
    Ok(user)
}

fn check_namespace(object: &Value, namespace: &str) -> Result<(), Status> {
    let asked = text(object, "/spec/resourceAttributes/namespace");
    if is_there(object, "/spec/nonResourceAttributes") {
        let error = FieldError::invalid(
            "spec.nonResourceAttributes",
            Value::Null,
            "disallowed on this kind of request",
        );
        return Err(Status::invalid(AUTHORIZATION, "LocalSubjectAccessReview", "", &[error]));
    }
    if asked != namespace {
        let error =
            FieldError::invalid("spec.resourceAttributes.namespace", asked, "must match metadata.namespace");
        return Err(Status::invalid(AUTHORIZATION, "LocalSubjectAccessReview", "", &[error]));
    }
    Ok(())
}

fn access(kind: &str, object: &Value, user: &User, authorizer: &dyn Authorizer) -> Result<Value, Status> {
    let (resource, path) =
        (is_there(object, "/spec/resourceAttributes"), is_there(object, "/spec/nonResourceAttributes"));
    if resource == path {
        let (field, why) = if resource {
            ("spec.nonResourceAttributes", "cannot be specified in combination with resourceAttributes")
        } else {
            (
                "spec.resourceAttributes",
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
        };
        return Err(Status::invalid(
            AUTHORIZATION,
            kind,
            "",
            &[FieldError::invalid(field, Value::Null, why)],
        ));
    }
    let part = if resource { "resource" } else { "nonResource" };
    let field = |name: &str| text(object, &format!("/spec/{part}Attributes/{name}"));
    let (fields, labels) = (selector(object, "field"), selector(object, "label"));
    let attributes = Attributes {
        user,
        verb: field("verb"),
        group: field("group"),
        version: field("version"),
        resource: field("resource"),
        subresource: field("subresource"),
        namespace: field("namespace"),
        name: field("name"),
        path: field("path"),
        resource_request: resource,
        field_selector: &fields,
        label_selector: &labels,
    };
    let decision = authorizer.authorize(&attributes);
    let mut status = json!({"allowed": decision.is_allowed()});
    if matches!(decision, super::Decision::Deny(_)) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    Ok(status)
}

/// A selector of the review in the form that a URL carries.
fn selector(object: &Value, sort: &str) -> String {
    let place = format!("/spec/resourceAttributes/{sort}Selector");
    let raw = text(object, &format!("{place}/rawSelector"));
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let parts: Vec<String> = items(object, &format!("{place}/requirements"))
        .iter()
        .filter(|one| text(one, "/operator") == "In")
        .filter_map(|one| match items(one, "/values") {
            [value] => Some(format!("{}={}", text(one, "/key"), value.as_str()?)),
            _ => None,
        })
        .collect();
    parts.join(",")
}

fn rules(object: &Value, subjects: &Subjects<'_>) -> Result<Value, Status> {
    let namespace = text(object, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, complete) = subjects.authorizer.rules(subjects.user, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| !rule.urls.is_empty());
    let objects = |rules: Vec<&super::rbac::Rule>| {
        rules.into_iter().map(super::rbac::Rule::to_object).collect::<Value>()
    };
    let mut status = json!({
        "resourceRules": objects(resources), "nonResourceRules": objects(paths), "incomplete": !complete,
    });
    if !complete {
        status["evaluationError"] = "node authorizer does not support user rule resolution".into();
    }
    Ok(status)
}

fn token(object: &Value, subjects: &Subjects<'_>) -> Result<Value, Status> {
    let token = text(object, "/spec/token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let now_s = jiff::Timestamp::now().as_second();
    let audiences = texts(object, "/spec/audiences");
    Ok(match subjects.tokens.verify_at(token, &audiences, subjects.objects, now_s) {
        Ok((user, audiences)) => json!({"authenticated": true, "user": info(&user), "audiences": audiences}),
        Err(why) => json!({"error": why.to_string()}),
    })
}

/// A `UserInfo`.
fn info(user: &User) -> Value {
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

fn is_there(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).is_some_and(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::Authority;
    use crate::security::token::tests::{Store, grant, tokens};

    fn ask(kind: &str, namespace: &str, spec: Value, user: &User) -> Result<Value, Status> {
        let mut authority = Authority::new();
        for object in crate::security::bootstrap::objects() {
            authority.update(object["kind"].as_str().unwrap(), None, Some(&object));
        }
        let subjects =
            Subjects { user, authorizer: &authority, tokens: &tokens(), objects: &Store::with_account() };
        review(kind, namespace, json!({"spec": spec}), &subjects).map(|object| object["status"].clone())
    }

    #[test]
    fn access_is_answered_for_oneself_and_for_others() {
        let scheduler = User::new("system:kube-scheduler", &[]);
        let list = |resource: &str| json!({"verb": "list", "resource": resource, "namespace": "a"});
        let (pods, secrets) = (list("pods"), list("secrets"));
        let other =
            |attributes: &Value| json!({"user": "system:kube-proxy", "resourceAttributes": attributes});
        let table = [
            ("SelfSubjectAccessReview", json!({"resourceAttributes": pods}), Some(true)),
            ("SelfSubjectAccessReview", json!({"resourceAttributes": secrets}), Some(false)),
            ("SelfSubjectAccessReview", json!({}), None),
            (
                "SelfSubjectAccessReview",
                json!({"resourceAttributes": pods, "nonResourceAttributes": {}}),
                None,
            ),
            ("SubjectAccessReview", other(&pods), Some(false)),
            ("SubjectAccessReview", other(&list("services")), Some(true)),
            ("SubjectAccessReview", json!({"resourceAttributes": pods}), None),
            ("LocalSubjectAccessReview", other(&list("services")), Some(true)),
            ("LocalSubjectAccessReview", other(&json!({"verb": "list", "resource": "pods"})), None),
            (
                "SubjectAccessReview",
                json!({"groups": ["system:authenticated"], "nonResourceAttributes": {"verb": "get", "path": "/api"}}),
                Some(true),
            ),
        ];
        for (kind, spec, expected) in table {
            let answer = ask(kind, "a", spec.clone(), &scheduler);
            assert_eq!(answer.ok().map(|status| status["allowed"] == true), expected, "{kind} {spec}");
        }
    }

    #[test]
    fn rules_are_listed() {
        let status = ask(
            "SelfSubjectRulesReview",
            "",
            json!({"namespace": "a"}),
            &User::new("system:kube-scheduler", &[]),
        )
        .unwrap();
        assert!(status["resourceRules"].as_array().unwrap().len() > 10);
        assert_eq!(status["incomplete"], false);
    }

    #[test]
    fn tokens_and_oneself_are_reviewed() {
        let tokens = tokens();
        let grant = crate::security::token::Grant { now: jiff::Timestamp::now(), ..grant() };
        let good = tokens.sign(&grant).unwrap();
        let (authority, user) = (Authority::new(), User::new("me", &["g"]));
        let subjects = Subjects {
            user: &user,
            authorizer: &authority,
            tokens: &tokens,
            objects: &Store::with_account(),
        };
        let ask = |token: &str| review("TokenReview", "", json!({"spec": {"token": token}}), &subjects);
        let status = ask(&good).unwrap()["status"].clone();
        assert_eq!(status["user"]["username"], "system:serviceaccount:ns:sa");
        assert_eq!(status["authenticated"], true);
        assert!(ask("nonsense").unwrap()["status"]["error"].is_string());
        assert_eq!(ask("").unwrap_err().code, 400);
        let own = review("SelfSubjectReview", "", json!({}), &subjects).unwrap();
        assert_eq!(own["status"]["userInfo"], json!({"username": "me", "groups": ["g"]}));
    }
}
