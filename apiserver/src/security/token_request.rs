//! `serviceaccounts/token`: what a TokenRequest asks for, checked, and the token put into its status.
//!
//! Behaviour as upstream's `pkg/registry/core/serviceaccount/storage/token.go`.

use serde_json::{Value, json};
use skiff_api::status::{FieldError, Status};

use super::token::{Bound, Grant};
use super::{Objects, ServiceAccountTokens, text, texts};
use jiff::Timestamp;

const GROUP: &str = "authentication.k8s.io";

/// Answers a TokenRequest for the service account `namespace/name`; `warn` is told what the client should know.
///
/// # Errors
/// 404 for the account or the bound object, 409 if a uid differs, 422 for a request that is wrong in itself.
pub fn answer(
    request: &Value,
    (namespace, name): (&str, &str),
    tokens: &ServiceAccountTokens,
    objects: &dyn Objects,
    now_s: i64,
    warn: &mut dyn FnMut(String),
) -> Result<Value, Status> {
    for (field, own, what) in [("name", name, "name"), ("namespace", namespace, "namespace")] {
        let given = text(request, &format!("/metadata/{field}"));
        if !given.is_empty() && given != own {
            let why = format!("must match the service account {what} if specified");
            let error = FieldError::invalid(format!("metadata.{field}"), given, why);
            return Err(Status::invalid(GROUP, "TokenRequest", name, &[error]));
        }
    }
    let account = objects
        .get("serviceaccounts", namespace, name)
        .ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
    let (given, uid) = (text(request, "/metadata/uid"), text(&account, "/metadata/uid"));
    if !given.is_empty() && given != uid {
        let why = format!(
            "the UID in the token request ({given}) does not match the UID of the service account ({uid})"
        );
        return Err(Status::conflict(GROUP, "TokenRequest", name, &why));
    }
    let mut lifetime_s = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(3600);
    check_lifetime(lifetime_s)?;
    let mut audiences = texts(request, "/spec/audiences");
    if audiences.is_empty() {
        audiences.extend(tokens.api_audiences().iter().cloned());
    }
    let reference = request.pointer("/spec/boundObjectRef").filter(|reference| !reference.is_null());
    let bound = reference.map(|reference| bind(reference, namespace, name, objects)).transpose()?;
    if let Some(max_s) = tokens.max_expiration_s().filter(|max_s| lifetime_s > *max_s) {
        warn(format!("requested expiration of {lifetime_s} seconds shortened to {max_s} seconds"));
        lifetime_s = max_s;
    }
    let now = Timestamp::from_second(now_s).map_err(Status::internal)?;
    let grant = Grant {
        namespace: namespace.into(),
        name: name.into(),
        uid: uid.into(),
        audiences: audiences.clone(),
        seconds: lifetime_s,
        bound,
        now,
    };
    let token = tokens.sign(&grant).map_err(Status::internal)?;
    let expires = Timestamp::from_second(now_s + lifetime_s).map_err(Status::internal)?;
    let mut metadata =
        request.get("metadata").filter(|value| value.is_object()).cloned().unwrap_or_else(|| json!({}));
    metadata["name"] = name.into();
    metadata["namespace"] = namespace.into();
    metadata["uid"] = uid.into();
    metadata["creationTimestamp"] = now.to_string().into();
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
                "cannot bind token to object of type {}, Kind={kind}",
                if version.contains('/') { version.to_owned() } else { format!("/{version}") }
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
    let node = node.map(|node| {
        let uid = objects.get("nodes", "", node).map(|node| text(&node, "/metadata/uid").to_owned());
        (node.to_owned(), uid.unwrap_or_default())
    });
    Ok(Bound { resource: resource.into(), name: name.into(), uid: actual.into(), node })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::token::Options;
    use crate::security::token::tests::{NOW, Store, asked, tokens};

    fn ask(tokens: &ServiceAccountTokens, name: &str, spec: &Value) -> Result<Value, Status> {
        let request = json!({"spec": spec});
        answer(&request, ("ns", name), tokens, &Store::with_account(), NOW, &mut |why| panic!("{why}"))
    }

    #[test]
    fn what_a_request_says_of_itself_must_be_so() {
        let tokens = tokens();
        for (metadata, code) in [
            (json!({"name": "sa", "namespace": "ns", "uid": "u1"}), 0),
            (json!({"name": "other"}), 422),
            (json!({"namespace": "other"}), 422),
            (json!({"uid": "other"}), 409),
        ] {
            let request = json!({"metadata": metadata});
            let answer = answer(&request, ("ns", "sa"), &tokens, &Store::with_account(), NOW, &mut drop);
            assert_eq!(answer.err().map_or(0, |status| status.code), code, "{metadata}");
        }
    }

    #[test]
    fn a_longest_time_shortens_and_says_so() {
        let options = Options { max_expiration_s: Some(3600), ..Options::default() };
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let tokens = ServiceAccountTokens::with(&key, options).unwrap();
        let mut told = Vec::new();
        let request = json!({"spec": {"expirationSeconds": 7200}});
        let store = Store::with_account();
        let answer = answer(&request, ("ns", "sa"), &tokens, &store, NOW, &mut |why| told.push(why)).unwrap();
        assert_eq!(answer["spec"]["expirationSeconds"], 3600);
        assert_eq!(told, ["requested expiration of 7200 seconds shortened to 3600 seconds"]);
    }

    #[test]
    fn a_token_for_a_pod_carries_pod_and_node() {
        let tokens = tokens();
        let spec = json!({"expirationSeconds": 3607, "boundObjectRef":
            {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u2"}});
        let answer = ask(&tokens, "sa", &spec).unwrap();
        assert_eq!(answer["status"]["expirationTimestamp"], "2027-01-15T09:00:07Z");
        let (token, store) = (text(&answer, "/status/token"), Store::with_account());
        let found = tokens.judge(&asked(token, &[], &store, NOW + 7 * 24 * 3600)).unwrap().unwrap();
        assert_eq!(found.user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(found.user.extra["authentication.kubernetes.io/node-name"], ["n"]);
        assert_eq!(found.user.extra["authentication.kubernetes.io/node-uid"], ["u3"]);
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
            assert_eq!(ask(&tokens(), "sa", &spec).unwrap_err().code, code, "{spec}");
        }
    }
}
