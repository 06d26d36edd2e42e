//! What an extension API server publishes of itself: its resources, and their structure.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::openapi;

/// What was last seen of one group and version.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// An `APIVersionDiscovery`; null if nothing has been seen.
    pub discovery: Value,
    /// Whether it is as the server shows it now.
    pub current: bool,
    /// Its OpenAPI 3 document, and a name for its content.
    pub v3: Option<(Bytes, String)>,
    /// Its OpenAPI 2 document, and a name for its content.
    pub v2: Option<(std::sync::Arc<Value>, String)>,
}

impl Published {
    /// As aggregated discovery shows it.
    pub fn shown(&self, version: &str) -> Value {
        let mut shown = match &self.discovery {
            Value::Null => json!({"version": version}),
            seen => seen.clone(),
        };
        shown["freshness"] = if self.current { "Current" } else { "Stale" }.into();
        shown
    }
}

/// The version in an `APIGroupDiscoveryList`.
pub fn of_aggregated(list: &Value, group: &str, version: &str) -> Option<Value> {
    if list["kind"] != "APIGroupDiscoveryList" {
        return None;
    }
    let group = list["items"].as_array()?.iter().find(|item| item["metadata"]["name"] == group)?;
    group["versions"].as_array()?.iter().find(|one| one["version"] == version).cloned()
}

/// The version that an `APIResourceList` describes.
pub fn of_resources(list: &Value, group: &str, version: &str) -> Option<Value> {
    if list["kind"] != "APIResourceList" {
        return None;
    }
    let mut resources: Vec<Value> = Vec::new();
    for one in list["resources"].as_array().into_iter().flatten() {
        let name = one["name"].as_str().unwrap_or_default();
        let own = |key: &str, default: &str| match one[key].as_str() {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => default.to_owned(),
        };
        let kind =
            json!({"group": own("group", group), "version": own("version", version), "kind": one["kind"]});
        let verbs = one["verbs"].clone();
        if let Some((parent, sub)) = name.split_once('/') {
            let entry = json!({"subresource": sub, "responseKind": kind, "verbs": verbs});
            if let Some(parent) = resources.iter_mut().find(|known| known["resource"] == parent) {
                match parent["subresources"].as_array_mut() {
                    Some(list) => list.push(entry),
                    None => parent["subresources"] = json!([entry]),
                }
            }
            continue;
        }
        let mut resource = json!({
            "resource": name, "responseKind": kind, "verbs": verbs, "singularResource": own("singularName", ""),
            "scope": if one["namespaced"] == true { "Namespaced" } else { "Cluster" },
        });
        for key in ["shortNames", "categories"] {
            if one[key].is_array() {
                resource[key] = one[key].clone();
            }
        }
        resources.push(resource);
    }
    Some(json!({"version": version, "resources": resources}))
}

/// Adds what an extension API server publishes of a group and version to this server's OpenAPI 2 document. Of a
/// definition that both have, this server's stays.
pub fn merge_v2(own: &mut Value, other: &Value, group: &str, version: &str) {
    let root = format!("/apis/{group}/{version}/");
    for (key, concerns) in [("paths", Some(root.as_str())), ("definitions", None)] {
        let (Some(into), Some(from)) = (own[key].as_object_mut(), other[key].as_object()) else { continue };
        for (name, value) in from {
            let belongs = concerns.is_none_or(|root| format!("{name}/").starts_with(root));
            if belongs && !into.contains_key(name) {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A document and its name.
pub fn named(bytes: Bytes) -> (Bytes, String) {
    let hash = openapi::digest(&bytes);
    (bytes, hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_resources_reads_as_a_version() {
        let list = json!({"kind": "APIResourceList", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["f"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["update"]},
        ]});
        let version = of_resources(&list, "g", "v1").unwrap();
        let kind = json!({"group": "g", "version": "v1", "kind": "Flunder"});
        assert_eq!(
            version,
            json!({"version": "v1", "resources": [{
                "resource": "flunders", "singularResource": "flunder", "scope": "Namespaced", "responseKind": kind,
                "verbs": ["get"], "shortNames": ["f"],
                "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["update"]}],
            }]})
        );
        assert!(of_resources(&json!({"kind": "Status"}), "g", "v1").is_none());
    }

    #[test]
    fn what_has_not_been_seen_is_stale_and_empty() {
        assert_eq!(Published::default().shown("v1"), json!({"version": "v1", "freshness": "Stale"}));
    }

    #[test]
    fn only_the_paths_of_the_version_are_taken() {
        let mut own = json!({"paths": {"/a": 1}, "definitions": {"A": 1}});
        let other = json!({"paths": {"/apis/g/v1/x": 2, "/apis/g/v12/x": 3, "/healthz": 4}, "definitions": {"A": 2, "B": 2}});
        merge_v2(&mut own, &other, "g", "v1");
        assert_eq!(own, json!({"paths": {"/a": 1, "/apis/g/v1/x": 2}, "definitions": {"A": 1, "B": 2}}));
    }
}
