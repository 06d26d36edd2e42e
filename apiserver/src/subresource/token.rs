//! Tokens for service accounts.

use axum::body::Body;
use http::{Request, Response};
use serde_json::Value;
use skiff_api::status::Status;

use crate::admission::{Operation, Review};
use crate::app::Call;
use crate::security::{node, token_request};
use crate::{lookup, negotiate, write};

/// Answers a TokenRequest.
pub async fn create(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (mut request, _) = write::parse(request, "TokenRequest").await?;
    let review = Review::new(call, Operation::Create, None, &Value::Null);
    call.app.admission.admit(&review, &mut request).await?;
    call.app.cache.catch_up().await?;
    let objects = lookup::Objects(call.app.cache.clone());
    let pod = request["spec"]["boundObjectRef"]["name"].as_str().and_then(|name| {
        use crate::security::Objects;
        objects.get("pods", call.namespace(), name)
    });
    node::may_request_token(&call.context.user, &request, pod.as_deref())
        .map_err(|why| Status::forbidden("", "serviceaccounts", call.name(), &why))?;
    let now_s = call.context.now.as_second();
    let account = (call.namespace(), call.name());
    let warn = &mut |why| call.context.warn(why);
    let tokens = &call.app.authenticator.accounts;
    let answer = token_request::answer(&request, account, tokens, &objects, now_s, warn)?;
    Ok(negotiate::value(201, &answer, &call.accept))
}
