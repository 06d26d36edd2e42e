//! CustomResourceDefinitions: their names, versions and schemas, as upstream's
//! `apiextensions/validation/validation.go` checks them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Strategy, list, text, webhook};
use crate::Object;
use crate::custom::approval::{self, Approval};
use crate::custom::{names, schema};
use crate::name;
use crate::status::{FieldError, Problem};

/// The strategy.
pub struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn prepare(&self, new: &mut Object, old: Option<&Object>) {
        let kind = text(&new["spec"]["names"], "kind").to_owned();
        let spec_names = &mut new["spec"]["names"];
        for (key, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
            if text(spec_names, key).is_empty() && !kind.is_empty() {
                spec_names[key] = value.into();
            }
        }
        if new["spec"]["conversion"].is_null() {
            new["spec"]["conversion"] = json!({"strategy": "None"});
        }
        if old.is_none() {
            new["status"] = json!({});
        }
        let storage = list(&new["spec"], "versions").iter().find(|version| version["storage"] == true);
        let storage = storage.map(|version| version["name"].clone());
        let status = &mut new["status"];
        if !status["storedVersions"].is_array() {
            status["storedVersions"] = json!([]);
        }
        if let (Some(storage), Some(stored)) = (storage, status["storedVersions"].as_array_mut())
            && !stored.contains(&storage)
        {
            stored.push(storage);
        }
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = group(spec);
        let wanted = format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group"));
        if crate::meta::name(new) != wanted {
            let why = "must be spec.names.plural+\".\"+spec.group";
            errors.push(FieldError::invalid("metadata.name", crate::meta::name(new), why));
        }
        errors.extend(spec_names(&spec["names"]));
        errors.extend(versions(spec, old));
        errors.extend(stored(new));
        if spec["preserveUnknownFields"] == true {
            let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
            errors.push(FieldError::invalid("spec.preserveUnknownFields", true, why));
        }
        errors.extend(approval(new, old));
        conversion(&spec["conversion"], old, &mut errors);
        if let Some(old) = old.filter(|old| names::is_true(old, "Established")) {
            errors.extend(fixed(new, old));
        }
        errors
    }
}

/// How versions are converted, in the words of the older form of definitions, as upstream says it.
fn conversion(conversion: &Value, old: Option<&Object>, errors: &mut Vec<FieldError>) {
    let client = &conversion["webhook"]["clientConfig"];
    let reviews = list(&conversion["webhook"], "conversionReviewVersions");
    let (at, reviews_at) =
        ("spec.conversion.webhookClientConfig", "spec.conversion.conversionReviewVersions");
    match text(conversion, "strategy") {
        "Webhook" => {
            if client.is_object() {
                webhook::client_config(client, at, errors);
            } else {
                errors.push(FieldError::required(at, "required when strategy is set to Webhook"));
            }
            let before =
                old.map(|old| list(&old["spec"]["conversion"]["webhook"], "conversionReviewVersions"));
            let strict = before.is_none_or(webhook::reads_known);
            if reviews.is_empty() {
                errors.push(FieldError::required(reviews_at, ""));
                return;
            }
            let holder = &conversion["webhook"];
            webhook::review_versions(holder, "conversionReviewVersions", reviews_at, strict, errors);
        }
        "None" => {
            let why = "should not be set when strategy is not set to Webhook";
            if client.is_object() {
                errors.push(FieldError::forbidden(at, why));
            }
            if !reviews.is_empty() {
                errors.push(FieldError::forbidden(reviews_at, why));
            }
        }
        "" => errors.push(FieldError::required("spec.conversion.strategy", "")),
        other => {
            errors.push(FieldError::not_supported("spec.conversion.strategy", other, &["None", "Webhook"]))
        }
    }
}

/// What cannot change once it is served.
fn fixed(new: &Object, old: &Object) -> Vec<FieldError> {
    let paths = ["spec.group", "spec.scope", "spec.names.plural", "spec.names.kind"];
    let value = |object: &Object, path: &str| {
        object.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or_default()
    };
    let changed = paths.into_iter().filter(|path| value(new, path) != value(old, path));
    changed.map(|path| FieldError::invalid(path, value(new, path), super::IMMUTABLE)).collect()
}

/// Groups of the Kubernetes project need a word of who approved them; what has none may stay so.
fn approval(new: &Object, old: Option<&Object>) -> Option<FieldError> {
    let (given, why) = approval::of(new);
    let unchanged = old.is_some_and(|old| approval::of(old).0 == given);
    if !approval::is_protected(text(&new["spec"], "group")) || unchanged {
        return None;
    }
    let at = format!("metadata.annotations[{}]", approval::ANNOTATION);
    match given {
        Approval::Missing => Some(FieldError::required(at, why)),
        Approval::Invalid => {
            let bad = text(&new["metadata"]["annotations"], approval::ANNOTATION);
            Some(FieldError::invalid(at, bad, why))
        }
        Approval::Given | Approval::Bypassed => None,
    }
}

fn joined(errors: Vec<String>) -> Option<String> {
    (!errors.is_empty()).then(|| errors.join(","))
}

fn group(spec: &Value) -> Vec<FieldError> {
    let group = text(spec, "group");
    let mut errors = Vec::new();
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if let Some(why) = joined(name::dns1123_subdomain(group)) {
        errors.push(FieldError::invalid("spec.group", group, why));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", group, "should be a domain with at least one dot"));
    }
    match text(spec, "scope") {
        "Cluster" | "Namespaced" => {}
        "" => errors.push(FieldError::required("spec.scope", "")),
        other => errors.push(FieldError::not_supported("spec.scope", other, &["Cluster", "Namespaced"])),
    }
    errors
}

fn spec_names(names: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Kinds are written in capitals, and checked without.
    for (key, capitals) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        let given = text(names, key);
        let path = format!("spec.names.{key}");
        let checked = if capitals { given.to_lowercase() } else { given.to_owned() };
        if given.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if let Some(why) = joined(name::dns1035_label(&checked)) {
            let mixed = if capitals { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(FieldError::invalid(path, given, format!("{mixed}{why}")));
        }
    }
    if !text(names, "kind").is_empty() && text(names, "kind") == text(names, "listKind") {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", text(names, "listKind"), why));
    }
    for key in ["shortNames", "categories"] {
        for (index, given) in list(names, key).iter().enumerate() {
            let given = given.as_str().unwrap_or_default();
            if let Some(why) = joined(name::dns1035_label(given)) {
                errors.push(FieldError::invalid(format!("spec.names.{key}[{index}]"), given, why));
            }
        }
    }
    errors
}

fn versions(spec: &Value, old: Option<&Object>) -> Vec<FieldError> {
    let all = list(spec, "versions");
    let before: Vec<&Value> = old
        .into_iter()
        .flat_map(|old| list(&old["spec"], "versions"))
        .map(|version| &version["schema"]["openAPIV3Schema"])
        .filter(|schema| schema.is_object())
        .collect();
    let asked = match old {
        Some(_) => schema::Asked::kept_by(before.iter().copied()),
        None => schema::Asked::ALL,
    };
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, version) in all.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let given = text(version, "name");
        if let Some(why) = joined(name::dns1035_label(given)) {
            errors.push(FieldError::invalid(format!("{path}.name"), given, why.as_str()));
            if index == 0 && !given.is_empty() {
                errors.push(FieldError::invalid("spec.version", given, why));
            }
        }
        seen.insert(given);
        errors.extend(deprecation(version, &format!("{path}.deprecationWarning")));
        if !version["schema"]["openAPIV3Schema"].is_object() {
            errors.push(FieldError::required(format!("{path}.schema.openAPIV3Schema"), ""));
        }
    }
    for (index, at) in schema::places(spec, "schema") {
        let given = &all[index]["schema"]["openAPIV3Schema"];
        if given.is_object() {
            let any = at.starts_with("spec.validation");
            let status = all.iter().enumerate().any(|(place, version)| {
                (any || place == index) && version["subresources"]["status"].is_object()
            });
            errors.extend(schema::check(given, &format!("{at}.openAPIV3Schema"), status, &asked));
        }
    }
    for (index, at) in schema::places(spec, "subresources") {
        errors.extend(scale(&all[index]["subresources"]["scale"], &format!("{at}.scale")));
    }
    for (index, at) in schema::places(spec, "additionalPrinterColumns") {
        for (number, column) in list(&all[index], "additionalPrinterColumns").iter().enumerate() {
            errors.extend(printed(column, &format!("{at}[{number}]")));
        }
    }
    for (index, at) in schema::places(spec, "selectableFields") {
        let before = old.into_iter().flat_map(|old| list(&old["spec"], "versions"));
        let unchanged = before
            .filter(|version| version["name"] == all[index]["name"])
            .any(|version| version["selectableFields"] == all[index]["selectableFields"]);
        errors.extend(schema::selectable(spec, index, &at, unchanged));
    }
    let shown = || schema::internal_versions(spec, |word| !schema::is_shared(spec, word));
    let wrong =
        |why: &str| FieldError::unshown(Problem::Invalid, "spec.versions", format!("{}: {why}", shown()));
    if seen.len() < all.len() {
        errors.push(wrong("must contain unique version names"));
    }
    if all.iter().filter(|version| version["storage"] == true).count() != 1 {
        errors.push(wrong("must have exactly one version marked as storage version"));
    }
    errors
}

/// The words for who uses a version that is on its way out.
fn deprecation(version: &Value, path: &str) -> Vec<FieldError> {
    let Some(warning) = version["deprecationWarning"].as_str() else { return Vec::new() };
    let invalid = |why: &str| FieldError::invalid(path, warning, why);
    if version["deprecated"] != true {
        return vec![invalid("can only be set for deprecated versions")];
    }
    let mut errors = Vec::new();
    if warning.len() > 256 {
        errors.push(invalid("must be <= 256 characters long"));
    }
    if warning.is_empty() {
        errors.push(invalid("must not be an empty string"));
    }
    let unprintable = |c: char| c.is_control() || (c.is_whitespace() && c != ' ');
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| unprintable(*c)) {
        errors.push(invalid(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        )));
    }
    errors
}

const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] =
    &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// A printer column.
fn printed(column: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = |name: &str| format!("{path}.{name}");
    let one_of = |all: &[&str]| format!("must be one of {}", all.join(","));
    let (kind, format, source) = (text(column, "type"), text(column, "format"), text(column, "jsonPath"));
    if text(column, "name").is_empty() {
        errors.push(FieldError::required(at("name"), ""));
    }
    if kind.is_empty() {
        errors.push(FieldError::required(at("type"), one_of(COLUMN_TYPES)));
    } else if !COLUMN_TYPES.contains(&kind) {
        errors.push(FieldError::invalid(at("type"), kind, one_of(COLUMN_TYPES)));
    }
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        errors.push(FieldError::invalid(at("format"), format, one_of(COLUMN_FORMATS)));
    }
    if source.is_empty() {
        errors.push(FieldError::required(at("JSONPath"), ""));
    } else if !source.starts_with('.') {
        errors.push(FieldError::invalid(at("JSONPath"), source, SIMPLE));
    }
    errors
}

const SIMPLE: &str = "must be a simple json path starting with .";

fn scale(scale: &Value, path: &str) -> Vec<FieldError> {
    if !scale.is_object() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for (key, root, needed) in [
        ("specReplicasPath", ".spec.", true),
        ("statusReplicasPath", ".status.", true),
        ("labelSelectorPath", ".", false),
    ] {
        let given = text(scale, key);
        if given.is_empty() && needed {
            errors.push(FieldError::required(format!("{path}.{key}"), ""));
        } else if !given.is_empty() && !given.starts_with('.') {
            errors.push(FieldError::invalid(format!("{path}.{key}"), given, SIMPLE));
        } else if !given.is_empty()
            && (!given.starts_with(root)
                || (!needed && ![".spec.", ".status."].iter().any(|root| given.starts_with(root))))
        {
            let wanted = if key == "labelSelectorPath" {
                "either .spec or .status"
            } else {
                root.trim_end_matches('.')
            };
            let why = format!("should be a json path under {wanted}");
            errors.push(FieldError::invalid(format!("{path}.{key}"), given, why));
        }
    }
    errors
}

/// A version that objects were stored in cannot go.
fn stored(definition: &Value) -> Vec<FieldError> {
    let versions = list(&definition["spec"], "versions");
    let stored = list(&definition["status"], "storedVersions");
    let at = "status.storedVersions";
    if stored.is_empty() {
        return vec![FieldError::invalid(at, Value::Null, "must have at least one stored version")];
    }
    let storage = versions.iter().filter(|version| version["storage"] == true);
    let storage = storage.filter(|version| !stored.contains(&version["name"]));
    let mut errors: Vec<FieldError> = storage
        .map(|version| {
            let why = format!("must have the storage version {}", text(version, "name"));
            FieldError::invalid(at, stored.to_vec(), why)
        })
        .collect();
    let gone = stored
        .iter()
        .enumerate()
        .filter(|(_, name)| versions.iter().all(|version| version["name"] != **name));
    let gone = gone.map(|(index, name)| {
        let shown = name.as_str().unwrap_or_default();
        let why = format!(
            "missing from spec.versions; {shown} was previously a storage version, and must remain in spec.versions \
             until a storage migration ensures no data remains persisted in {shown} and removes {shown} from \
             status.storedVersions"
        );
        FieldError::invalid(format!("{at}[{index}]"), shown, why)
    });
    errors.extend(gone);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tower() -> Value {
        json!({
            "metadata": {"name": "towers.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "towers", "kind": "Tower"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                              "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        })
    }

    fn said(mut definition: Value) -> Vec<String> {
        CustomResourceDefinition.prepare(&mut definition, None);
        CustomResourceDefinition.validate(&definition, None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let mut definition = tower();
        CustomResourceDefinition.prepare(&mut definition, None);
        assert_eq!(definition["spec"]["names"]["listKind"], "TowerList");
        assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
        assert!(CustomResourceDefinition.validate(&definition, None).is_empty());
    }

    #[test]
    fn bad_definitions_are_refused_at_their_place() {
        for (pointer, value, expected) in [
            (
                "/metadata/name",
                json!("x"),
                "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
            ),
            (
                "/spec/scope",
                json!("Galaxy"),
                "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\"",
            ),
            ("/spec/versions/0/storage", json!(false), "spec.versions: Invalid value"),
            ("/spec/versions/0/schema", json!({}), "spec.versions[0].schema.openAPIV3Schema: Required value"),
            ("/spec/names/kind", json!("tower!"), "spec.names.kind: Invalid value: \"tower!\""),
            ("/spec/names/singular", json!("Tower"), "spec.names.singular: Invalid value: \"Tower\""),
            ("/spec/preserveUnknownFields", json!(true), "spec.preserveUnknownFields: Invalid value: true"),
        ] {
            let mut definition = tower();
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            definition.pointer_mut(parent).unwrap()[last] = value;
            let errors = said(definition);
            assert!(errors.iter().any(|error| error.starts_with(expected)), "{expected}: {errors:?}");
        }
    }

    #[test]
    fn what_is_served_keeps_its_place_and_name() {
        let mut old = tower();
        CustomResourceDefinition.prepare(&mut old, None);
        let mut new = old.clone();
        new["spec"]["scope"] = "Cluster".into();
        assert!(CustomResourceDefinition.validate(&new, Some(&old)).is_empty(), "not served yet");
        old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        let errors = CustomResourceDefinition.validate(&new, Some(&old));
        assert_eq!(errors[0].to_string(), "spec.scope: Invalid value: \"Cluster\": field is immutable");
    }

    #[test]
    fn a_version_that_was_stored_stays() {
        let mut old = tower();
        CustomResourceDefinition.prepare(&mut old, None);
        let mut new = old.clone();
        new["spec"]["versions"][0]["name"] = "v2".into();
        CustomResourceDefinition.prepare(&mut new, Some(&old));
        let errors = CustomResourceDefinition.validate(&new, Some(&old));
        assert!(errors[0].path == "status.storedVersions[0]", "{errors:?}");
    }
}
