//! OpenAPI v3: one document a group version, made from the kinds and their schemas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::kind::{Kind, Registry, Version};
use crate::schema::{self, ListKind, Schema, Shape};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Which documents there are: path to where it is.
pub fn index(registry: &Registry) -> Value {
    let mut paths = BTreeMap::new();
    for kind in registry.iter() {
        for version in &kind.versions {
            let path = root(&kind.group, &version.name).trim_start_matches('/').to_owned();
            let url = format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"));
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// The document of a group version; `None` if nothing in it is served.
pub fn v3(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut builder = Builder { schemas: Map::new(), wanted: BTreeSet::new() };
    let mut paths = Map::new();
    for kind in registry.iter().filter(|kind| kind.group == group) {
        if let Some(served) = kind.version(version) {
            builder.kind(kind, served);
            add_paths(&mut paths, kind, served);
        }
    }
    if paths.is_empty() {
        return None;
    }
    for name in ["DeleteOptions", "Status", "ListMeta"] {
        builder.wanted.insert(format!("{META}.{name}"));
    }
    builder.close();
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": builder.schemas},
    }))
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn gvk(kind: &Kind, version: &str, name: &str) -> Value {
    json!({"group": kind.group, "version": version, "kind": name})
}

struct Builder {
    schemas: Map<String, Value>,
    wanted: BTreeSet<String>,
}

impl Builder {
    fn kind(&mut self, kind: &Kind, version: &Version) {
        let name = version.schema.definition.clone();
        let mut definition = self.described(&version.schema);
        definition["x-kubernetes-group-version-kind"] = json!([gvk(kind, &version.name, &kind.kind)]);
        self.schemas.insert(name.clone(), definition);
        let (package, _) = name.rsplit_once('.').unwrap_or(("", ""));
        let list = format!("{package}.{}", kind.list_kind);
        let text = |what: &str| json!({"type": "string", "description": what});
        self.schemas.insert(
            list,
            json!({
                "type": "object",
                "description": format!("{} is a list of {}.", kind.list_kind, kind.kind),
                "required": ["items"],
                "properties": {
                    "apiVersion": text("The versioned schema of this representation of an object."),
                    "kind": text("The REST resource that this object represents."),
                    "items": {"type": "array", "description": "The objects.", "items": reference(&name)},
                    "metadata": {"allOf": [reference(&format!("{META}.ListMeta"))], "description": "Standard list metadata."},
                },
                "x-kubernetes-group-version-kind": [gvk(kind, &version.name, &kind.list_kind)],
            }),
        );
    }

    /// Adds every definition that those here refer to.
    fn close(&mut self) {
        while let Some(name) = self.wanted.pop_first() {
            if self.schemas.contains_key(&name) {
                continue;
            }
            let definition = match schema::definition(&name) {
                Some(schema) => self.described(schema),
                None => json!({"type": "object"}),
            };
            self.schemas.insert(name, definition);
        }
    }

    /// A definition with its descriptions, and what the overlay knows of its fields.
    fn described(&mut self, schema: &Schema) -> Value {
        let mut raw = schema::described().get(&schema.definition).cloned().unwrap_or_else(|| json!({"type": "object"}));
        if let Shape::Object(fields) = &schema.shape
            && let Some(properties) = raw["properties"].as_object_mut()
        {
            for (name, property) in properties {
                let Some(field) = fields.known.get(name) else { continue };
                if field.merge.merge || field.merge.retain_keys {
                    let strategies: Vec<&str> = [(field.merge.merge, "merge"), (field.merge.retain_keys, "retainKeys")]
                        .into_iter()
                        .filter_map(|(has, name)| has.then_some(name))
                        .collect();
                    property["x-kubernetes-patch-strategy"] = strategies.join(",").into();
                }
                if !field.merge.key.is_empty() {
                    property["x-kubernetes-patch-merge-key"] = field.merge.key.as_str().into();
                }
                if let Shape::List { kind, .. } = &field.schema.shape {
                    match kind {
                        ListKind::Map(keys) => {
                            property["x-kubernetes-list-type"] = "map".into();
                            property["x-kubernetes-list-map-keys"] = json!(keys);
                        }
                        ListKind::Set => property["x-kubernetes-list-type"] = "set".into(),
                        ListKind::Atomic => {}
                    }
                }
            }
        }
        self.rewrite(&mut raw);
        raw
    }

    /// Points references at this document, and wraps those that carry a description, since a
    /// reference's neighbours do not count in OpenAPI 3.0.
    fn rewrite(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.remove("$ref") {
                    let name = target.rsplit('/').next().unwrap_or_default().to_owned();
                    let target = reference(&name);
                    self.wanted.insert(name);
                    if map.is_empty() {
                        *value = target;
                    } else {
                        map.insert("allOf".into(), json!([target]));
                    }
                    return;
                }
                map.values_mut().for_each(|value| self.rewrite(value));
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.rewrite(value)),
            _ => {}
        }
    }
}

/// Query parameters by verb: name and type.
fn parameters(verb: &str) -> Value {
    let write = [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
    let list = [
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ];
    let delete = [
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    ];
    let named: Vec<(&str, &str)> = match verb {
        "post" | "put" => write.to_vec(),
        "patch" => [&write[..], &[("force", "boolean")]].concat(),
        "list" => list.to_vec(),
        "delete" => delete.to_vec(),
        "deletecollection" => [&list[..9], &delete[..]].concat(),
        _ => Vec::new(),
    };
    let one = |(name, r#type): (&str, &str)| json!({"name": name, "in": "query", "schema": {"type": r#type, "uniqueItems": true}});
    named.into_iter().map(one).collect()
}

/// The operations of a path: HTTP method, upstream's action, what the parameters go by, the verb.
const COLLECTION: &[(&str, &str, &str, &str)] = &[
    ("get", "list", "list", "list"),
    ("post", "post", "post", "create"),
    ("delete", "deletecollection", "deletecollection", "deletecollection"),
];
const OBJECT: &[(&str, &str, &str, &str)] = &[
    ("get", "get", "get", "get"),
    ("put", "put", "put", "update"),
    ("patch", "patch", "patch", "patch"),
    ("delete", "delete", "delete", "delete"),
];

fn add_paths(paths: &mut Map<String, Value>, kind: &Kind, version: &Version) {
    let root = root(&kind.group, &version.name);
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let own = |names: &[&str]| -> Vec<Value> {
        names
            .iter()
            .filter(|name| **name != "namespace" || kind.namespaced)
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}}))
            .collect()
    };
    let mut add = |path: String, operations: &[(&str, &str, &str, &str)], verbs: &[String], at: &[&str], gvk: Value, schema: &Value| {
        let mut item = Map::new();
        for (method, action, parameter, verb) in operations {
            if verbs.iter().any(|served| served == verb) {
                let body = matches!(*method, "post" | "put").then(|| json!({"content": {"*/*": {"schema": schema}}}));
                let mut operation = json!({
                    "operationId": format!("{action}{}", path.replace(['/', '{', '}', '.', '-'], "_")),
                    "parameters": parameters(parameter),
                    "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
                    "x-kubernetes-action": action,
                    "x-kubernetes-group-version-kind": gvk,
                });
                if let Some(body) = body {
                    operation["requestBody"] = body;
                }
                item.insert((*method).to_owned(), operation);
            }
        }
        if !item.is_empty() {
            item.insert("parameters".into(), own(at).into());
            paths.insert(path, item.into());
        }
    };
    let name = &version.schema.definition;
    let (object, of) = (reference(name), gvk(kind, &version.name, &kind.kind));
    let base = format!("{root}{scope}/{}", kind.plural);
    add(base.clone(), COLLECTION, &kind.verbs, &["namespace"], of.clone(), &object);
    add(format!("{base}/{{name}}"), OBJECT, &kind.verbs, &["name", "namespace"], of.clone(), &object);
    if kind.namespaced {
        add(format!("{root}/{}", kind.plural), &COLLECTION[..1], &kind.verbs, &[], of.clone(), &object);
    }
    for (name, subresource) in &version.subresources {
        let path = format!("{base}/{{name}}/{name}");
        let operations = [&OBJECT[..3], &COLLECTION[1..2]].concat();
        add(path, &operations, &subresource.verbs, &["name", "namespace"], of.clone(), &object);
    }
}
