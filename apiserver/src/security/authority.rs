//! All authorizers joined, in upstream's order: the privileged group, then Node, then RBAC.

use serde_json::Value;
use skiff_api::status::Status;

use super::node::NodeGraph;
use super::rbac::Rbac;
use super::{Attributes, Authorizer, Decision, KnownRules, MASTERS, NODES, User};

/// Decides about every request. It must be fed ([`Authority::update`]) with each change of a kind in
/// [`Authority::FOLLOWED`].
#[derive(Debug, Default)]
pub struct Authority {
    rbac: Rbac,
    nodes: NodeGraph,
}

impl Authority {
    /// The kinds whose changes must be passed to [`Authority::update`], each with its group and plural.
    pub const FOLLOWED: [(&'static str, &'static str, &'static str); 7] = [
        ("rbac.authorization.k8s.io", "roles", "Role"),
        ("rbac.authorization.k8s.io", "clusterroles", "ClusterRole"),
        ("rbac.authorization.k8s.io", "rolebindings", "RoleBinding"),
        ("rbac.authorization.k8s.io", "clusterrolebindings", "ClusterRoleBinding"),
        ("", "pods", "Pod"),
        ("", "persistentvolumes", "PersistentVolume"),
        ("storage.k8s.io", "volumeattachments", "VolumeAttachment"),
    ];

    /// Knows nobody but the privileged group yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one change in; `old` is `None` for what is new, `new` for what is gone. Other kinds are passed over.
    pub fn update(&mut self, kind: &str, old: Option<&Value>, new: Option<&Value>) {
        match kind {
            "Pod" => self.nodes.pod(old, new),
            "PersistentVolume" => self.nodes.volume(old, new),
            "VolumeAttachment" => self.nodes.attachment(old, new),
            _ => self.rbac.update(kind, old, new),
        }
    }

    /// Refuses a write of a role or binding by which a user would grant what they do not hold; see
    /// [`Rbac::check_escalation`].
    ///
    /// # Errors
    /// 403, or 404 for a role that does not exist.
    pub fn check_escalation(
        &self,
        user: &User,
        kind: &str,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), Status> {
        self.rbac.check_escalation(user, kind, old, new)
    }

    /// What the Node authorizer says.
    pub fn node(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in(NODES) {
            self.nodes.authorize(attributes)
        } else {
            Decision::NoOpinion(String::new())
        }
    }

    /// What RBAC says.
    pub fn rbac(&self, attributes: &Attributes<'_>) -> Decision {
        self.rbac.authorize(attributes)
    }

    /// The rules that the Node authorizer can tell: none, and why.
    pub fn node_rules(&self, user: &User, namespace: &str) -> KnownRules {
        self.nodes.rules(user, namespace)
    }

    /// The rules that RBAC knows.
    pub fn rbac_rules(&self, user: &User, namespace: &str) -> KnownRules {
        self.rbac.rules(user, namespace)
    }

    /// What an aggregated ClusterRole should show as its `rules`.
    pub fn aggregated(&self, name: &str) -> Option<Value> {
        self.rbac.aggregated(name)
    }
}

impl Authorizer for Authority {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reason = String::new();
        if attributes.user.is_in(NODES) {
            match self.nodes.authorize(attributes) {
                Decision::NoOpinion(why) => reason = why,
                decided => return decided,
            }
        }
        match self.rbac.authorize(attributes) {
            Decision::NoOpinion(why) if reason.is_empty() => Decision::NoOpinion(why),
            Decision::NoOpinion(why) if why.is_empty() => Decision::NoOpinion(reason),
            Decision::NoOpinion(why) => Decision::NoOpinion(format!("{reason}\n{why}")),
            decided => decided,
        }
    }

    fn rules(&self, user: &User, namespace: &str) -> KnownRules {
        let mut rules = Vec::new();
        if user.is_in(MASTERS) {
            rules.extend(super::rbac::escalation::everything());
        }
        // What a node may do depends on objects, not on rules alone.
        let (nodes, roles) = (self.nodes.rules(user, namespace), self.rbac.rules(user, namespace));
        let mut errors = super::authenticate::Errors::default();
        [nodes.error, roles.error].into_iter().filter(|why| !why.is_empty()).for_each(|why| errors.add(why));
        rules.extend(roles.rules);
        KnownRules { rules, incomplete: nodes.incomplete, error: errors.text() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::bootstrap;

    #[test]
    fn each_authorizer_has_its_say() {
        let mut authority = Authority::new();
        let (admin, node) = (User::new("a", &[MASTERS]), User::new("system:node:n", &[NODES]));
        let scheduler = User::new("system:kube-scheduler", &[]);
        let ask = |authority: &Authority, user, verb, resource, name| {
            let asked = Attributes {
                user,
                verb,
                resource,
                name,
                resource_request: true,
                namespace: "kube-system",
                ..Attributes::default()
            };
            authority.authorize(&asked)
        };
        assert!(ask(&authority, &admin, "delete", "nodes", "").is_allowed());
        assert!(!ask(&authority, &scheduler, "list", "pods", "").is_allowed());
        for object in bootstrap::objects() {
            authority.update(object["kind"].as_str().unwrap(), None, Some(&object));
        }
        assert!(ask(&authority, &scheduler, "list", "pods", "").is_allowed());
        assert!(!ask(&authority, &scheduler, "list", "secrets", "").is_allowed());
        assert!(ask(&authority, &node, "get", "nodes", "n").is_allowed());
        assert_eq!(
            ask(&authority, &node, "get", "secrets", "s").reason(),
            "no relationship found between node 'n' and this object"
        );
    }
}
