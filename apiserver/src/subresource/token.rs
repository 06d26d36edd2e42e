//! Tokens for service accounts.

use axum::body::Body;
use http::{Request, Response};
use jiff::SignedDuration;
use serde_json::{Value, json};
use skiff_api::meta;
use skiff_api::status::{FieldError, Status};

use crate::app::Call;
use crate::security::authenticate::{Bound, Grant};
use crate::{negotiate, write};

/// The shortest life a client may ask for, in seconds.
const SHORTEST_S: i64 = 600;
/// The longest life that is given, in seconds: a year.
const LONGEST_S: i64 = 365 * 24 * 3600;
const DEFAULT_S: i64 = 3600;

/// Answers a TokenRequest.
pub async fn create(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (mut review, _) = write::parse(request).await?;
    call.app.cache.catch_up().await?;
    let account = call
        .app
        .cache
        .of(&call.kind)?
        .get(call.namespace(), call.name())
        .ok_or_else(|| call.not_found())?
        .object(&call.kind, &call.version);
    let spec = &review["spec"];
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_S);
    if seconds < SHORTEST_S {
        let error = FieldError::invalid(
            "spec.expirationSeconds",
            seconds,
            "may not specify a duration less than 10 minutes",
        );
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", call.name(), &[error]));
    }
    let seconds = seconds.min(LONGEST_S);
    let audiences: Vec<String> = spec["audiences"]
        .as_array()
        .map(|list| list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    let grant = Grant {
        namespace: call.namespace().to_owned(),
        name: call.name().to_owned(),
        uid: meta::uid(&account).to_owned(),
        audiences,
        seconds,
        bound: bound(call, &spec["boundObjectRef"])?,
        now: call.context.now,
    };
    let token = call.app.tokens.sign(&grant).map_err(Status::internal)?;
    let expires = call.context.now.checked_add(SignedDuration::from_secs(seconds)).map_err(Status::internal)?;
    review["kind"] = "TokenRequest".into();
    review["apiVersion"] = "authentication.k8s.io/v1".into();
    review["metadata"] = json!({"name": call.name(), "namespace": call.namespace()});
    review["spec"]["expirationSeconds"] = seconds.into();
    review["status"] = json!({"token": token, "expirationTimestamp": write::time(expires)});
    Ok(negotiate::value(201, &review, &call.accept))
}

/// The object whose end is the token's end too.
fn bound(call: &Call, reference: &Value) -> Result<Option<Bound>, Status> {
    let name = reference["name"].as_str().unwrap_or_default();
    let (resource, namespace) = match reference["kind"].as_str() {
        None => return Ok(None),
        Some("Pod") => ("pods", call.namespace()),
        Some("Secret") => ("secrets", call.namespace()),
        Some("Node") => ("nodes", ""),
        Some(other) => {
            let why = format!("cannot bind token for serviceaccount to object of kind {other}");
            return Err(Status::bad_request(why));
        }
    };
    let cache = call.app.cache.find("", resource).ok_or_else(Status::no_such_path)?;
    let item = cache.get(namespace, name).ok_or_else(|| Status::not_found("", resource, name))?;
    let object = item.object(cache.kind(), "v1");
    let (uid, asked) = (meta::uid(&object), reference["uid"].as_str().unwrap_or_default());
    if !asked.is_empty() && asked != uid {
        let why = format!("the UID in the bound object reference ({asked}) does not match the UID in record. \
                           The object might have been deleted and then recreated");
        return Err(Status::conflict("", resource, name, &why));
    }
    let node = object["spec"]["nodeName"].as_str().filter(|_| resource == "pods").map(str::to_owned);
    Ok(Some(Bound { resource: resource.into(), name: name.into(), uid: uid.to_owned(), node }))
}
