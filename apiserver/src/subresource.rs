//! What hangs off an object: views of it, and things one does to it.

mod connect;
mod eviction;
mod proxy;
mod scale;
mod token;

use axum::body::Body;
use http::{Request, Response};
use serde_json::{Value, json};
use skiff_api::kind::Action;
use skiff_api::meta;
use skiff_api::status::Status;

use crate::admission::{Operation, Review};
use crate::app::Call;
use crate::request::RequestInfo;
use crate::write::Owners;
use crate::{negotiate, node, read, write};

/// Answers a request for a subresource.
pub async fn answer(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let action = call.action().cloned().ok_or_else(Status::no_such_path)?;
    let verb = call.info.verb.as_str();
    match (action, verb) {
        (Action::View(_) | Action::Part(_), "get") => read::get(call).await,
        (Action::View(_) | Action::Part(_), "update") => write::update(call, request).await,
        (Action::View(_) | Action::Part(_), "patch") => write::patch(call, request).await,
        (Action::Scale { spec_replicas, status_replicas, selector }, _) => {
            let paths = scale::Paths { spec_replicas, status_replicas, selector };
            scale::answer(call, &paths, request).await
        }
        (Action::Custom, _) => custom(call, request).await,
        _ => Err(Status::method_not_supported(&call.kind.group, &call.kind.plural, verb)),
    }
}

async fn custom(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    match (call.info.subresource.as_str(), call.info.verb.as_str()) {
        ("binding", "create") => bind(call, request).await,
        ("eviction", "create") => eviction::create(call, request).await,
        ("token", "create") => token::create(call, request).await,
        ("log", "get") => node::log(call, request).await,
        ("exec" | "attach" | "portforward", "get" | "create") => {
            connect::admit(call).await?;
            node::stream(call, request).await
        }
        ("proxy", _) => {
            connect::admit(call).await?;
            proxy::answer(call, request).await
        }
        (name, _) => {
            Err(Status::not_implemented(&format!("the subresource {name} of {}", call.kind.qualified())))
        }
    }
}

/// A binding that names its pod itself, as the request for that pod's binding.
pub async fn of_binding(
    mut info: RequestInfo,
    request: Request<Body>,
) -> Result<(RequestInfo, Request<Body>), Status> {
    let (head, body) = request.into_parts();
    let bytes = write::read_all(Request::new(body)).await?;
    let again = || Request::from_parts(head.clone(), Body::from(bytes.clone()));
    let (binding, _) = write::parse(again(), "Binding").await?;
    info.resource = "pods".into();
    info.subresource = "binding".into();
    meta::name(&binding).clone_into(&mut info.name);
    Ok((info, again()))
}

/// Gives a pod its node. A pod is bound once.
async fn bind(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (mut binding, _) = write::parse(request, "Binding").await?;
    let review = Review::new(call, Operation::Create, None, &Value::Null);
    call.app.admission.admit(&review, &mut binding).await?;
    let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        // As upstream, with neither a reason nor a better code.
        return Err(Status::new(500, "", "target.name: Required value"));
    }
    let uid = meta::uid(&binding).to_owned();
    let call = &Call { admitted: true, ..call.clone() };
    let now = write::time(call.context.now);
    // As upstream, a binding is no one's: the scheduler does not come to own the node's name.
    write::change(call, Owners::Given, |pod: &Value| {
        if !uid.is_empty() && uid != meta::uid(pod) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                meta::uid(pod)
            );
            return Err(Status::conflict("", "pods/binding", call.name(), &why));
        }
        if meta::deletion_timestamp(pod).is_some() {
            let why = format!("pod {} is being deleted, cannot be assigned to a host", call.name());
            return Err(Status::conflict("", "pods/binding", call.name(), &why));
        }
        let bound = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if !bound.is_empty() {
            let why = format!("pod {} is already assigned to node {bound:?}", call.name());
            return Err(Status::conflict("", "pods/binding", call.name(), &why));
        }
        let mut pod = pod.clone();
        pod["spec"]["nodeName"] = node.as_str().into();
        // The node's zone among them.
        for field in ["annotations", "labels"] {
            for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
                pod["metadata"][field][key] = value.clone();
            }
        }
        let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
        }));
        pod["status"]["conditions"] = conditions.into();
        Ok(pod)
    })
    .await?;
    Ok(success())
}

fn success() -> Response<Body> {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    negotiate::json(201, status.to_string())
}
