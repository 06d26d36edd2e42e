//! What the schema of a version may say, as `apiextensions/validation/validation.go` and `pkg/apiserver/schema` have it:
//! it is [structural], each word of it is one that is supported ([openapi]), and its [defaults] are what it asks for.
//! Rules in the expression language are looked at elsewhere.

mod complete;
mod defaults;
mod internal;
mod openapi;
mod selectable;
mod structural;

use serde_json::{Map, Value};

use crate::status::{FieldError, Problem};

pub use internal::versions as internal_versions;
pub use selectable::check as selectable;

/// What is asked of a schema. What an older version of it did not keep is not asked of the next.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// That it is structural.
    pub structural: bool,
    /// That types are those of OpenAPI.
    pub types: bool,
    /// That defaults have no unknown fields.
    pub pruned_defaults: bool,
    /// That the items of sets are atomic.
    pub atomic_sets: bool,
    /// That items of sets and maps are not null, and the keys of maps always there.
    pub keys: bool,
}

impl Asked {
    /// All, as of a new definition.
    pub const ALL: Self =
        Self { structural: true, types: true, pruned_defaults: true, atomic_sets: true, keys: true };

    /// What these schemas keep already.
    pub fn kept_by<'a>(schemas: impl Iterator<Item = &'a Value> + Clone) -> Self {
        let all = |fine: &dyn Fn(&Value) -> bool| schemas.clone().all(fine);
        Self {
            structural: all(&|schema| is_structural(schema)),
            types: all(&|schema| openapi::types_are_known(schema)),
            pruned_defaults: all(&|schema| defaults::are_pruned(schema)),
            atomic_sets: all(&|schema| openapi::sets_are_atomic(schema)),
            keys: all(&|schema| openapi::keys_are_there(schema)),
        }
    }
}

/// Whether all versions of a definition say the same with a word. Upstream then holds it once, for all of them.
pub fn is_shared(spec: &Value, word: &str) -> bool {
    let all = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().all(|version| version[word] == all[0][word])
}

/// Where upstream holds what versions say with a word: the number of a version that says it, and the path in errors.
pub fn places(spec: &Value, word: &str) -> Vec<(usize, String)> {
    let all = spec["versions"].as_array().map_or(0, Vec::len);
    if all > 0 && is_shared(spec, word) {
        let whole = if word == "schema" { "validation" } else { word };
        return vec![(0, format!("spec.{whole}"))];
    }
    (0..all).map(|index| (index, format!("spec.versions[{index}].{word}"))).collect()
}

/// Whether a schema is structural.
pub fn is_structural(schema: &Value) -> bool {
    violation(schema, "").is_none()
}

/// The first reason why a schema that stands at `path` is not structural.
pub fn violation(schema: &Value, path: &str) -> Option<String> {
    if let Some(why) = openapi::unsupported(schema) {
        return Some(format!("{path}: Invalid value: \"\": {why}"));
    }
    structural::check(schema, path).first().map(ToString::to_string)
}

/// Every mistake of a schema that stands at `path`, but for its rules. `status`: whether the version has its status apart.
pub fn check(schema: &Value, path: &str, status: bool, asked: &Asked) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if status && let Some(why) = internal::refused_with_status(schema) {
        errors.push(match why {
            internal::Refused::Type(given) => {
                let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                FieldError::invalid(format!("{path}.type"), given, why)
            }
            internal::Refused::Word(why) => FieldError::unshown(Problem::Invalid, path, why),
        });
    }
    if schema["nullable"] == true {
        errors.push(FieldError::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    let unsupported = openapi::unsupported(schema).filter(|_| asked.structural);
    if asked.structural && unsupported.is_none() {
        let found = structural::check(schema, path);
        if found.is_empty() {
            errors.extend(defaults::check(schema, path, asked.pruned_defaults));
        }
        errors.extend(found);
    }
    errors.extend(openapi::check(schema, path, asked));
    // What cannot be read as structural is told only where nothing else tells of it.
    if let Some(why) = unsupported.filter(|_| errors.is_empty()) {
        errors.push(FieldError::invalid(path, "", why));
    }
    errors
}

/// Whether a word says something: its zero is as good as its absence.
fn says(members: &Map<String, Value>, word: &str) -> bool {
    match members.get(word) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

/// The parts of a schema that only narrow it, one by one: place, schema.
fn narrowing(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for word in ["anyOf", "allOf", "oneOf"] {
        for (index, part) in schema[word].as_array().into_iter().flatten().enumerate() {
            found.push((format!("{word}[{index}]"), part));
        }
    }
    if schema["not"].is_object() {
        found.push(("not".into(), &schema["not"]));
    }
    found
}

/// A schema and all that is in it, whatever it is there for.
fn everywhere(schema: &Value, look: &mut impl FnMut(&Value)) {
    look(schema);
    let inner = ["items", "not", "additionalProperties", "additionalItems"].map(|word| &schema[word]);
    inner.into_iter().filter(|inner| inner.is_object()).for_each(|inner| everywhere(inner, look));
    for word in ["allOf", "anyOf", "oneOf", "items"] {
        schema[word].as_array().into_iter().flatten().for_each(|inner| everywhere(inner, look));
    }
    for word in ["properties", "patternProperties", "definitions", "dependencies"] {
        let inner = schema[word].as_object().into_iter().flat_map(Map::values);
        inner.filter(|inner| inner.is_object()).for_each(|inner| everywhere(inner, look));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_that_are_not_structural_are_refused_at_their_place() {
        let said = |schema: Value| {
            check(&schema, "s", false, &Asked::ALL).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let with = |property: Value| json!({"type": "object", "properties": {"a": property}});
        assert!(said(with(json!({"type": "array", "items": {"type": "string"}}))).is_empty());
        assert!(said(with(json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}))).is_empty());
        assert!(said(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).is_empty());
        for (schema, expected) in [
            (json!({}), "s.type: Required value: must not be empty at the root"),
            (json!({"type": "string"}), "s.type: Invalid value: \"string\": must be object at the root"),
            (
                with(json!({})),
                "s.properties[a].type: Required value: must not be empty for specified object fields",
            ),
            (with(json!({"type": "array"})), "s.properties[a].items: Required value: must be specified"),
            (
                with(json!({"type": "array", "items": {}})),
                "s.properties[a].items.type: Required value: must not be empty for specified array items",
            ),
            (
                with(json!({"type": "odd"})),
                "s.properties[a].type: Unsupported value: \"odd\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
            ),
            (with(json!({"type": "string", "pattern": "("})), "s.properties[a].pattern: Invalid value"),
            (
                with(json!({"type": "string", "anyOf": [{"type": "string"}]})),
                "s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
            ),
            (
                json!({"type": "object", "anyOf": [{"properties": {"b": {"minLength": 1}}}]}),
                "s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]",
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                "s.additionalProperties: Forbidden: must not be used at the root",
            ),
            (
                json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ),
        ] {
            let errors = said(schema);
            assert!(errors.len() == 1 && errors[0].starts_with(expected), "{expected}: {errors:?}");
        }
    }
}
