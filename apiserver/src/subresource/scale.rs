//! `autoscaling/v1` Scale, as a view of any kind that has replicas.

use std::borrow::Cow;

use axum::body::Body;
use http::{Request, Response};
use serde_json::{Value, json};
use skiff_api::ownership::{Element, Replicas, Reset, Tracker, Versions};
use skiff_api::schema::Schema;
use skiff_api::selector::LabelSelector;
use skiff_api::status::{FieldError, Status};
use skiff_api::{meta, patch, walk};

use crate::admission::{Operation, Review};
use crate::app::Call;
use crate::write::Owners;
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
            let (sort, bytes, validation) = write::patch_body(call, request).await?;
            match sort {
                write::PatchSort::Json => set(call, paths, |live| patch::json(live, &bytes)).await?,
                write::PatchSort::Apply => {
                    let configuration = write::read_configuration(call, &bytes, validation)?;
                    let (applied, force) = (configuration.object(), configuration.force());
                    apply(call, paths, |tracker, live| tracker.apply(live, applied, &call.manager, force))
                        .await?
                }
                _ => set(call, paths, |live| patch::merge(live, &bytes)).await?,
            }
        }
        verb => return Err(Status::method_not_supported(&call.kind.group, &call.kind.plural, verb)),
    };
    Ok(negotiate::value(200, &view(paths, &object), &call.accept))
}

/// A Scale has one version.
struct OneVersion(Schema);

const SCALE: &str = "autoscaling/v1";

impl Versions for OneVersion {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        (api_version == SCALE).then_some(&self.0)
    }

    fn convert<'a>(&self, object: &'a Value, api_version: &str) -> Option<Cow<'a, Value>> {
        (api_version == SCALE).then_some(Cow::Borrowed(object))
    }
}

/// Writes the Scale that `make` makes of the live one.
async fn set(
    call: &Call,
    paths: &Paths,
    make: impl Fn(&Value) -> Result<Value, Status> + Sync,
) -> Result<Value, Status> {
    apply(call, paths, |tracker, live| {
        let mut scale = make(live)?;
        if let Some(schema) = tracker.versions.schema(SCALE) {
            walk::normalise(schema, &mut scale);
        }
        tracker.update(live, &mut scale, &call.manager, false);
        Ok(scale)
    })
    .await
}

/// Writes what `make` makes of the live Scale, its managers included, into the object.
async fn apply(
    call: &Call,
    paths: &Paths,
    make: impl Fn(&Tracker<'_>, &Value) -> Result<Value, Status> + Sync,
) -> Result<Value, Status> {
    let schema =
        skiff_api::schema::definition("io.k8s.api.autoscaling.v1.Scale").cloned().unwrap_or_default();
    let mut whole = call.clone();
    whole.info.subresource.clear();
    // What is reviewed is the Scale, not the object that it shows a part of.
    whole.admitted = true;
    write::change(&whole, Owners::Given, Scaling { call, paths, versions: OneVersion(schema), make }).await
}

/// An object with the Scale that `make` makes of the one it has.
struct Scaling<'a, F> {
    call: &'a Call,
    paths: &'a Paths,
    versions: OneVersion,
    make: F,
}

#[async_trait::async_trait]
impl<F: Fn(&Tracker<'_>, &Value) -> Result<Value, Status> + Sync> write::Make for Scaling<'_, F> {
    async fn make(&self, live: &Value) -> Result<Value, Status> {
        let Self { call, paths, versions, make } = self;
        let now = write::time(call.context.now);
        let path: Vec<Element> = steps(&paths.spec_replicas).map(Element::field).collect();
        let known =
            |version: &str| call.kind.versions.iter().any(|own| call.kind.api_version(&own.name) == version);
        let unreadable = |why: String| Status::new(500, "", why);
        let owners = live["metadata"].get("managedFields").unwrap_or(&Value::Null);
        let (old, mut scale) = {
            let replicas = Replicas { path: &path, known: &known };
            let tracker = Tracker {
                versions,
                api_version: SCALE,
                kind: "Scale",
                subresource: "scale",
                reset: &Reset::NOTHING,
                now: &now,
            };
            let mut old = view(paths, live);
            walk::normalise(&versions.0, &mut old);
            old["metadata"]["managedFields"] = replicas.to_scale(owners).map_err(unreadable)?;
            let scale = make(&tracker, &old)?;
            (old, scale)
        };
        let review = Review::new(call, Operation::Update, Some(&old), &Value::Null);
        call.app.admission.mutate(&review, &mut scale).await?;
        let count = count(call, &scale)?;
        let asked = meta::resource_version(&scale);
        if !asked.is_empty() && asked != meta::resource_version(live) {
            return Err(Status::modified(&call.kind.group, &call.kind.plural, call.name()));
        }
        call.app.admission.validate(&review, &scale).await?;
        let now_owners = scale["metadata"].get("managedFields").unwrap_or(&Value::Null);
        let api_version = call.kind.api_version(&call.version);
        let replicas = Replicas { path: &path, known: &known };
        let now_owners = replicas.to_parent(owners, now_owners, &api_version).map_err(unreadable)?;
        let mut object = live.clone();
        let mut at = &mut object;
        for part in steps(&paths.spec_replicas) {
            at = &mut at[part];
        }
        *at = count.into();
        meta::set(&mut object, "managedFields", now_owners);
        Ok(object)
    }
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|part| !part.is_empty())
}

/// How many a Scale asks for.
fn count(call: &Call, scale: &Value) -> Result<i64, Status> {
    let replicas = scale["spec"].get("replicas").unwrap_or(&Value::Null);
    let count = if replicas.is_null() { Some(0) } else { replicas.as_i64() };
    count.filter(|count| (0..=i64::from(i32::MAX)).contains(count)).ok_or_else(|| {
        let error =
            FieldError::invalid("spec.replicas", replicas.clone(), "must be greater than or equal to 0");
        Status::invalid("autoscaling", "Scale", call.name(), &[error])
    })
}

fn view(paths: &Paths, object: &Value) -> Value {
    let find = |path: &str| steps(path).try_fold(object, |at, part| at.get(part));
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
    // As upstream, none are not shown.
    if let Some(replicas) = find(&paths.spec_replicas).filter(|replicas| replicas.as_i64() != Some(0)) {
        scale["spec"]["replicas"] = replicas.clone();
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}
