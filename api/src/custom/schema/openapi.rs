//! What each word of a schema may say, wherever it stands. Matched to `ValidateCustomResourceDefinitionOpenAPISchema`.

use serde_json::{Map, Value};

use super::{Asked, everywhere, narrowing, says};
use crate::status::{FieldError, Problem};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// The words of JSON Schema that have no place here, and whether an empty one is as good as none.
const NOT_SUPPORTED: [(&str, bool); 6] = [
    ("id", true),
    ("additionalItems", false),
    ("patternProperties", true),
    ("definitions", true),
    ("dependencies", false),
    ("$ref", false),
];

/// Where a part of a schema stands, as far as that counts.
#[derive(Clone, Copy)]
struct Place<'a> {
    root: bool,
    /// Why there may be no defaults.
    no_defaults: Option<&'a str>,
    /// Whether it is within what every object has: its version, kind or metadata.
    meta: bool,
    asked: &'a Asked,
}

/// Every word that may not be there, or not say what it says.
pub(super) fn check(schema: &Value, path: &str, asked: &Asked) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, path, Place { root: true, no_defaults: None, meta: false, asked }, &mut errors);
    errors
}

/// Why a schema cannot be read as a structural one at all, as upstream's converter says it.
pub(super) fn unsupported(schema: &Value) -> Option<String> {
    let mut found = None;
    everywhere(schema, &mut |part| {
        let Some(members) = part.as_object() else { return };
        let empty = |word: &str| match &members[word] {
            Value::Object(inner) => inner.is_empty(),
            _ => false,
        };
        for word in ["id", "$schema", "$ref", "patternProperties", "dependencies", "definitions"] {
            if says(members, word) && !empty(word) {
                let named = word.trim_start_matches(if word == "$schema" { "$" } else { "" });
                found.get_or_insert(format!("OpenAPIV3Schema '{named}' is not supported"));
            }
        }
        if members.get("additionalItems").is_some_and(|items| !items.is_null()) {
            found.get_or_insert("OpenAPIV3Schema 'additionalItems' is not supported".into());
        }
        if members.get("items").is_some_and(Value::is_array) {
            found.get_or_insert("OpenAPIV3Schema 'items' must be a schema, but is an array".into());
        }
        if members.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let why = "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
            found.get_or_insert(why.into());
        }
    });
    found
}

/// Whether all types are those of OpenAPI.
pub(super) fn types_are_known(schema: &Value) -> bool {
    holds(schema, |part| matches!(text(part, "type"), "") || TYPES.contains(&text(part, "type")))
}

/// Whether the items of all sets are atomic.
pub(super) fn sets_are_atomic(schema: &Value) -> bool {
    holds(schema, |part| part["x-kubernetes-list-type"] != "set" || set_item(part, "").is_none())
}

/// Whether the keys of all maps are always there, and no item of a set or map is null.
pub(super) fn keys_are_there(schema: &Value) -> bool {
    holds(schema, |part| {
        let mut errors = Vec::new();
        keys(part, "", &mut errors);
        errors.is_empty()
    })
}

fn holds(schema: &Value, fine: impl Fn(&Value) -> bool) -> bool {
    let mut all = true;
    everywhere(schema, &mut |part| all &= fine(part));
    all
}

fn text<'a>(schema: &'a Value, word: &str) -> &'a str {
    schema[word].as_str().unwrap_or_default()
}

fn walk(schema: &Value, path: &str, place: Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(members) = schema.as_object() else { return };
    let at = |name: &str| format!("{path}.{name}");
    words(schema, members, path, place, errors);
    if schema["uniqueItems"] == true {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(at("uniqueItems"), why));
    }
    let properties = schema["properties"].as_object();
    let others = &schema["additionalProperties"];
    if (others.is_object() || *others == false) && properties.is_some_and(|properties| !properties.is_empty())
    {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(at("additionalProperties"), why));
    }
    let within = Place { root: false, ..place };
    let of_meta = "inside additionalProperties applying to object metadata";
    let below = if place.meta { Place { no_defaults: Some(of_meta), ..within } } else { within };
    walk(others, &at("additionalProperties"), below, errors);
    for (name, property) in properties.into_iter().flatten() {
        let whole = place.root || schema["x-kubernetes-embedded-resource"] == true;
        let meta = whole && matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
        let top = format!("in top-level {name}");
        let no_defaults = if meta && place.root { Some(top.as_str()) } else { place.no_defaults };
        let below = Place { meta: place.meta || meta, no_defaults, ..within };
        walk(property, &format!("{path}.properties[{name}]"), below, errors);
    }
    for (inner, part) in narrowing(schema) {
        walk(part, &at(&inner), within, errors);
    }
    for (name, inner) in ["definitions", "dependencies"].iter().flat_map(|word| {
        schema[*word]
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(name, inner)| (format!("{word}[{name}]"), inner))
    }) {
        walk(inner, &at(&name), within, errors);
    }
    match &schema["items"] {
        Value::Array(all) => {
            for (index, item) in all.iter().enumerate() {
                walk(item, &format!("{path}.items[{index}]"), within, errors);
            }
        }
        item => walk(item, &at("items"), within, errors),
    }
    extensions(schema, path, place.asked, errors);
    if place.asked.keys {
        keys(schema, path, errors);
    }
}

/// The words of OpenAPI itself.
fn words(
    schema: &Value,
    members: &Map<String, Value>,
    path: &str,
    place: Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let at = |name: &str| format!("{path}.{name}");
    let given = text(schema, "type");
    if place.asked.types && !given.is_empty() && !TYPES.contains(&given) {
        errors.push(FieldError::not_supported(at("type"), given, &TYPES));
    }
    if let Some(why) = place.no_defaults.filter(|_| !schema["default"].is_null()) {
        errors.push(FieldError::forbidden(at("default"), format!("must not be set {why}")));
    }
    for (word, or_empty) in NOT_SUPPORTED {
        let empty = match &schema[word] {
            Value::Object(inner) => inner.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if members.get(word).is_some_and(|given| !given.is_null()) && !(or_empty && empty) {
            errors.push(FieldError::forbidden(at(word), format!("{word} is not supported")));
        }
    }
    if given == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(at("type"), why));
    }
    if schema["items"].as_array().is_some_and(|all| !all.is_empty()) {
        errors.push(FieldError::forbidden(at("items"), "items must be a schema object and not an array"));
    }
    if place.meta && schema["x-kubernetes-embedded-resource"] == true {
        let why = "must not be used inside of resource meta";
        errors.push(FieldError::forbidden(at("x-kubernetes-embedded-resource"), why));
    }
}

/// A word that asks for a type.
fn needs(schema: &Value, wanted: &str, word: &str, path: &str, errors: &mut Vec<FieldError>) -> bool {
    let given = text(schema, "type");
    let why = format!("must be {wanted} if {word} is specified");
    match given {
        "" => errors.push(FieldError::required(format!("{path}.type"), why)),
        given if given != wanted => errors.push(FieldError::invalid(format!("{path}.type"), given, why)),
        _ => return true,
    }
    false
}

/// The words that Kubernetes adds.
fn extensions(schema: &Value, path: &str, asked: &Asked, errors: &mut Vec<FieldError>) {
    let at = |name: &str| format!("{path}.{name}");
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let why = "must be true or undefined";
        errors.push(FieldError::invalid(at("x-kubernetes-preserve-unknown-fields"), false, why));
    }
    if let Some(kind) = schema["x-kubernetes-map-type"].as_str() {
        needs(schema, "object", "x-kubernetes-map-type", path, errors);
        if !matches!(kind, "atomic" | "granular") {
            errors.push(FieldError::not_supported(
                at("x-kubernetes-map-type"),
                kind,
                &["atomic", "granular"],
            ));
        }
    }
    let kind = schema["x-kubernetes-list-type"].as_str();
    if let Some(kind) = kind {
        let array = needs(schema, "array", "x-kubernetes-list-type", path, errors);
        if array && asked.atomic_sets && kind == "set" {
            errors.extend(set_item(schema, path));
        }
        if !matches!(kind, "atomic" | "set" | "map") {
            // In upstream's order, which is not that of the alphabet.
            let why = "supported values: \"atomic\", \"set\", \"map\"";
            let place = at("x-kubernetes-list-type");
            errors.push(FieldError::new(Problem::NotSupported, place, kind.into(), why));
        }
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array().filter(|keys| !keys.is_empty());
    let why = "must be map if x-kubernetes-list-map-keys is non-empty";
    match kind {
        None if keys.is_some() => errors.push(FieldError::required(at("x-kubernetes-list-type"), why)),
        Some(kind) if keys.is_some() && kind != "map" => {
            errors.push(FieldError::invalid(at("x-kubernetes-list-type"), kind, why));
        }
        Some("map") => map_of(schema, path, errors),
        _ => {}
    }
}

/// What is wrong with the items of a set.
fn set_item(schema: &Value, path: &str) -> Option<FieldError> {
    let items = &schema["items"];
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    // Upstream shows the list type in either case.
    let bad = items["x-kubernetes-list-type"].clone();
    let word = match text(items, "type") {
        "array" if !matches!(items["x-kubernetes-list-type"].as_str(), None | Some("atomic")) => {
            "x-kubernetes-list-type"
        }
        "object" if items["x-kubernetes-map-type"] != "atomic" => "x-kubernetes-map-type",
        _ => return None,
    };
    Some(FieldError::invalid(format!("{path}.items.{word}"), bad, why))
}

/// What a list that is a map needs of its keys and items.
fn map_of(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let at = |name: &str| format!("{path}.{name}");
    let all = &schema["x-kubernetes-list-map-keys"];
    let keys: Vec<&str> = all.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(at("x-kubernetes-list-map-keys"), why));
    }
    let items = &schema["items"];
    if items.is_null() {
        let why = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(at("items"), why));
    }
    if !items.is_object() {
        return;
    }
    if text(items, "type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(at("items.type"), text(items, "type"), why));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        match items["properties"].get(*key) {
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                // Upstream shows the type of the item, not of the key.
                let place = format!("{path}.items.properties[{key}].type");
                errors.push(FieldError::invalid(place, text(items, "type"), why));
            }
            Some(_) => {}
            None => {
                let why = "entries must all be names of item properties";
                errors.push(FieldError::invalid(at("x-kubernetes-list-map-keys"), all.clone(), why));
            }
        }
        if keys[..index].contains(key) {
            let why = "must not contain duplicate entries";
            errors.push(FieldError::invalid(at("x-kubernetes-list-map-keys"), all.clone(), why));
        }
    }
}

/// Items of sets and maps are not null, and keys of maps are always there.
fn keys(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let items = &schema["items"];
    let Some(kind @ ("set" | "map")) =
        schema["x-kubernetes-list-type"].as_str().filter(|_| items.is_object())
    else {
        return;
    };
    if items["nullable"] == true {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(FieldError::forbidden(format!("{path}.items.nullable"), why));
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array().filter(|_| kind == "map");
    for key in keys.into_iter().flatten().filter_map(Value::as_str) {
        let Some(property) = items["properties"].get(key) else { continue };
        let at = |name: &str| format!("{path}.items.properties[{key}].{name}");
        let required = items["required"].as_array().into_iter().flatten().any(|name| name == key);
        if !required && property["default"].is_null() {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(at("default"), why));
        }
        if property["nullable"] == true {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(at("nullable"), why));
        }
    }
}
