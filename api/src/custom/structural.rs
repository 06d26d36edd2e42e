//! What the schema of a custom kind may look like: structural, as `apiextensions-apiserver/pkg/apiserver/schema` has it.
//! Every field is described once and outside of the logic of `anyOf` and its kin, which may only narrow it.

use serde_json::{Map, Value};

use crate::status::FieldError;

/// Where a part of a schema stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What a junctor's schema may not say.
const FORBIDDEN_IN_JUNCTORS: [(&str, &str); 10] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("default", "must be undefined to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
];
/// The words of JSON Schema that have no place in a structural one.
const NOT_SUPPORTED: [(&str, &str); 8] = [
    ("$ref", "$ref is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("id", "id is not supported"),
    ("$schema", "$schema is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("deprecated", "deprecated is not supported"),
];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What keeps a schema from being structural.
pub fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, Level::Root, path, &mut errors);
    complete(schema, schema, path, &mut errors);
    errors.sort_by_key(ToString::to_string);
    errors
}

fn walk(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let Some(members) = schema.as_object() else { return };
    let at = |name: &str| format!("{path}.{name}");
    let is = |name: &str| schema[name] == true;
    let r#type = schema["type"].as_str().unwrap_or_default();
    for (word, why) in NOT_SUPPORTED.iter().filter(|(word, _)| set(members, word)) {
        errors.push(FieldError::forbidden(at(word.trim_start_matches('$')), *why));
    }
    if !r#type.is_empty() && !TYPES.contains(&r#type) {
        errors.push(FieldError::not_supported(at("type"), r#type, &TYPES));
    }
    match &schema["items"] {
        Value::Null if r#type == "array" => {
            errors.push(FieldError::required(at("items"), "must be specified"))
        }
        Value::Array(_) => {
            errors.push(FieldError::forbidden(at("items"), "items must be a schema object and not an array"))
        }
        items => walk(items, Level::Item, &at("items"), errors),
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, Level::Field, &format!("{path}.properties[{name}]"), errors);
    }
    if set(members, "additionalProperties") {
        if level == Level::Root {
            errors.push(FieldError::forbidden(at("additionalProperties"), "must not be used at the root"));
        }
        if schema["properties"].as_object().is_some_and(|properties| !properties.is_empty()) {
            let why = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(at("additionalProperties"), why));
        }
        walk(&schema["additionalProperties"], Level::Field, &at("additionalProperties"), errors);
    }
    if is("uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(at("uniqueItems"), why));
    }
    extensions(schema, path, errors);
    let either = serde_json::json!([{"type": "integer"}, {"type": "string"}]);
    junctors(schema, path, &either, errors);
    kind_of(schema, level, r#type, path, errors);
    metadata(schema, level, path, errors);
    lists(schema, r#type, path, errors);
}

/// `x-kubernetes-…` words that exclude each other.
fn extensions(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for word in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if schema["x-kubernetes-int-or-string"] == true && schema[word] == true {
            let why = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(format!("{path}.{word}"), true, why));
        }
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let why = "must be true or undefined";
        errors.push(FieldError::invalid(format!("{path}.x-kubernetes-preserve-unknown-fields"), false, why));
    }
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
    let inside = properties["metadata"]["properties"].as_object().into_iter().flatten();
    let more = inside.filter(|(name, _)| !matches!(name.as_str(), "name" | "generateName")).count();
    if level == Level::Root && more > 0 {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(format!("{path}.properties[metadata]"), why));
    }
}

/// What lists of sets and maps need of their items.
fn lists(schema: &Value, r#type: &str, path: &str, errors: &mut Vec<FieldError>) {
    let list_type = schema["x-kubernetes-list-type"].as_str();
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let at = |name: &str| format!("{path}.{name}");
    match list_type {
        None if !keys.is_empty() => {
            errors.push(FieldError::required(
                at("x-kubernetes-list-type"),
                "must be map if x-kubernetes-list-map-keys is non-empty",
            ));
        }
        None => {}
        Some("atomic" | "set" | "map") if r#type != "array" => {
            let why = "must be array if x-kubernetes-list-type is specified";
            errors.push(match r#type {
                "" => FieldError::required(at("type"), why),
                other => FieldError::invalid(at("type"), other, why),
            });
        }
        Some("map") => {
            if keys.is_empty() {
                errors.push(FieldError::required(
                    at("x-kubernetes-list-map-keys"),
                    "must not be empty if x-kubernetes-list-type is map",
                ));
            }
            for (index, key) in keys.iter().enumerate() {
                let property = &schema["items"]["properties"][*key];
                let place = format!("{path}.x-kubernetes-list-map-keys[{index}]");
                if !property.is_object() {
                    errors.push(FieldError::invalid(
                        place,
                        *key,
                        "entries must all be names of item properties",
                    ));
                    continue;
                }
                if !matches!(property["type"].as_str(), Some("string" | "integer" | "number" | "boolean")) {
                    let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    let place = format!("{path}.items.properties[{key}].type");
                    errors.push(FieldError::invalid(
                        place,
                        property["type"].as_str().unwrap_or_default(),
                        why,
                    ));
                }
                let required = schema["items"]["required"].as_array();
                let required = required.into_iter().flatten().any(|name| name == key);
                if !required && property["default"].is_null() {
                    let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    errors.push(FieldError::required(format!("{path}.items.properties[{key}].default"), why));
                }
            }
        }
        Some("atomic" | "set") => {}
        Some(other) => {
            errors.push(FieldError::not_supported(
                at("x-kubernetes-list-type"),
                other,
                &["atomic", "map", "set"],
            ));
        }
    }
    if let Some(other) =
        schema["x-kubernetes-map-type"].as_str().filter(|name| !matches!(*name, "atomic" | "granular"))
    {
        errors.push(FieldError::not_supported(at("x-kubernetes-map-type"), other, &["atomic", "granular"]));
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

fn junctors(schema: &Value, path: &str, either: &Value, errors: &mut Vec<FieldError>) {
    if let Some(pattern) = schema["pattern"].as_str()
        && let Err(error) = regex::Regex::new(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(format!("{path}.pattern"), pattern, why));
    }
    for (place, part) in narrowing(schema) {
        // The one form in which types stand in a junctor: an integer or a string.
        if place.starts_with("anyOf") && &schema["anyOf"] == either {
            continue;
        }
        nested(part, &format!("{path}.{place}"), either, errors);
    }
}

fn nested(schema: &Value, path: &str, either: &Value, errors: &mut Vec<FieldError>) {
    let Some(members) = schema.as_object() else { return };
    for (word, why) in FORBIDDEN_IN_JUNCTORS.iter().filter(|(word, _)| set(members, word)) {
        errors.push(FieldError::forbidden(format!("{path}.{word}"), *why));
    }
    junctors(schema, path, either, errors);
    nested(&schema["items"], &format!("{path}.items"), either, errors);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        nested(property, &format!("{path}.properties[{name}]"), either, errors);
    }
}

/// Every field that a junctor narrows is described outside of it.
fn complete(schema: &Value, outside: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (place, part) in narrowing(schema) {
        covered(part, outside, &format!("{path}.{place}"), path, errors);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        complete(property, property, &format!("{path}.properties[{name}]"), errors);
    }
    for word in ["items", "additionalProperties"] {
        if schema[word].is_object() {
            complete(&schema[word], &schema[word], &format!("{path}.{word}"), errors);
        }
    }
}

fn covered(part: &Value, outside: &Value, path: &str, place: &str, errors: &mut Vec<FieldError>) {
    let known = &outside["properties"];
    for (name, property) in part["properties"].as_object().into_iter().flatten() {
        let implied = matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        match (known.get(name), outside["additionalProperties"].is_object()) {
            (Some(inner), _) => {
                let deeper = format!("{place}.properties[{name}]");
                covered(property, inner, &format!("{path}.properties[{name}]"), &deeper, errors);
            }
            (None, true) => {}
            (None, false) if implied => {}
            (None, false) => {
                let why = format!("because it is defined in {path}.properties[{name}]");
                errors.push(FieldError::required(format!("{place}.properties[{name}]"), why));
            }
        }
    }
    if part["items"].is_object() {
        if outside["items"].is_object() {
            covered(
                &part["items"],
                &outside["items"],
                &format!("{path}.items"),
                &format!("{place}.items"),
                errors,
            );
        } else {
            let why = format!("because it is defined in {path}.items");
            errors.push(FieldError::required(format!("{place}.items"), why));
        }
    }
    for (inner, part) in narrowing(part) {
        covered(part, outside, &format!("{path}.{inner}"), place, errors);
    }
}

/// Whether a word says something.
fn set(members: &Map<String, Value>, word: &str) -> bool {
    match members.get(word) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_that_are_not_structural_are_refused_at_their_place() {
        let said = |schema: Value| check(&schema, "s").iter().map(ToString::to_string).collect::<Vec<_>>();
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
                with(json!({"type": "object", "anyOf": [{"properties": {"b": {"minLength": 1}}}]})),
                "s.properties[a].properties[b]: Required value: because it is defined in s.properties[a].anyOf[0].properties[b]",
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
