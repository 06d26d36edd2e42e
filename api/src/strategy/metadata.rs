//! The rules of `metadata`, the same for every kind.

use serde_json::Value;

use super::{list, text};
use crate::kind::Kind;
use crate::status::{FieldError, Problem};
use crate::{Object, meta, name};

/// The most that annotations may hold, keys and values together, in bytes.
const ANNOTATIONS: usize = 256 * 1024;

/// Finalizers that need no domain.
const FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// What is wrong with an object's metadata.
pub fn check_metadata(kind: &Kind, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let metadata = &new["metadata"];
    for (field, prefix) in [("generateName", true), ("name", false)] {
        let given = text(metadata, field);
        if !given.is_empty() {
            for why in name::by_rule(&kind.name_rule, given, prefix) {
                errors.push(FieldError::invalid(format!("metadata.{field}"), given, why));
            }
        }
    }
    if meta::name(new).is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    }
    let namespace = meta::namespace(new);
    if kind.namespaced && namespace.is_empty() {
        errors.push(FieldError::required("metadata.namespace", ""));
    } else if kind.namespaced {
        for why in name::dns1123_label(namespace) {
            errors.push(FieldError::invalid("metadata.namespace", namespace, why));
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
    }
    errors.extend(labels(metadata, "metadata.labels"));
    errors.extend(annotations(metadata));
    for finalizer in meta::finalizers(new) {
        for why in name::qualified(finalizer) {
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, why));
        }
    }
    // A user's kind may name its finalizers as it likes, and so do the kinds that extend the API.
    let free = matches!(kind.group.as_str(), "apiextensions.k8s.io" | "apiregistration.k8s.io");
    if kind.stored().validator.is_none() && !free {
        for (index, finalizer) in meta::finalizers(new).iter().enumerate() {
            if !finalizer.contains('/') && !FINALIZERS.contains(finalizer) {
                let path = format!("metadata.finalizers[{index}]");
                let why = "name is neither a standard finalizer name nor is it fully qualified";
                errors.push(FieldError::invalid(path, *finalizer, why));
            }
        }
    }
    errors.extend(owners(metadata));
    if let Some(old) = old {
        for field in ["name", "namespace", "uid", "creationTimestamp"] {
            let (before, now) = (text(&old["metadata"], field), text(metadata, field));
            if before != now {
                errors.push(FieldError::invalid(format!("metadata.{field}"), now, super::IMMUTABLE));
            }
        }
    }
    errors
}

/// What is wrong with a map of labels.
pub fn labels(metadata: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        for why in name::qualified(key) {
            errors.push(FieldError::invalid(path, key.as_str(), why));
        }
        for why in name::label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(path, value.clone(), why));
        }
    }
    errors
}

fn annotations(metadata: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut total = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        for why in name::qualified(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", key.as_str(), why));
        }
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > ANNOTATIONS {
        let detail = format!("may not be more than {ANNOTATIONS} bytes");
        errors.push(FieldError::new(Problem::TooLong, "metadata.annotations", Value::Null, detail));
    }
    errors
}

fn owners(metadata: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controllers = Vec::new();
    for owner in list(metadata, "ownerReferences") {
        // As upstream, which of them it is is not told.
        let path = "metadata.ownerReferences";
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(owner, field).is_empty() {
                errors.push(FieldError::invalid(format!("{path}.{field}"), "", why));
            }
        }
        if owner["controller"] == true {
            controllers.push(format!("{}/{}", text(owner, "kind"), text(owner, "name")));
        }
    }
    if let [first, second, ..] = &controllers[..] {
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            metadata["ownerReferences"].clone(),
            format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
            ),
        ));
    }
    errors
}
