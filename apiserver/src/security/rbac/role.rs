//! Roles and bindings, read from their objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{RoleKey, Rule};
use crate::security::{items, text};

#[derive(Debug)]
pub(super) struct Role {
    pub(super) own: Arc<[Rule]>,
    pub(super) labels: BTreeMap<String, String>,
    /// Label selectors; `None` for a role that does not aggregate.
    pub(super) aggregates: Option<Vec<Value>>,
    /// What counts: `own`, or what is aggregated.
    pub(super) rules: Arc<[Rule]>,
}

#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub(super) role: RoleKey,
    pub(super) users: Vec<String>,
    pub(super) groups: Vec<String>,
}

impl Role {
    pub(super) fn of(object: &Value) -> Self {
        let own: Arc<[Rule]> = items(object, "/rules").iter().map(Rule::of).collect();
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
        let labels = labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        let aggregates = object
            .pointer("/aggregationRule")
            .filter(|rule| rule.is_object())
            .map(|_| items(object, "/aggregationRule/clusterRoleSelectors").to_vec());
        Self { rules: own.clone(), own, labels, aggregates }
    }
}

impl Binding {
    pub(super) fn of(object: &Value, namespace: &str) -> Self {
        let role_namespace = if text(object, "/roleRef/kind") == "Role" { namespace } else { "" };
        let role = (role_namespace.to_owned(), text(object, "/roleRef/name").to_owned());
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for subject in items(object, "/subjects") {
            let name = text(subject, "/name");
            match text(subject, "/kind") {
                "User" => users.push(name.to_owned()),
                "Group" => groups.push(name.to_owned()),
                "ServiceAccount" => {
                    let own = text(subject, "/namespace");
                    let own = if own.is_empty() { namespace } else { own };
                    if !own.is_empty() {
                        users.push(crate::security::token::user_name(own, name));
                    }
                }
                _ => {}
            }
        }
        Self { role, users, groups }
    }
}

/// Whether a label selector (an object) selects labels. An empty one selects everything.
pub(super) fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let wanted = selector.pointer("/matchLabels").and_then(Value::as_object);
    let equal = wanted
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str());
    equal
        && items(selector, "/matchExpressions").iter().all(|expression| {
            let have = labels.get(text(expression, "/key"));
            let listed = have.is_some_and(|have| {
                items(expression, "/values").iter().any(|value| value.as_str() == Some(have.as_str()))
            });
            match text(expression, "/operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => have.is_some(),
                "DoesNotExist" => have.is_none(),
                _ => false,
            }
        })
}
