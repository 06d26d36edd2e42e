//! CustomResourceDefinitions: their names, versions and schemas, as upstream's
//! `apiextensions/validation/validation.go` checks them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Strategy, list, text, webhook};
use crate::Object;
use crate::custom::{names, structural};
use crate::name;
use crate::status::FieldError;

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
        errors.extend(versions(spec));
        errors.extend(stored(new));
        if spec["preserveUnknownFields"] == true {
            let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
            errors.push(FieldError::invalid("spec.preserveUnknownFields", true, why));
        }
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
            errors.push(FieldError::invalid(path, given, why));
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

fn versions(spec: &Value) -> Vec<FieldError> {
    let all = list(spec, "versions");
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, version) in all.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let given = text(version, "name");
        if let Some(why) = joined(name::dns1035_label(given)) {
            errors.push(FieldError::invalid(format!("{path}.name"), given, why));
        }
        seen.insert(given);
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_object() {
            errors.extend(structural::check(schema, &format!("{path}.schema.openAPIV3Schema")));
        } else {
            errors.push(FieldError::required(format!("{path}.schema.openAPIV3Schema"), ""));
        }
        errors.extend(scale(&version["subresources"]["scale"], &format!("{path}.subresources.scale")));
        for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
            for key in ["name", "type", "jsonPath"] {
                if text(column, key).is_empty() {
                    let place = format!("{path}.additionalPrinterColumns[{index}].{key}");
                    errors.push(FieldError::required(place, ""));
                }
            }
        }
    }
    let shown = || Value::Array(all.to_vec());
    if seen.len() < all.len() {
        errors.push(FieldError::invalid("spec.versions", shown(), "must contain unique version names"));
    }
    if all.iter().filter(|version| version["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", shown(), why));
    }
    errors
}

fn scale(scale: &Value, path: &str) -> Vec<FieldError> {
    if !scale.is_object() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for (key, root, needed) in [
        ("specReplicasPath", ".spec.", true),
        ("statusReplicasPath", ".status.", true),
        ("labelSelectorPath", ".s", false),
    ] {
        let given = text(scale, key);
        if given.is_empty() && needed {
            errors.push(FieldError::required(format!("{path}.{key}"), ""));
        } else if !given.is_empty() && !given.starts_with(root) {
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
    let gone = stored
        .iter()
        .enumerate()
        .filter(|(_, name)| versions.iter().all(|version| version["name"] != **name));
    gone.map(|(index, name)| {
        let shown = name.as_str().unwrap_or_default();
        let why = format!(
            "missing from spec.versions; {shown} was previously a storage version, and must remain in spec.versions \
             until a storage migration ensures no data remains persisted in {shown} and removes {shown} from \
             status.storedVersions"
        );
        FieldError::invalid(format!("status.storedVersions[{index}]"), shown, why)
    })
    .collect()
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
