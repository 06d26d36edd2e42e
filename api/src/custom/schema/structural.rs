//! Structural schemas, as `apiextensions-apiserver/pkg/apiserver/schema` has them: every field is described once and
//! outside of the logic of `anyOf` and its kin, which may only narrow it.

use serde_json::{Map, Value, json};

use super::{complete, narrowing, says};
use crate::status::FieldError;

/// Where a part of a schema stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What a junctor's schema may not say.
const FORBIDDEN_IN_JUNCTORS: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("default", "must be undefined to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

/// What keeps a schema from being structural.
pub(super) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, Level::Root, path, &mut errors);
    complete::check(schema, path, &mut errors);
    errors.sort_by_key(ToString::to_string);
    errors
}

fn walk(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let Some(members) = schema.as_object() else { return };
    let at = |name: &str| format!("{path}.{name}");
    let is = |name: &str| schema[name] == true;
    let r#type = schema["type"].as_str().unwrap_or_default();
    if r#type == "array" && schema["items"].is_null() {
        errors.push(FieldError::required(at("items"), "must be specified"));
    }
    walk(&schema["items"], Level::Item, &at("items"), errors);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, Level::Field, &format!("{path}.properties[{name}]"), errors);
    }
    let others = members.get("additionalProperties").filter(|others| !others.is_null());
    if let Some(others) = others {
        if level == Level::Root {
            errors.push(FieldError::forbidden(at("additionalProperties"), "must not be used at the root"));
        }
        walk(others, Level::Field, &at("additionalProperties"), errors);
        if is("x-kubernetes-embedded-resource") {
            let why = "must not be used if x-kubernetes-embedded-resource is set";
            errors.push(FieldError::forbidden(at("additionalProperties"), why));
        }
    }
    for word in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if is("x-kubernetes-int-or-string") && is(word) {
            let why = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(at(word), true, why));
        }
    }
    values(schema, is_either(&schema["anyOf"]), is_either(&schema["allOf"][0]["anyOf"]), path, errors);
    kind_of(schema, level, r#type, path, errors);
    metadata(schema, level, path, errors);
}

/// Whether the type that a level needs is there.
fn kind_of(schema: &Value, level: Level, r#type: &str, path: &str, errors: &mut Vec<FieldError>) {
    let place = format!("{path}.type");
    let is = |name: &str| schema[name] == true;
    if is("x-kubernetes-embedded-resource") && r#type != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match r#type {
            "" => FieldError::required(place.clone(), why),
            other => FieldError::invalid(place.clone(), other, why),
        });
    } else if r#type.is_empty()
        && !is("x-kubernetes-int-or-string")
        && !is("x-kubernetes-preserve-unknown-fields")
    {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(place.clone(), why));
    }
    if level == Level::Root && !r#type.is_empty() && r#type != "object" {
        errors.push(FieldError::invalid(place, r#type, "must be object at the root"));
    }
    let empty = schema["properties"].as_object().is_none_or(Map::is_empty);
    if is("x-kubernetes-embedded-resource") && !is("x-kubernetes-preserve-unknown-fields") && empty {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                   x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(format!("{path}.properties"), why));
    }
}

/// `apiVersion`, `kind` and `metadata` are what they are everywhere; a schema may only narrow names.
fn metadata(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    if level != Level::Root && schema["x-kubernetes-embedded-resource"] != true {
        return;
    }
    let properties = &schema["properties"];
    for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        let given = properties[name]["type"].as_str().unwrap_or_default();
        if properties[name].is_object() && given != wanted {
            let place = format!("{path}.properties[{name}].type");
            errors.push(FieldError::invalid(place, given, format!("must be {wanted}")));
        }
    }
    let Some(metadata) = properties["metadata"].as_object().filter(|_| level == Level::Root) else { return };
    let names = |inner: &Value| {
        inner
            .as_object()
            .is_some_and(|inner| inner.keys().all(|name| matches!(name.as_str(), "name" | "generateName")))
    };
    let more = metadata.iter().any(|(word, inner)| match word.as_str() {
        "type" | "default" => false,
        "properties" => !names(inner),
        word => says(metadata, word) && *inner != json!([]),
    });
    if more {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(format!("{path}.properties[metadata]"), why));
    }
}

/// The one form in which types stand in a junctor: an integer or a string.
fn is_either(any_of: &Value) -> bool {
    *any_of == json!([{"type": "integer"}, {"type": "string"}])
}

/// What narrows values. Types may stand in its `anyOf`, or in that of its first `allOf`, where these are [`is_either`].
fn values(schema: &Value, either: bool, first_either: bool, path: &str, errors: &mut Vec<FieldError>) {
    for (place, part) in narrowing(schema) {
        if !(either && place.starts_with("anyOf")) {
            nested(part, first_either && place == "allOf[0]", &format!("{path}.{place}"), errors);
        }
    }
    if let Some(given) = schema["pattern"].as_str()
        && let Err(error) = regex::Regex::new(given)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(format!("{path}.pattern"), given, why));
    }
}

fn nested(schema: &Value, either: bool, path: &str, errors: &mut Vec<FieldError>) {
    let Some(members) = schema.as_object() else { return };
    values(schema, either, false, path, errors);
    nested(&schema["items"], false, &format!("{path}.items"), errors);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        nested(property, false, &format!("{path}.properties[{name}]"), errors);
    }
    let empty = json!([]);
    for (word, why) in FORBIDDEN_IN_JUNCTORS {
        if says(members, word) && schema[word] != empty {
            errors.push(FieldError::forbidden(format!("{path}.{word}"), why));
        }
    }
    if !schema["properties"]["metadata"].is_null() {
        let why = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(format!("{path}.properties[metadata]"), why));
    }
}
