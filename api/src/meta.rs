//! Reading and setting what every object has: `metadata`.

use serde_json::{Map, Value};

use crate::Object;

fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get("metadata").and_then(|meta| meta.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`, or empty.
pub fn name(object: &Object) -> &str {
    text(object, "name")
}

/// `metadata.namespace`, or empty.
pub fn namespace(object: &Object) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`, or empty.
pub fn uid(object: &Object) -> &str {
    text(object, "uid")
}

/// `metadata.resourceVersion`, or empty.
pub fn resource_version(object: &Object) -> &str {
    text(object, "resourceVersion")
}

/// `metadata.generation`, or 0.
pub fn generation(object: &Object) -> i64 {
    object.get("metadata").and_then(|meta| meta.get("generation")).and_then(Value::as_i64).unwrap_or_default()
}

/// `metadata.deletionTimestamp`, if it is set.
pub fn deletion_timestamp(object: &Object) -> Option<&str> {
    Some(text(object, "deletionTimestamp")).filter(|time| !time.is_empty())
}

/// `metadata.creationTimestamp`, if it is set.
pub fn creation_timestamp(object: &Object) -> Option<&str> {
    Some(text(object, "creationTimestamp")).filter(|time| !time.is_empty())
}

/// The pairs of a map of strings at `metadata.KEY`.
fn pairs<'a>(object: &'a Object, key: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = object.get("metadata").and_then(|meta| meta.get(key)).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// `metadata.labels`.
pub fn labels(object: &Object) -> impl Iterator<Item = (&str, &str)> {
    pairs(object, "labels")
}

/// `metadata.annotations`.
pub fn annotations(object: &Object) -> impl Iterator<Item = (&str, &str)> {
    pairs(object, "annotations")
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Object) -> Vec<&str> {
    let list = object.get("metadata").and_then(|meta| meta.get("finalizers")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Object) -> &[Value] {
    let list = object.get("metadata").and_then(|meta| meta.get("ownerReferences")).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// Sets `metadata.KEY`, or removes it when `value` is null.
pub fn set(object: &mut Object, key: &str, value: impl Into<Value>) {
    let value = value.into();
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        if value.is_null() {
            metadata.remove(key);
        } else {
            metadata.insert(key.into(), value);
        }
    }
}

/// Sets a label.
pub fn set_label(object: &mut Object, key: &str, value: &str) {
    let mut labels: Map<String, Value> =
        labels(object).map(|(key, value)| (key.to_owned(), value.into())).collect();
    labels.insert(key.into(), value.into());
    set(object, "labels", labels);
}
