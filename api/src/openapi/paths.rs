//! The paths of a kind, with the parameters that clients look for.

use serde_json::{Map, Value, json};

use super::schemas::Dialect;
use super::{definition_name, gvk, root};
use crate::kind::Kind;

/// Adds every path of a kind.
pub fn add(paths: &mut Map<String, Value>, kind: &Kind, version: &str, dialect: Dialect) {
    let base = format!("/{}", root(&kind.group, version));
    let plural = &kind.plural;
    let many = if kind.namespaced {
        paths.insert(
            format!("{base}/{plural}"),
            json!({"get": operation(kind, version, "list", "get", &kind.kind, dialect)}),
        );
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    let item = |methods: &[(&str, &str)], name: &str| {
        let mut path = Map::new();
        for (verb, method) in methods {
            path.insert((*method).into(), operation(kind, version, verb, method, name, dialect));
        }
        path
    };
    let allowed = |methods: &[(&'static str, &'static str)]| -> Vec<(&'static str, &'static str)> {
        methods.iter().filter(|(verb, _)| kind.verbs.iter().any(|known| known == verb)).copied().collect()
    };
    let collection = allowed(&[("list", "get"), ("create", "post"), ("deletecollection", "delete")]);
    let mut path = item(&collection, &kind.kind);
    path.insert("parameters".into(), common(kind, false, dialect));
    paths.insert(many.clone(), path.into());
    let single = allowed(&[("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete")]);
    let mut path = item(&single, &kind.kind);
    path.insert("parameters".into(), common(kind, true, dialect));
    paths.insert(format!("{many}/{{name}}"), path.into());
    let subresources = kind.version(version).map(|version| &version.subresources);
    for (name, sub) in subresources.into_iter().flatten() {
        let methods: Vec<(&str, &str)> =
            [("get", "get"), ("update", "put"), ("patch", "patch"), ("create", "post")]
                .into_iter()
                .filter(|(verb, _)| sub.verbs.iter().any(|known| known == verb))
                .collect();
        let mut path = item(&methods, &kind.kind);
        path.insert("parameters".into(), common(kind, true, dialect));
        paths.insert(format!("{many}/{{name}}/{name}"), path.into());
    }
}

fn parameter(name: &str, place: &str, sort: &str, dialect: Dialect) -> Value {
    let mut parameter = match dialect {
        Dialect::V2 => json!({"name": name, "in": place, "type": sort, "uniqueItems": true}),
        Dialect::V3 => json!({"name": name, "in": place, "schema": {"type": sort, "uniqueItems": true}}),
    };
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

fn common(kind: &Kind, named: bool, dialect: Dialect) -> Value {
    let mut list = Vec::new();
    if named {
        list.push(parameter("name", "path", "string", dialect));
    }
    if kind.namespaced {
        list.push(parameter("namespace", "path", "string", dialect));
    }
    list.push(parameter("pretty", "query", "string", dialect));
    list.into()
}

/// What a verb takes in the query.
fn query(verb: &str) -> &'static [(&'static str, &'static str)] {
    match verb {
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
    }
}

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const ANSWERS: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

fn operation(kind: &Kind, version: &str, verb: &str, method: &str, name: &str, dialect: Dialect) -> Value {
    let mut parameters: Vec<Value> =
        query(verb).iter().map(|(name, sort)| parameter(name, "query", sort, dialect)).collect();
    let mut definition = definition_name(kind, version);
    if verb == "list" {
        definition.push_str("List");
    }
    let schema = dialect.plain(&definition);
    let mut operation = json!({
        "operationId": format!("{method}{version}{}{}", kind.kind, verb),
        "x-kubernetes-action": match verb { "update" => "put", "create" => "post", other => other },
        "x-kubernetes-group-version-kind": gvk(kind, version, name),
    });
    match (dialect, verb) {
        (Dialect::V3, "create" | "update") => {
            operation["requestBody"] = json!({"content": {"*/*": {"schema": schema}}, "required": true});
        }
        (Dialect::V3, "patch") => {
            let content: Map<String, Value> = PATCHES
                .iter()
                .map(|media| ((*media).to_owned(), json!({"schema": {"type": "object"}})))
                .collect();
            operation["requestBody"] = json!({"required": true, "content": content});
        }
        (Dialect::V2, "create" | "update") => {
            parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
        }
        (Dialect::V2, "patch") => {
            let schema = json!({"type": "object"});
            parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
        }
        _ => {}
    }
    operation["parameters"] = parameters.into();
    match dialect {
        Dialect::V3 => {
            let content: Map<String, Value> =
                ANSWERS.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect();
            operation["responses"] = json!({"200": {"description": "OK", "content": content}});
        }
        Dialect::V2 => {
            operation["consumes"] = if verb == "patch" { json!(PATCHES) } else { json!(["*/*"]) };
            operation["produces"] = json!(ANSWERS);
            operation["schemes"] = json!(["https"]);
            operation["responses"] = json!({"200": {"description": "OK", "schema": schema}});
        }
    }
    operation
}
