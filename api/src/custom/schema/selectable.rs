//! Which fields objects may be selected by. Matched to `ValidateCustomResourceSelectableFields`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::is_shared;
use crate::status::{FieldError, Problem};

/// How many there may be.
const MOST: usize = 8;

/// What is wrong with the selectable fields of a version, which stand at `path`. `unchanged`: more of them than there may
/// be were there before.
pub fn check(spec: &Value, version: usize, path: &str, unchanged: bool) -> Vec<FieldError> {
    let version = &spec["versions"][version];
    let fields = version["selectableFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    if fields.is_empty() {
        return Vec::new();
    }
    // Upstream looks for the schema where it holds the fields: both are shared, or neither is.
    let why = match (is_shared(spec, "selectableFields"), is_shared(spec, "schema")) {
        (true, false) => "may only be set when validations.schema is included",
        (false, true) => "may only be set when `version.schema.openAPIV3Schema` is not included",
        _ => "",
    };
    if !why.is_empty() {
        return vec![FieldError::invalid(path, "", why)];
    }
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let at = format!("{path}[{index}].jsonPath");
        let given = field["jsonPath"].as_str().unwrap_or_default();
        if given.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        match leads(given, &version["schema"]["openAPIV3Schema"]) {
            Err(why) => errors.push(FieldError::invalid(at, given, format!("is an invalid path: {why}"))),
            Ok(schema) => {
                if given.starts_with(".metadata") {
                    let why = "must not point to fields in metadata";
                    errors.push(FieldError::invalid(at.as_str(), given, why));
                }
                if !matches!(schema["type"].as_str(), Some("string" | "boolean" | "integer")) {
                    let why = "must point to a field of type string, boolean or integer. Enum string fields and strings \
                               with formats are allowed.";
                    errors.push(FieldError::invalid(at.as_str(), given, why));
                }
                if !seen.insert(given) {
                    errors.push(FieldError::duplicate(at, given));
                }
            }
        }
    }
    if seen.len() > MOST && !unchanged {
        let why = format!("must have at most {MOST} items");
        errors.push(FieldError::new(Problem::TooMany, path, seen.len().into(), why));
    }
    errors
}

/// The schema that a path of names leads to.
fn leads<'a>(path: &str, mut schema: &'a Value) -> Result<&'a Value, String> {
    let mut rest = path;
    while !rest.is_empty() {
        if rest.starts_with('[') {
            return Err("array notation is not allowed".into());
        }
        let Some(after) = rest.strip_prefix('.') else {
            let token = &rest[..rest.find(['.', '[', ']']).unwrap_or(rest.len())];
            return Err(format!("expected [ or . but got: {token}"));
        };
        if after.is_empty() {
            return Err("unexpected end of JSON path".into());
        }
        let end = after.find(['.', '[', ']']).unwrap_or(after.len());
        let name = &after[..end];
        schema = match (&schema["properties"], &schema["additionalProperties"]) {
            (Value::Object(properties), _) => {
                properties.get(name).ok_or("does not refer to a valid field")?
            }
            (_, others @ Value::Object(_)) => others,
            _ => return Err("does not refer to a valid field".into()),
        };
        rest = &after[end..];
    }
    Ok(schema)
}
