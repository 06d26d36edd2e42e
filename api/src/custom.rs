//! CustomResourceDefinitions: from a definition to a [`Kind`] like any other.
//!
//! What is here is pure: names and versions ([`kind`]), what schemas may look like ([`schema`]), what objects may
//! look like ([`Validator`]), and who gets which name ([`names`]). The API server's `extension` keeps the registry.

pub mod approval;
pub mod names;
pub mod schema;
mod validator;

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::builtin::{self, described};
use crate::kind::{Action, Column, Conversion, Kind, Subresource, Version};
use crate::schema::from_json;

pub use validator::Validator;

/// The group of the definitions.
pub const GROUP: &str = "apiextensions.k8s.io";
/// Their plural.
pub const PLURAL: &str = "customresourcedefinitions";
/// What keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The kind that a definition describes, with the names that it was given; `None` if it has none yet.
pub fn kind(definition: &Value) -> Option<Kind> {
    let (spec, names) = (&definition["spec"], &definition["status"]["acceptedNames"]);
    let group = text(spec, "group");
    let (plural, kind_name) = (text(names, "plural"), text(names, "kind"));
    if plural.is_empty() || kind_name.is_empty() {
        return None;
    }
    let mut kind = Kind {
        group: group.into(),
        kind: kind_name.into(),
        plural: plural.into(),
        singular: text(names, "singular").into(),
        list_kind: text(names, "listKind").into(),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: text(spec, "scope") == "Namespaced",
        prefix: format!("registry/{group}/{plural}"),
        verbs: builtin::VERBS.iter().map(ToString::to_string).collect(),
        versions: Vec::new(),
        storage: 0,
        selectable: Vec::new(),
        selected_from: BTreeMap::new(),
        name_rule: "dns1123-subdomain".into(),
        ttl_s: None,
        generation: true,
        graceful: false,
        inert: false,
        presents: None,
        conversion: conversion(&spec["conversion"]),
    };
    let mut raw: Vec<&Value> = spec["versions"].as_array()?.iter().collect();
    raw.sort_by(|a, b| by_priority(text(a, "name"), text(b, "name")));
    kind.versions = raw.iter().map(|raw| version(&kind, raw)).collect();
    kind.storage = raw.iter().position(|raw| raw["storage"] == true)?;
    let selectable = raw[kind.storage]["selectableFields"].as_array();
    kind.selectable = selectable
        .into_iter()
        .flatten()
        .map(|field| text(field, "jsonPath").trim_start_matches('.').to_owned())
        .collect();
    Some(kind)
}

/// The webhook that converts, if one does.
fn conversion(raw: &Value) -> Option<Conversion> {
    (raw["strategy"] == "Webhook").then(|| Conversion {
        client: raw["webhook"]["clientConfig"].clone(),
        reviews: texts(&raw["webhook"]["conversionReviewVersions"]),
    })
}

fn version(kind: &Kind, raw: &Value) -> Version {
    let structure = &raw["schema"]["openAPIV3Schema"];
    let subresources = raw["subresources"].as_object().into_iter().flatten();
    Version {
        name: text(raw, "name").into(),
        served: raw["served"] == true,
        deprecated: (raw["deprecated"] == true).then(|| match text(raw, "deprecationWarning") {
            "" => format!("{} {} is deprecated", kind.api_version(text(raw, "name")), kind.kind),
            own => own.to_owned(),
        }),
        schema: from_json(structure),
        validator: Some(Arc::new(Validator::new(structure))),
        rules: None,
        subresources: subresources.map(|(name, raw)| (name.clone(), subresource(kind, name, raw))).collect(),
        columns: columns(&raw["additionalPrinterColumns"]),
    }
}

fn subresource(kind: &Kind, name: &str, raw: &Value) -> Subresource {
    let mut subresource = builtin::subresource(kind, name);
    if let Action::Scale { spec_replicas, status_replicas, selector } = &mut subresource.action {
        *spec_replicas = text(raw, "specReplicasPath").into();
        *status_replicas = text(raw, "statusReplicasPath").into();
        *selector = text(raw, "labelSelectorPath").into();
    }
    subresource
}

fn columns(raw: &Value) -> Vec<Column> {
    let plain = |name: &str, r#type: &str, format: &str, description: &str, source: &str| Column {
        name: name.into(),
        r#type: r#type.into(),
        format: format.into(),
        description: description.into(),
        priority: 0,
        source: source.into(),
    };
    let mut columns = vec![plain("Name", "string", "name", &described(builtin::NAME), ".metadata.name")];
    match raw.as_array().filter(|raw| !raw.is_empty()) {
        None => columns.push(plain("Age", "date", "", &described(builtin::AGE), "=age")),
        Some(raw) => columns.extend(raw.iter().map(|raw| Column {
            priority: raw["priority"].as_i64().and_then(|value| i32::try_from(value).ok()).unwrap_or(0),
            ..plain(
                text(raw, "name"),
                text(raw, "type"),
                text(raw, "format"),
                text(raw, "description"),
                match (text(raw, "type"), text(raw, "jsonPath")) {
                    // Ages are counted by the table, as upstream does.
                    ("date", ".metadata.creationTimestamp") => "=age",
                    (_, path) => path,
                },
            )
        })),
    }
    columns
}

/// The preferred first: stable, then beta, then alpha, each the highest first; then the others by name, as
/// `apimachinery/pkg/version` orders them.
pub fn by_priority(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => Reverse(a).cmp(&Reverse(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// `v2beta1` as stability, major and minor.
fn parse(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok()?;
    let rest = &rest[end..];
    for (word, stability) in [("alpha", 0), ("beta", 1)] {
        if let Some(minor) = rest.strip_prefix(word) {
            return Some((stability, major, minor.parse().ok()?));
        }
    }
    rest.is_empty().then_some((2, major, 0))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_ordered_as_clients_prefer_them() {
        let mut versions = ["foo", "v1alpha2", "v10", "v1", "v2beta1", "v11beta2", "v3alpha1", "bar", "v2"];
        versions.sort_by(|a, b| by_priority(a, b));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v11beta2", "v2beta1", "v3alpha1", "v1alpha2", "bar", "foo"]
        );
    }

    #[test]
    fn a_definition_becomes_a_kind_with_the_names_it_was_given() {
        let structure =
            json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}});
        let scale = json!({"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"});
        let mut definition = json!({
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "versions": [
                    {"name": "v1alpha1", "served": false, "storage": true, "schema": structure},
                    {"name": "v1", "served": true, "storage": false, "schema": structure,
                     "subresources": {"status": {}, "scale": scale}},
                ],
            },
        });
        assert!(kind(&definition).is_none());
        definition["status"]["acceptedNames"] =
            json!({"plural": "towers", "kind": "Tower", "singular": "tower"});
        let kind = kind(&definition).unwrap();
        assert_eq!(kind.versions[0].name, "v1");
        assert_eq!(kind.stored().name, "v1alpha1");
        assert!(kind.version("v1alpha1").is_none(), "what is not served cannot be asked for");
        let scale = &kind.version("v1").unwrap().subresources["scale"].action;
        assert!(matches!(scale, Action::Scale { spec_replicas, .. } if spec_replicas == ".spec.n"));
        assert_eq!(kind.key("d", "t"), "/registry/example.com/towers/d/t");
    }
}
