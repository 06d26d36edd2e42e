//! OpenAPI documents, made from the registry by one walk: version 3 per group and version, version 2
//! whole. What is said of types comes from the generated definitions; what an API must know beside comes
//! from the schema.

mod custom;
mod gnostic;
mod paths;
mod schemas;

pub use gnostic::encode as protobuf;
use schemas::Dialect;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::kind::{Kind, Registry};

/// The list of documents; each address carries a hash that changes with its content.
pub fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for kind in registry.iter() {
        for version in &kind.versions {
            let path = root(&kind.group, &version.name);
            let address = format!("/openapi/v3/{path}?hash={}", hash(registry, &kind.group, &version.name));
            paths.insert(path, json!({"serverRelativeURL": address}));
        }
    }
    json!({"paths": paths})
}

/// The document of one group and version, if it is served.
pub fn v3(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<&Arc<Kind>> = of(registry, group, version).collect();
    if kinds.is_empty() {
        return None;
    }
    let mut all_paths = Map::new();
    let mut schemas = schemas::Collection::new(Dialect::V3);
    for kind in kinds {
        paths::add(&mut all_paths, kind, version, Dialect::V3);
        schemas.add_kind(kind, version);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": all_paths,
        "components": {"schemas": schemas.done},
    }))
}

/// The document of everything, in version 2.
pub fn v2(registry: &Registry) -> Value {
    let mut all_paths = Map::new();
    let mut schemas = schemas::Collection::new(Dialect::V2);
    for kind in registry.iter() {
        for version in &kind.versions {
            paths::add(&mut all_paths, kind, &version.name, Dialect::V2);
            schemas.add_kind(kind, &version.name);
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": all_paths,
        "definitions": schemas.done,
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
        }},
        "security": [{"BearerToken": []}],
    })
}

/// `api/v1`, or `apis/apps/v1`.
fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn of<'a>(registry: &'a Registry, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Kind>> {
    registry.iter().filter(move |kind| kind.group == group && kind.version(version).is_some())
}

/// What changes when the document of a group and version does.
pub fn hash(registry: &Registry, group: &str, version: &str) -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    for kind in of(registry, group, version) {
        (&kind.kind, &kind.plural, kind.namespaced).hash(&mut hasher);
        // A custom kind's structure may change under its name.
        if let Some(version) = kind.version(version).filter(|version| version.schema.definition.is_empty()) {
            format!("{:?}", version.schema).hash(&mut hasher);
        }
    }
    format!("{:016X}", hasher.finish())
}

/// The name of a kind's definition in documents.
fn definition_name(kind: &Kind, version: &str) -> String {
    match kind.version(version).map(|version| version.schema.definition.as_str()) {
        Some(name) if !name.is_empty() => name.into(),
        _ => {
            let mut parts: Vec<&str> = kind.group.split('.').collect();
            parts.reverse();
            format!("{}.{version}.{}", parts.join("."), kind.kind)
        }
    }
}

/// The `x-kubernetes-group-version-kind` of one kind.
fn gvk(kind: &Kind, version: &str, name: &str) -> Value {
    json!({"group": kind.group, "version": version, "kind": name})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_say_what_kubectl_looks_for() {
        let registry = crate::builtin::registry();
        let core = v3(&registry, "", "v1").unwrap();
        let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "", "version": "v1", "kind": "Pod"})
        );
        let parameters = patch["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
        let schemas = &core["components"]["schemas"];
        let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-type"], "map");
        assert!(containers["description"].is_string());
        assert_eq!(schemas["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"][0]["kind"], "Pod");
        assert!(schemas["io.k8s.api.core.v1.PodList"].is_object());
        assert!(v3(&registry, "nope", "v1").is_none());
        assert!(index(&registry)["paths"]["apis/apps/v1"]["serverRelativeURL"].is_string());
    }

    #[test]
    fn version_2_holds_everything_and_answers_its_own_references() {
        let registry = crate::builtin::registry();
        let document = v2(&registry);
        let definitions = document["definitions"].as_object().unwrap();
        let text = document.to_string();
        for part in text.split("#/definitions/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(definitions.contains_key(name), "{name}");
        }
        assert!(!text.contains(r#""allOf":["#) && !text.contains(r#""oneOf":["#));
        let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["items"]["$ref"], "#/definitions/io.k8s.api.core.v1.Container");
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        let put = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["put"];
        let body = put["parameters"].as_array().unwrap().iter().find(|one| one["in"] == "body").unwrap();
        assert_eq!(body["schema"]["$ref"], "#/definitions/io.k8s.api.apps.v1.Deployment");
    }

    #[test]
    fn every_reference_is_answered() {
        let registry = crate::builtin::registry();
        for (group, version) in
            [("", "v1"), ("apps", "v1"), ("rbac.authorization.k8s.io", "v1"), ("batch", "v1")]
        {
            let document = v3(&registry, group, version).unwrap();
            let text = document.to_string();
            for part in text.split("#/components/schemas/").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(document["components"]["schemas"].get(name).is_some(), "{group} {name}");
            }
            assert!(!text.contains("$defs"));
        }
    }
}
