//! `serviceaccounts/token`: what a TokenRequest asks for, checked, and the token put into its status.
//!
//! Behaviour as upstream's `pkg/registry/core/serviceaccount/storage/token.go`.

use serde_json::{Value, json};
use skiff_api::status::{FieldError, Status};

use super::token::{Bound, Grant, Reference};
use super::{Authenticator, Objects, text, texts};

const GROUP: &str = "authentication.k8s.io";

/// What the tokens in pods ask for; such a token is extended.
const POD_LIFETIME_S: i64 = 3607;

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
        audiences.clone_from(&authenticator.audiences);
    }
    let mut bound = Bound {
        namespace: namespace.into(),
        serviceaccount: Reference { name: name.into(), uid: text(&account, "/metadata/uid").into() },
        ..Bound::default()
    };
    if request.pointer("/spec/boundObjectRef").is_some_and(|reference| !reference.is_null()) {
        bind(request, &mut bound, objects)?;
    }
    let extended = lifetime_s == POD_LIFETIME_S
        && bound.pod.is_some()
        && audiences.iter().all(|one| authenticator.audiences.contains(one));
    let grant = Grant { bound, audiences: audiences.clone(), lifetime_s, extended };
    let signed = authenticator.tokens.sign(&grant, now_s).map_err(Status::internal)?;
    let expires = jiff::Timestamp::from_second(signed.expires_s).map_err(Status::internal)?;
    let mut metadata = request.get("metadata").filter(|value| value.is_object()).cloned().unwrap_or_else(|| json!({}));
    metadata["name"] = name.into();
    metadata["namespace"] = namespace.into();
    Ok(json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": metadata,
        "spec": {"audiences": audiences, "expirationSeconds": lifetime_s,
            "boundObjectRef": request.pointer("/spec/boundObjectRef")},
        "status": {"token": signed.token, "expirationTimestamp": expires.to_string()},
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

fn bind(request: &Value, bound: &mut Bound, objects: &dyn Objects) -> Result<(), Status> {
    let field = |name: &str| text(request, &format!("/spec/boundObjectRef/{name}")).to_owned();
    let (kind, version, name, uid) = (field("kind"), field("apiVersion"), field("name"), field("uid"));
    let (resource, namespace) = match (version.as_str(), kind.as_str()) {
        ("v1", "Pod") => ("pods", bound.namespace.as_str()),
        ("v1", "Secret") => ("secrets", bound.namespace.as_str()),
        ("v1", "Node") => ("nodes", ""),
        _ => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount to object of type {version}, Kind={kind}"
            )));
        }
    };
    let object = objects.get(resource, namespace, &name).ok_or_else(|| Status::not_found("", resource, &name))?;
    let actual = text(&object, "/metadata/uid");
    if !uid.is_empty() && uid != actual {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", resource, &name, &why));
    }
    let reference = Reference { name: name.clone(), uid: actual.to_owned() };
    match resource {
        "pods" => {
            let account = match text(&object, "/spec/serviceAccountName") {
                "" => "default",
                account => account,
            };
            if account != bound.serviceaccount.name {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    bound.serviceaccount.name
                )));
            }
            bound.pod = Some(reference);
            let node = text(&object, "/spec/nodeName");
            if let Some(found) = (!node.is_empty()).then(|| objects.get("nodes", "", node)).flatten() {
                bound.node = Some(Reference { name: node.into(), uid: text(&found, "/metadata/uid").into() });
            }
        }
        "secrets" => bound.secret = Some(reference),
        _ => bound.node = Some(reference),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::token::tests::{NOW, Store, tokens};

    fn ask(spec: Value) -> Result<Value, Status> {
        let authenticator = Authenticator::new(tokens());
        answer(&json!({"spec": spec}), "ns", "sa", &authenticator, &Store::with_account(), NOW)
    }

    #[test]
    fn a_token_for_a_pod_carries_pod_and_node() {
        let authenticator = Authenticator::new(tokens());
        let store = Store::with_account();
        let spec = json!({"spec": {"expirationSeconds": 3607, "boundObjectRef":
            {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u2"}}});
        let answer = answer(&spec, "ns", "sa", &authenticator, &store, NOW).unwrap();
        assert_eq!(answer["status"]["expirationTimestamp"], "2027-01-15T09:00:07Z");
        let (user, _) =
            authenticator.token(text(&answer, "/status/token"), &[], &store, NOW + 7 * 24 * 3600).unwrap();
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n"]);
    }

    #[test]
    fn wrong_requests_are_refused_with_the_right_code() {
        let pod = |name: &str, uid: &str| json!({"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid});
        let table = [
            (json!({"expirationSeconds": 10}), 422),
            (json!({"expirationSeconds": 5_000_000_000_i64}), 422),
            (json!({"boundObjectRef": pod("absent", "")}), 404),
            (json!({"boundObjectRef": pod("p", "old")}), 409),
            (json!({"boundObjectRef": {"kind": "Service", "apiVersion": "v1", "name": "s"}}), 400),
        ];
        for (spec, code) in table {
            assert_eq!(ask(spec.clone()).unwrap_err().code, code, "{spec}");
        }
    }
}
