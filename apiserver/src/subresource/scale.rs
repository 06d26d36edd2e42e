//! `autoscaling/v1` Scale, as a view of any kind that has replicas.

use axum::body::Body;
use http::{Request, Response};
use serde_json::{Value, json};
use skiff_api::selector::LabelSelector;
use skiff_api::status::{FieldError, Status};
use skiff_api::{meta, patch};

use crate::app::Call;
use crate::{negotiate, write};

/// Where a kind keeps what a Scale shows; each as `.spec.replicas`.
pub struct Paths {
    /// How many are wanted.
    pub spec_replicas: String,
    /// How many there are.
    pub status_replicas: String,
    /// What selects them; empty if nothing does.
    pub selector: String,
}

/// Answers get, update and patch of a Scale.
pub async fn answer(call: &Call, paths: &Paths, request: Request<Body>) -> Result<Response<Body>, Status> {
    let object = match call.info.verb.as_str() {
        "get" => {
            call.app.cache.catch_up().await?;
            let item = call.app.cache.of(&call.kind)?.get(call.namespace(), call.name());
            item.ok_or_else(|| call.not_found())?.object(&call.kind, &call.version)
        }
        "update" => {
            let (scale, _) = write::parse(request, "Scale").await?;
            set(call, paths, |_| Ok(scale.clone())).await?
        }
        "patch" => {
            let (sort, bytes, _) = write::patch_body(call, request).await?;
            set(call, paths, |live| match sort {
                write::PatchSort::Json => patch::json(live, &bytes),
                _ => patch::merge(live, &bytes),
            })
            .await?
        }
        verb => return Err(Status::method_not_supported(&call.kind.group, &call.kind.plural, verb)),
    };
    Ok(negotiate::value(200, &view(paths, &object), &call.accept))
}

async fn set(
    call: &Call,
    paths: &Paths,
    make: impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Value, Status> {
    let mut whole = call.clone();
    whole.info.subresource.clear();
    write::change(&whole, |live| {
        let scale = make(&view(paths, live))?;
        let replicas = scale["spec"].get("replicas").unwrap_or(&Value::Null);
        let count = if replicas.is_null() { Some(0) } else { replicas.as_i64() };
        let Some(count) = count.filter(|count| (0..=i64::from(i32::MAX)).contains(count)) else {
            let error =
                FieldError::invalid("spec.replicas", replicas.clone(), "must be greater than or equal to 0");
            return Err(Status::invalid("autoscaling", "Scale", call.name(), &[error]));
        };
        let asked = meta::resource_version(&scale);
        if !asked.is_empty() && asked != meta::resource_version(live) {
            return Err(Status::modified(&call.kind.group, &call.kind.plural, call.name()));
        }
        let mut object = live.clone();
        let mut at = &mut object;
        for part in paths.spec_replicas.split('.').filter(|part| !part.is_empty()) {
            at = &mut at[part];
        }
        *at = count.into();
        Ok(object)
    })
    .await
}

fn view(paths: &Paths, object: &Value) -> Value {
    let find = |path: &str| {
        path.split('.').filter(|part| !part.is_empty()).try_fold(object, |at, part| at.get(part))
    };
    let selector = match find(&paths.selector) {
        Some(Value::String(text)) => text.clone(),
        Some(selector) => LabelSelector::from_object(selector).map(|s| s.to_string()).unwrap_or_default(),
        None => String::new(),
    };
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {},
        "status": {"replicas": find(&paths.status_replicas).and_then(Value::as_i64).unwrap_or(0)},
    });
    if let Some(replicas) = find(&paths.spec_replicas) {
        scale["spec"]["replicas"] = replicas.clone();
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}
