//! `serviceaccounts/token`: what a TokenRequest asks for, checked, and the token put into its status.
//!
//! Behaviour as upstream's `pkg/registry/core/serviceaccount/storage/token.go`.

use serde_json::{Value, json};
use skiff_api::status::{FieldError, Status};

use super::token::{Bound, Grant};
use super::{Authenticator, Objects, text, texts};
use jiff::Timestamp;

const GROUP: &str = "authentication.k8s.io";

/// Answers a TokenRequest for the service account `namespace/name`.
///
/// # Errors
/// 404 for the account or the bound object, 409 if a uid differs, 422 for a request that is wrong in itself.
pub fn answer(
    request: &Value,
    namespace: &str,
    name: &str,
    authenticator: &Authenticator,
    objects: &dyn Objects,
    now_s: i64,
) -> Result<Value, Status> {
    let account = objects
        .get("serviceaccounts", namespace, name)
        .ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
    let lifetime_s = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(3600);
    check_lifetime(lifetime_s)?;
    let mut audiences = texts(request, "/spec/audiences");
    if audiences.is_empty() {
        audiences.push(authenticator.tokens.issuer().to_owned());
    }
    let reference = request.pointer("/spec/boundObjectRef").filter(|reference| !reference.is_null());
    let grant = Grant {
        namespace: namespace.into(),
        name: name.into(),
        uid: text(&account, "/metadata/uid").into(),
        audiences: audiences.clone(),
        seconds: lifetime_s,
        bound: reference.map(|reference| bind(reference, namespace, name, objects)).transpose()?,
        now: Timestamp::from_second(now_s).map_err(Status::internal)?,
    };
    let token = authenticator.tokens.sign(&grant).map_err(Status::internal)?;
    let expires = Timestamp::from_second(now_s + lifetime_s).map_err(Status::internal)?;
    let mut metadata =
        request.get("metadata").filter(|value| value.is_object()).cloned().unwrap_or_else(|| json!({}));
    metadata["name"] = name.into();
    metadata["namespace"] = namespace.into();
    Ok(json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": metadata,
        "spec": {"audiences": audiences, "expirationSeconds": lifetime_s,
            "boundObjectRef": request.pointer("/spec/boundObjectRef")},
        "status": {"token": token, "expirationTimestamp": expires.to_string()},
    }))
}

fn check_lifetime(lifetime_s: i64) -> Result<(), Status> {
    let why = match lifetime_s {
        ..600 => "may not specify a duration less than 10 minutes",
        600..=4_294_967_296 => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError::invalid("spec.expirationSeconds", lifetime_s, why);
    Err(Status::invalid(GROUP, "TokenRequest", "", &[error]))
}

fn bind(reference: &Value, namespace: &str, account: &str, objects: &dyn Objects) -> Result<Bound, Status> {
    let field = |name: &str| text(reference, name);
    let (kind, version, name, uid) = (field("/kind"), field("/apiVersion"), field("/name"), field("/uid"));
    let (resource, namespace) = match (version, kind) {
        ("v1", "Pod") => ("pods", namespace),
        ("v1", "Secret") => ("secrets", namespace),
        ("v1", "Node") => ("nodes", ""),
        _ => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount to object of type {version}, Kind={kind}"
            )));
        }
    };
    let object =
        objects.get(resource, namespace, name).ok_or_else(|| Status::not_found("", resource, name))?;
    let actual = text(&object, "/metadata/uid");
    if !uid.is_empty() && uid != actual {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", resource, name, &why));
    }
    let runs_as = match text(&object, "/spec/serviceAccountName") {
        "" => "default",
        name => name,
    };
    if resource == "pods" && runs_as != account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let node = Some(text(&object, "/spec/nodeName")).filter(|node| resource == "pods" && !node.is_empty());
    Ok(Bound {
        resource: resource.into(),
        name: name.into(),
        uid: actual.into(),
        node: node.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::token::tests::{NOW, Store, tokens};

    fn ask(authenticator: &Authenticator, name: &str, spec: &Value) -> Result<Value, Status> {
        answer(&json!({"spec": spec}), "ns", name, authenticator, &Store::with_account(), NOW)
    }

    #[test]
    fn a_token_for_a_pod_carries_pod_and_node() {
        let authenticator = Authenticator::new(tokens());
        let spec = json!({"expirationSeconds": 3607, "boundObjectRef":
            {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u2"}});
        let answer = ask(&authenticator, "sa", &spec).unwrap();
        assert_eq!(answer["status"]["expirationTimestamp"], "2027-01-15T09:00:07Z");
        let (user, _) = authenticator
            .tokens
            .verify_at(text(&answer, "/status/token"), &[], &Store::with_account(), NOW + 7 * 24 * 3600)
            .unwrap();
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n"]);
    }

    #[test]
    fn wrong_requests_are_refused_with_the_right_code() {
        let pod =
            |name: &str, uid: &str| json!({"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid});
        let table = [
            (json!({"expirationSeconds": 10}), 422),
            (json!({"expirationSeconds": 5_000_000_000_i64}), 422),
            (json!({"boundObjectRef": pod("absent", "")}), 404),
            (json!({"boundObjectRef": pod("p", "old")}), 409),
            (json!({"boundObjectRef": {"kind": "Service", "apiVersion": "v1", "name": "s"}}), 400),
        ];
        for (spec, code) in table {
            assert_eq!(ask(&Authenticator::new(tokens()), "sa", &spec).unwrap_err().code, code, "{spec}");
        }
    }
}
