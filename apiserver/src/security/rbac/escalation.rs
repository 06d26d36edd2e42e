//! No one may give away rights that they do not have: the check on writes of roles and bindings.
//!
//! Behaviour and messages as upstream's `pkg/registry/rbac` (`escalation_check.go`, `validation/rule.go`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use skiff_api::status::Status;

use super::{GROUP, Rbac, Rule};
use crate::security::{Attributes, Authorizer, MASTERS, User, items, text};

/// Whether `owner` allows all that `wanted` allows, and the pieces that it does not.
pub fn covers(owner: &[Rule], wanted: &[Rule]) -> (bool, Vec<Rule>) {
    let missing: Vec<Rule> = wanted
        .iter()
        .flat_map(Rule::pieces)
        .filter(|piece| !owner.iter().any(|own| own.covers(piece)))
        .collect();
    (missing.is_empty(), missing)
}

impl Rbac {
    /// Refuses a write of a Role, ClusterRole, RoleBinding or ClusterRoleBinding by which `user` would grant what they
    /// do not hold themselves. Other kinds pass.
    ///
    /// # Errors
    /// 403 naming the missing rights; 404 for a binding to a role that does not exist, unless the user may `bind` it.
    pub fn check_escalation(
        &self,
        user: &User,
        kind: &str,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), Status> {
        if user.is_in(MASTERS) || old.is_some_and(|old| only_collection_fields_differ(old, new)) {
            return Ok(());
        }
        let (resource, is_role) = match kind {
            "Role" => ("roles", true),
            "ClusterRole" => ("clusterroles", true),
            "RoleBinding" => ("rolebindings", false),
            "ClusterRoleBinding" => ("clusterrolebindings", false),
            _ => return Ok(()),
        };
        let cluster = kind.starts_with("Cluster");
        let namespace = if cluster { "" } else { text(new, "/metadata/namespace") };
        let name = text(new, "/metadata/name");
        let may = |verb, resource, name| {
            let asked = Attributes {
                user,
                verb,
                group: GROUP,
                version: "*",
                resource,
                namespace,
                name,
                resource_request: true,
                ..Attributes::default()
            };
            self.authorize(&asked).is_allowed()
        };
        let wanted: Vec<Rule> = if is_role {
            if may("escalate", resource, name) {
                return Ok(());
            }
            let aggregates = |role: &Value| role.get("aggregationRule").is_some_and(Value::is_object);
            if aggregates(new) || old.is_some_and(aggregates) {
                // A selector may gather anything, now or later.
                self.require(user, namespace, &everything(), resource, name)?;
            }
            items(new, "/rules").iter().map(Rule::of).collect()
        } else {
            let role = text(new, "/roleRef/name");
            let (roles, role_namespace) = match text(new, "/roleRef/kind") {
                "Role" => ("roles", namespace),
                _ => ("clusterroles", ""),
            };
            if may("bind", roles, role) {
                return Ok(());
            }
            let rules = self.rules_of(role_namespace, role);
            rules.ok_or_else(|| Status::not_found(GROUP, roles, role))?.to_vec()
        };
        self.require(user, namespace, &wanted, resource, name)
    }

    fn require(
        &self,
        user: &User,
        namespace: &str,
        wanted: &[Rule],
        resource: &str,
        name: &str,
    ) -> Result<(), Status> {
        let (covered, missing) = covers(&self.rules_for(user, namespace), wanted);
        if covered {
            return Ok(());
        }
        let why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            list(&user.groups),
            describe(&missing)
        );
        Err(Status::forbidden(GROUP, resource, name, &why))
    }
}

pub(crate) fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), urls: all(), ..Rule::default() },
    ]
}

/// Pieces that differ in the verb alone share a line.
fn describe(missing: &[Rule]) -> String {
    let mut lines: BTreeMap<Rule, BTreeSet<String>> = BTreeMap::new();
    for piece in missing {
        let what = Rule { verbs: Vec::new(), ..piece.clone() };
        lines.entry(what).or_default().extend(piece.verbs.iter().cloned());
    }
    let lines: BTreeSet<String> = lines
        .into_iter()
        .map(|(rule, verbs)| compact(&Rule { verbs: verbs.into_iter().collect(), ..rule }))
        .collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn compact(rule: &Rule) -> String {
    let parts: Vec<String> = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.urls),
        ("ResourceNames", &rule.names),
        ("Verbs", &rule.verbs),
    ]
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .map(|(key, values)| format!("{key}:{}", list(values)))
    .collect();
    format!("{{{}}}", parts.join(", "))
}

fn list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", values.join(" "))
}

/// The garbage collector and clients that finish a deletion change these; they grant nothing.
pub(crate) fn only_collection_fields_differ(old: &Value, new: &Value) -> bool {
    let stripped = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in [
                "ownerReferences",
                "finalizers",
                "managedFields",
                "resourceVersion",
                "generation",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
            ] {
                metadata.remove(field);
            }
        }
        object
    };
    stripped(old) == stripped(new)
}
