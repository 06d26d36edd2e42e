//! The way from client-side apply: what kubectl's annotation says was applied is taken for owned
//! when kubectl applies on the server for the first time, and the annotation is kept in step.
//! Upstream: `managedfields/internal/lastapplied*.go`.

use serde_json::Value;

use super::check::check;
use super::compare::compare;
use super::fields::go_json;
use super::members::members;
use super::set::Set;
use crate::Object;
use crate::schema::Schema;

/// The only manager whose applies mind the annotation.
pub const MANAGER: &str = "kubectl";
/// Where client-side apply keeps what it applied.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The most that all annotations of an object may hold, in bytes.
const ANNOTATIONS_BYTES: usize = 256 << 10;

fn read(object: &Object) -> Option<&str> {
    let annotations = object.get("metadata")?.get("annotations")?;
    annotations.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

/// The fields that were applied on the client and are still as they were applied then.
pub fn applied_before(schema: &Schema, api_version: &str, live: &Object) -> Option<Set> {
    check(schema, live).ok()?;
    let last: Value = serde_json::from_str(read(live)?).ok()?;
    if last.get("apiVersion")?.as_str()? != api_version {
        return None;
    }
    check(schema, &last).ok()?;
    let change = compare(schema, &last, live);
    let set = members(schema, &last);
    Some(set.difference(&change.modified).difference(&change.added).difference(&change.removed))
}

/// Writes what is applied now into the annotation, if there is one.
pub fn keep_in_step(object: &mut Object, applied: &Object) {
    if read(object).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(metadata) = applied.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(ANNOTATION);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    let Some(annotations) = object["metadata"]["annotations"].as_object_mut() else { return };
    annotations.insert(ANNOTATION.into(), format!("{}\n", go_json(&applied)).into());
    let bytes = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if annotations.iter().map(bytes).sum::<usize>() > ANNOTATIONS_BYTES {
        annotations.remove(ANNOTATION);
    }
}
