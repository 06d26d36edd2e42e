//! OpenAPI v3 documents, per group and version, made from the registry.

use serde_json::{Value, json};

use crate::kind::Registry;

/// The list of documents.
pub fn index(registry: &Registry) -> Value {
    let mut paths = serde_json::Map::new();
    for kind in registry.iter() {
        for version in &kind.versions {
            let path = root(&kind.group, &version.name);
            let hash = format!("/openapi/v3/{path}?hash=skiff");
            paths.insert(path, json!({"serverRelativeURL": hash}));
        }
    }
    json!({"paths": paths})
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The document of one group and version, if it is served.
pub fn v3(_registry: &Registry, _group: &str, _version: &str) -> Option<Value> {
    None
}
