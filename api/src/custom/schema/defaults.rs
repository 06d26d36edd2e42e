//! Defaults are what the schema around them asks for. Matched to `schema/defaulting/validation.go`; what metadata and the
//! rules of a schema ask of a default is not looked at.

use serde_json::Value;

use crate::custom::Validator;
use crate::status::{FieldError, Problem};

/// Whether a field is part of what every object has.
fn is_meta(name: &str) -> bool {
    matches!(name, "metadata" | "apiVersion" | "kind")
}

/// What is wrong with the defaults of a schema. Below `additionalProperties` and in junctors there are none to be used.
pub(super) fn check(schema: &Value, path: &str, pruned: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, path, true, false, pruned, &mut errors);
    errors
}

/// Whether no default has fields that its schema does not know.
pub(super) fn are_pruned(schema: &Value) -> bool {
    let why = "must not have unknown fields";
    check(schema, "", true).iter().all(|error| error.detail != why)
}

fn walk(schema: &Value, path: &str, root: bool, meta: bool, pruned: bool, errors: &mut Vec<FieldError>) {
    let embedded = root || schema["x-kubernetes-embedded-resource"] == true;
    let meta = meta && !embedded;
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let at = format!("{path}.default");
        if pruned && !meta && has_unknown(schema, default, embedded) {
            errors.push(FieldError::invalid(at.as_str(), default.clone(), "must not have unknown fields"));
        }
        let absent: Vec<&str> = match default {
            Value::Object(members) if embedded => {
                ["apiVersion", "kind"].into_iter().filter(|name| !members.contains_key(*name)).collect()
            }
            _ => Vec::new(),
        };
        if absent.is_empty() {
            // Upstream does not ask whether items of a default are there twice.
            let found = Validator::new(schema).check(default, None).into_iter();
            let found = found.filter(|error| error.problem != Problem::Duplicate);
            errors.extend(found.map(|mut error| {
                error.path = if error.path.is_empty() { at.clone() } else { format!("{at}.{}", error.path) };
                error
            }));
        }
        let required = |name| FieldError::new(Problem::Required, format!("{at}.{name}"), Value::Null, "");
        errors.extend(absent.into_iter().map(required));
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}.items"), false, meta, pruned, errors);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let meta = meta || (embedded && is_meta(name));
        walk(property, &format!("{path}.properties[{name}]"), false, meta, pruned, errors);
    }
}

/// Whether a value has fields that would be pruned.
fn has_unknown(schema: &Value, value: &Value, embedded: bool) -> bool {
    let inner = |schema: &Value, value: &Value| {
        has_unknown(schema, value, schema["x-kubernetes-embedded-resource"] == true)
    };
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| {
            if let Some(property) = schema["properties"].get(name) {
                return !(embedded && name == "metadata") && inner(property, value);
            }
            match &schema["additionalProperties"] {
                others @ Value::Object(_) => inner(others, value),
                Value::Bool(true) => false,
                _ => schema["x-kubernetes-preserve-unknown-fields"] != true && !(embedded && is_meta(name)),
            }
        }),
        Value::Array(items) => items.iter().any(|item| inner(&schema["items"], item)),
        _ => false,
    }
}
