//! The roles and bindings that a cluster starts with, read from `bootstrap/roles.txt`.

pub mod reconcile;

use serde_json::{Map, Value, json};

use super::rbac::GROUP;

const TABLE: &str = include_str!("bootstrap/roles.txt");

/// A rule of ours begins with these; upstream's defaults carry them, so that its tools know them.
const LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// All ClusterRoles, Roles, ClusterRoleBindings and RoleBindings. Of an aggregated role, `rules` is empty: the index
/// knows them, and [`super::rbac::Rbac::aggregated`] shows them.
pub fn objects() -> Vec<Value> {
    parse(TABLE)
}

fn parse(table: &str) -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    for line in table.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["role", name, marks @ ..] => objects.push(role(name, marks)),
            ["bind", name, role, subjects] => objects.push(binding(name, role, subjects)),
            ["controllers", user] => {
                let bindings = controllers(&objects, user);
                objects.extend(bindings);
            }
            rule => {
                let role = objects.last_mut().and_then(|role| role["rules"].as_array_mut());
                role.expect("in our own table, a rule follows its role").push(self::rule(rule));
            }
        }
    }
    objects
}

fn role(name: &str, marks: &[&str]) -> Value {
    let mut object = object("Role", name);
    object["rules"] = json!([]);
    let mut selectors = Vec::new();
    for mark in marks {
        let key = format!("rbac.authorization.k8s.io/aggregate-to-{}", &mark[1..]);
        if mark.starts_with('+') {
            object["metadata"]["labels"][key] = "true".into();
        } else {
            selectors.push(json!({"matchLabels": {key: "true"}}));
        }
    }
    if !selectors.is_empty() {
        object["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
    }
    object
}

fn rule(words: &[&str]) -> Value {
    let list = |text: &str| -> Value {
        text.split(',').map(|word| if word == "core" { "" } else { word }).collect()
    };
    let mut rule = Map::new();
    let keys: &[&str] = match words {
        [_, "url", _] => &["verbs", "", "nonResourceURLs"],
        _ => &["verbs", "apiGroups", "resources", "resourceNames"],
    };
    for (key, word) in keys.iter().zip(words).filter(|(key, _)| !key.is_empty()) {
        rule.insert((*key).to_owned(), list(word));
    }
    rule.into()
}

fn binding(name: &str, role: &str, subjects: &str) -> Value {
    let mut object = object("RoleBinding", name);
    let kind = if name.contains('/') { "Role" } else { "ClusterRole" };
    object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": role});
    let subjects: Vec<Value> = subjects.split(',').filter_map(subject).collect();
    if !subjects.is_empty() {
        object["subjects"] = subjects.into();
    }
    object
}

fn subject(text: &str) -> Option<Value> {
    let (sort, name) = text.split_once('=')?;
    Some(match sort {
        "user" => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        "group" => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        _ => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
    })
}

fn controllers(objects: &[Value], user: &str) -> Vec<Value> {
    let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole");
    let names = roles.filter_map(|role| role["metadata"]["name"].as_str());
    names
        .filter_map(|name| {
            let short = name.strip_prefix("system:controller:")?;
            Some(binding(name, name, &format!("sa=kube-system/{short},user={user}")))
        })
        .collect()
}

fn object(kind: &str, name: &str) -> Value {
    let (kind, mut metadata) = match name.split_once('/') {
        Some((namespace, name)) => (kind.to_owned(), json!({"name": name, "namespace": namespace})),
        None => (format!("Cluster{kind}"), json!({"name": name})),
    };
    metadata["labels"] = json!({LABEL.0: LABEL.1});
    metadata["annotations"] = json!({AUTOUPDATE: "true"});
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::rbac::Rbac;
    use crate::security::{AUTHENTICATED, Attributes, Authorizer, MASTERS, User};

    #[test]
    fn the_table_reads_into_whole_objects() {
        let objects = objects();
        let count = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).count();
        assert!(count("ClusterRole") >= 70 && count("Role") == 8 && count("RoleBinding") == 8);
        let view = objects.iter().find(|object| object["metadata"]["name"] == "view").unwrap();
        assert_eq!(view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"], "true");
        for object in objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Role")) {
            for rule in object["rules"].as_array().unwrap() {
                assert!(rule["resources"].is_array() != rule["nonResourceURLs"].is_array(), "{object}");
            }
        }
    }

    #[test]
    fn everyone_may_do_their_work_and_no_more() {
        let objects = objects();
        let index = Rbac::build(&objects);
        let table = [
            (User::new("admin", &[MASTERS]), "delete", "", "secrets", true),
            (User::new("x", &[AUTHENTICATED]), "list", "", "pods", false),
            (
                User::new("x", &[AUTHENTICATED]),
                "create",
                "authorization.k8s.io",
                "selfsubjectaccessreviews",
                true,
            ),
            (User::new("system:kube-scheduler", &[]), "list", "", "pods", true),
            (User::new("system:kube-scheduler", &[]), "get", "", "secrets", false),
            (User::new("system:kube-controller-manager", &[]), "create", "", "pods", true),
            (User::new("system:kube-controller-manager", &[]), "update", "apps", "replicasets", true),
            (
                User::new("system:kube-controller-manager", &[]),
                "create",
                "discovery.k8s.io",
                "endpointslices",
                true,
            ),
            (User::new("system:kube-proxy", &[]), "watch", "discovery.k8s.io", "endpointslices", true),
            (User::new("system:kube-proxy", &[]), "watch", "", "namespaces", true),
            (User::new("system:kube-proxy", &[]), "list", "", "secrets", false),
            (User::new("system:node:a", &["system:nodes", AUTHENTICATED]), "get", "", "secrets", false),
        ];
        for (user, verb, group, resource, expected) in table {
            let asked = Attributes {
                user: &user,
                verb,
                group,
                resource,
                resource_request: true,
                ..Attributes::default()
            };
            assert_eq!(index.authorize(&asked).is_allowed(), expected, "{} {verb} {resource}", user.name);
        }
    }

    #[test]
    fn admin_holds_what_edit_and_view_hold() {
        let objects = objects();
        let index = Rbac::build(&objects);
        let rules = |name: &str| index.rules_of("", name).unwrap();
        assert!(!rules("view").is_empty());
        for (more, less) in [("edit", "view"), ("admin", "edit")] {
            let (covered, missing) = crate::security::rbac::escalation::covers(&rules(more), &rules(less));
            assert!(covered, "{more} lacks {missing:?}");
        }
    }
}
