//! The paths of a kind, with the parameters that clients look for.

use serde_json::{Map, Value, json};

use super::{definition_name, gvk, root};
use crate::kind::Kind;

/// Adds every path of a kind.
pub fn add(paths: &mut Map<String, Value>, kind: &Kind, version: &str) {
    let base = format!("/{}", root(&kind.group, version));
    let plural = &kind.plural;
    let many = if kind.namespaced {
        paths.insert(
            format!("{base}/{plural}"),
            json!({"get": operation(kind, version, "list", "get", &kind.kind)}),
        );
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    let item = |methods: &[(&str, &str)], name: &str| {
        let mut path = Map::new();
        for (verb, method) in methods {
            path.insert((*method).into(), operation(kind, version, verb, method, name));
        }
        path
    };
    let allowed = |methods: &[(&'static str, &'static str)]| -> Vec<(&'static str, &'static str)> {
        methods.iter().filter(|(verb, _)| kind.verbs.iter().any(|known| known == verb)).copied().collect()
    };
    let collection = allowed(&[("list", "get"), ("create", "post"), ("deletecollection", "delete")]);
    let mut path = item(&collection, &kind.kind);
    path.insert("parameters".into(), common(kind, false));
    paths.insert(many.clone(), path.into());
    let single = allowed(&[("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete")]);
    let mut path = item(&single, &kind.kind);
    path.insert("parameters".into(), common(kind, true));
    paths.insert(format!("{many}/{{name}}"), path.into());
    let subresources = kind.version(version).map(|version| &version.subresources);
    for (name, sub) in subresources.into_iter().flatten() {
        let methods: Vec<(&str, &str)> =
            [("get", "get"), ("update", "put"), ("patch", "patch"), ("create", "post")]
                .into_iter()
                .filter(|(verb, _)| sub.verbs.iter().any(|known| known == verb))
                .collect();
        let mut path = item(&methods, &kind.kind);
        path.insert("parameters".into(), common(kind, true));
        paths.insert(format!("{many}/{{name}}/{name}"), path.into());
    }
}

fn parameter(name: &str, place: &str, sort: &str) -> Value {
    let mut parameter = json!({"name": name, "in": place, "schema": {"type": sort, "uniqueItems": true}});
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

fn common(kind: &Kind, named: bool) -> Value {
    let mut list = Vec::new();
    if named {
        list.push(parameter("name", "path", "string"));
    }
    if kind.namespaced {
        list.push(parameter("namespace", "path", "string"));
    }
    list.push(parameter("pretty", "query", "string"));
    list.into()
}

fn operation(kind: &Kind, version: &str, verb: &str, method: &str, name: &str) -> Value {
    let query: &[(&str, &str)] = match verb {
        "list" | "deletecollection" => &[
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
        ],
        "create" | "update" => {
            &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")]
        }
        "patch" => &[
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
            ("force", "boolean"),
        ],
        "delete" => &[
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ],
        _ => &[],
    };
    let parameters: Vec<Value> = query.iter().map(|(name, sort)| parameter(name, "query", sort)).collect();
    let mut definition = definition_name(kind, version);
    if verb == "list" {
        definition.push_str("List");
    }
    let schema = json!({"$ref": format!("#/components/schemas/{definition}")});
    let mut operation = json!({
        "operationId": format!("{method}{version}{}{}", kind.kind, verb),
        "x-kubernetes-action": match verb { "update" => "put", "create" => "post", other => other },
        "x-kubernetes-group-version-kind": gvk(kind, version, name),
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
    });
    match verb {
        "create" | "update" => {
            operation["requestBody"] = json!({"content": {"*/*": {"schema": schema}}, "required": true});
        }
        "patch" => {
            let any = json!({"schema": {"type": "object"}});
            operation["requestBody"] = json!({"required": true, "content": {
                "application/json-patch+json": any, "application/merge-patch+json": any,
                "application/strategic-merge-patch+json": any,
            }});
        }
        _ => {}
    }
    operation
}
