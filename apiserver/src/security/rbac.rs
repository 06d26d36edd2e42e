//! Role-based access control: roles and bindings compiled into an index by subject.
//!
//! A request looks up its user and groups, then only the bindings of its namespace and of the cluster scope; bindings
//! of other subjects and namespaces cost nothing. Matching as upstream's `component-helpers/auth/rbac`.
//!
//! An aggregated ClusterRole has the rules of the roles that it selects, at once and transitively; its own `rules` are
//! the control plane's copy and are not read.

pub mod escalation;
mod role;
pub mod rule;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::authenticate::Errors;
pub use super::forbidden;
use super::{Attributes, Authorizer, Decision, KnownRules, User, text};
use role::{Binding, Role, selects};
pub use rule::Rule;

/// The group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Namespace (empty for a ClusterRole) and name.
type RoleKey = (String, String);
/// The roles granted in one scope, each with the bindings that do so.
type Grants = BTreeMap<RoleKey, BTreeSet<String>>;

/// The index.
#[derive(Debug, Default)]
pub struct Rbac {
    roles: HashMap<RoleKey, Role>,
    bindings: HashMap<RoleKey, Binding>,
    users: HashMap<String, Scopes>,
    groups: HashMap<String, Scopes>,
}

/// What one subject is granted: by namespace, the cluster scope under the empty name.
type Scopes = HashMap<String, Grants>;

impl Rbac {
    /// The index of `objects`: Roles, ClusterRoles, RoleBindings and ClusterRoleBindings in any order; others are
    /// passed over.
    pub fn build<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut index = Self::default();
        for object in objects {
            index.put(object);
        }
        index.aggregate();
        index
    }

    /// Takes one change in. `kind` is `Role`, `ClusterRole`, `RoleBinding` or `ClusterRoleBinding`; others are passed
    /// over. `new` is `None` for a deletion.
    pub fn update(&mut self, kind: &str, old: Option<&Value>, new: Option<&Value>) {
        if let (Some(old), None) = (old, new) {
            let key = key(kind, old);
            match kind {
                "Role" | "ClusterRole" => drop(self.roles.remove(&key)),
                "RoleBinding" | "ClusterRoleBinding" => self.unbind(&key),
                _ => {}
            }
        }
        if let Some(new) = new {
            self.put_as(kind, new);
        }
        if kind == "ClusterRole" {
            self.aggregate();
        }
    }

    /// The effective rules of a role: `namespace` is empty for a ClusterRole.
    pub fn rules_of(&self, namespace: &str, name: &str) -> Option<Arc<[Rule]>> {
        self.roles.get(&(namespace.to_owned(), name.to_owned())).map(|role| role.rules.clone())
    }

    /// The rules that an aggregated ClusterRole should show, in the form of its `rules` field; `None` if it does not
    /// aggregate.
    pub fn aggregated(&self, name: &str) -> Option<Value> {
        let role = self.roles.get(&(String::new(), name.to_owned()))?;
        role.aggregates.as_ref()?;
        Some(role.rules.iter().map(Rule::to_object).collect())
    }

    /// Every rule that a user has in a namespace, cluster-wide ones included.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        self.visit(user, namespace, |grant| {
            rules.extend(grant.rules.into_iter().flat_map(|rules| rules.iter().cloned()));
            false
        });
        rules
    }

    fn put(&mut self, object: &Value) {
        self.put_as(text(object, "/kind"), object);
    }

    fn put_as(&mut self, kind: &str, object: &Value) {
        let key = key(kind, object);
        match kind {
            "Role" | "ClusterRole" => {
                self.roles.insert(key, Role::of(object));
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                self.unbind(&key);
                let binding = Binding::of(object, &key.0);
                for (index, subjects) in
                    [(&mut self.users, &binding.users), (&mut self.groups, &binding.groups)]
                {
                    for subject in subjects {
                        let scopes = index.entry(subject.clone()).or_default();
                        let grants = scopes.entry(key.0.clone()).or_default();
                        grants.entry(binding.role.clone()).or_default().insert(key.1.clone());
                    }
                }
                self.bindings.insert(key, binding);
            }
            _ => {}
        }
    }

    fn unbind(&mut self, key: &RoleKey) {
        let Some(binding) = self.bindings.remove(key) else { return };
        remove(&mut self.users, &binding.users, &binding.role, key);
        remove(&mut self.groups, &binding.groups, &binding.role, key);
    }

    fn aggregate(&mut self) {
        let names: Vec<String> = self
            .roles
            .iter()
            .filter(|(key, role)| key.0.is_empty() && role.aggregates.is_some())
            .map(|(key, _)| key.1.clone())
            .collect();
        for name in names {
            let mut rules = Vec::new();
            self.gather(&name, &mut BTreeSet::new(), &mut rules);
            if let Some(role) = self.roles.get_mut(&(String::new(), name)) {
                role.rules = rules.into();
            }
        }
    }

    fn gather(&self, name: &str, seen: &mut BTreeSet<String>, into: &mut Vec<Rule>) {
        if !seen.insert(name.to_owned()) {
            return;
        }
        let Some(role) = self.roles.get(&(String::new(), name.to_owned())) else { return };
        let Some(selectors) = &role.aggregates else {
            // Two roles often share rules; once is enough.
            into.extend(role.own.iter().filter(|rule| !into.contains(rule)).cloned().collect::<Vec<_>>());
            return;
        };
        let mut chosen: Vec<&str> = self
            .roles
            .iter()
            .filter(|(key, other)| {
                key.0.is_empty() && selectors.iter().any(|selector| selects(selector, &other.labels))
            })
            .map(|(key, _)| key.1.as_str())
            .collect();
        chosen.sort_unstable();
        for other in chosen {
            self.gather(other, seen, into);
        }
    }

    /// Calls `visitor` with each role granted to a user, those of the cluster first, until it returns `true`.
    fn visit(&self, user: &User, namespace: &str, mut visitor: impl FnMut(&Grant<'_>) -> bool) {
        let places = if namespace.is_empty() { &[""][..] } else { &["", namespace][..] };
        let subjects = std::iter::once(Subject::User(&user.name))
            .chain(user.groups.iter().map(|group| Subject::Group(group)));
        for subject in subjects {
            let scopes = match subject {
                Subject::User(name) => self.users.get(name),
                Subject::Group(name) => self.groups.get(name),
            };
            let Some(scopes) = scopes else { continue };
            for place in places {
                for (key, bindings) in scopes.get(*place).into_iter().flatten() {
                    let rules = self.roles.get(key).map(|role| &*role.rules);
                    let binding = bindings.first().map_or("", String::as_str);
                    if visitor(&Grant { role: key, rules, scope: place, binding, subject }) {
                        return;
                    }
                }
            }
        }
    }
}

/// A role that someone is granted.
struct Grant<'a> {
    role: &'a RoleKey,
    /// Nothing if there is no such role.
    rules: Option<&'a [Rule]>,
    /// The namespace in which it is granted; empty for the cluster.
    scope: &'a str,
    binding: &'a str,
    subject: Subject<'a>,
}

impl Grant<'_> {
    /// Why, in upstream's words.
    fn reason(&self) -> String {
        let kind = if self.role.0.is_empty() { "ClusterRole" } else { "Role" };
        let (binding, scope, role, subject) = (self.binding, self.scope, &self.role.1, self.subject);
        match scope {
            "" => format!("RBAC: allowed by ClusterRoleBinding {binding:?} of {kind} {role:?} to {subject}"),
            scope => {
                format!("RBAC: allowed by RoleBinding \"{binding}/{scope}\" of {kind} {role:?} to {subject}")
            }
        }
    }

    /// That there is no such role, in upstream's words.
    fn missing(&self) -> String {
        let kind = if self.role.0.is_empty() { "clusterrole" } else { "role" };
        format!("{kind}.{GROUP} {:?} not found", self.role.1)
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let (mut why, mut missing) = (None, Errors::default());
        let namespace = if attributes.resource_request { attributes.namespace } else { "" };
        self.visit(attributes.user, namespace, |grant| {
            let Some(rules) = grant.rules else {
                missing.add(grant.missing());
                return false;
            };
            let allowed = rules.iter().any(|rule| rule.allows(attributes));
            if allowed {
                why = Some(grant.reason());
            }
            allowed
        });
        match (why, missing.text()) {
            (Some(why), _) => Decision::Allow(why),
            (None, missing) if missing.is_empty() => Decision::NoOpinion(missing),
            (None, missing) => Decision::NoOpinion(format!("RBAC: {missing}")),
        }
    }

    fn rules(&self, user: &User, namespace: &str) -> KnownRules {
        let mut missing = Errors::default();
        self.visit(user, namespace, |grant| {
            if grant.rules.is_none() {
                missing.add(grant.missing());
            }
            false
        });
        KnownRules { rules: self.rules_for(user, namespace), incomplete: false, error: missing.text() }
    }
}

#[derive(Clone, Copy)]
enum Subject<'a> {
    User(&'a str),
    Group(&'a str),
}

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group(name) => write!(f, "Group {name:?}"),
            Self::User(name) => {
                match name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
                    Some((namespace, name)) => write!(f, "ServiceAccount \"{name}/{namespace}\""),
                    None => write!(f, "User {name:?}"),
                }
            }
        }
    }
}

fn key(kind: &str, object: &Value) -> RoleKey {
    let namespace = if kind.starts_with("Cluster") { "" } else { text(object, "/metadata/namespace") };
    (namespace.to_owned(), text(object, "/metadata/name").to_owned())
}

fn remove(index: &mut HashMap<String, Scopes>, subjects: &[String], role: &RoleKey, binding: &RoleKey) {
    for subject in subjects {
        let Some(scopes) = index.get_mut(subject) else { continue };
        if let Some(grants) = scopes.get_mut(&binding.0) {
            if let Some(names) = grants.get_mut(role) {
                names.remove(&binding.1);
                if names.is_empty() {
                    grants.remove(role);
                }
            }
            if grants.is_empty() {
                scopes.remove(&binding.0);
            }
        }
        if scopes.is_empty() {
            index.remove(subject);
        }
    }
}

#[cfg(test)]
mod tests;
