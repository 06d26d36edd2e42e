//! Who asks, and what they may do.
//!
//! Nearly everything here is a pure function over values: no clock of its own beyond what is passed in, no I/O, no
//! knowledge of how objects are stored ([`Objects`] is the one window on them). What asks servers outside does it by [`remote`]. The parts:
//!
//! - [`authenticate`]: certificates, tokens and a proxy's headers become a [`User`]; nothing else does.
//! - [`impersonate`]: who may ask as someone else.
//! - [`rbac`]: roles and bindings compiled into an index by subject.
//! - [`node`]: what a node agent may touch, derived from the pods that are bound to it.
//! - [`authorize`]: the authorizers in the order that is wanted, webhooks among them.
//! - [`authority`]: the two joined, in upstream's order (privileged group, Node, RBAC).
//! - [`bootstrap`]: the roles and bindings that a cluster starts with.
//! - [`review`]: the API's own questions about all of this.
//!
//! Invariant: no opinion is no permission. Only [`Decision::Allow`] lets a request through.

mod attributes;
pub mod authenticate;
pub mod authority;
pub mod authorize;
pub mod bootstrap;
pub mod certificate;
pub mod impersonate;
pub mod node;
pub mod rbac;
pub mod remote;
pub mod restriction;
pub mod review;
pub mod tls;
pub mod token;
pub mod token_request;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use skiff_api::status::Status;

pub use attributes::Attributes;
pub use authenticate::Authenticator;
pub use authority::Authority;
pub use token::ServiceAccountTokens;

/// Members may do everything; upstream asks no authorizer about them.
pub const MASTERS: &str = "system:masters";
/// Everyone who showed credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everyone who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of who showed no credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of the node agents.
pub const NODES: &str = "system:nodes";

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Such as `system:kube-scheduler`.
    pub name: String,
    /// Empty if the credentials carry none.
    pub uid: String,
    /// The groups, `system:authenticated` included.
    pub groups: Vec<String>,
    /// Further facts about the credentials.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with groups and nothing else.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        Self {
            name: name.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Who showed no credentials.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, &[UNAUTHENTICATED])
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The node whose agent this is, if it is one.
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:")?;
        (!name.is_empty() && self.is_in(NODES)).then_some(name)
    }
}

/// Credentials that are not believed, or a key that is not usable: why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// What an authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and why.
    Allow(String),
    /// Not by this authorizer; the reason may be empty.
    NoOpinion(String),
    /// No, whatever others say.
    Deny(String),
}

impl Decision {
    /// Whether the request may pass.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Why.
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(reason) | Self::NoOpinion(reason) | Self::Deny(reason) => reason,
        }
    }
}

/// Decides about requests.
pub trait Authorizer: Send + Sync {
    /// Whether a request may pass.
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// The rules that a user has in a namespace.
    fn rules(&self, user: &User, namespace: &str) -> KnownRules;
}

/// Decides about requests, perhaps by asking others.
#[async_trait::async_trait]
pub trait Authorization: Send + Sync {
    /// Whether a request may pass.
    async fn decide(&self, attributes: &Attributes<'_>) -> Decision;

    /// The rules that a user has in a namespace.
    fn rules_for(&self, user: &User, namespace: &str) -> KnownRules;
}

/// The rules that someone has, as far as they can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownRules {
    /// The rules.
    pub rules: Vec<rbac::Rule>,
    /// Whether there may be more.
    pub incomplete: bool,
    /// Why.
    pub error: String,
}

#[async_trait::async_trait]
impl<T: Authorizer> Authorization for T {
    async fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        self.authorize(attributes)
    }

    fn rules_for(&self, user: &User, namespace: &str) -> KnownRules {
        self.rules(user, namespace)
    }
}

/// The one window on stored objects: the current state, by plural, namespace (empty for the cluster scope), name.
pub trait Objects: Send + Sync {
    /// The object, if it exists. `resource` is the plural of the core group (`pods`, `serviceaccounts`, …).
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// What changes whenever the object does; nothing if it does not exist.
    fn stamp(&self, resource: &str, namespace: &str, name: &str) -> Option<u64>;
}

/// The refusal that a client sees, in upstream's words (`apiserver/…/responsewriters/errors.go`).
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Status {
    let user = &attributes.user.name;
    let verb = attributes.verb;
    if !attributes.resource_request {
        let message = format!("User {user:?} cannot {verb} path {:?}", attributes.path);
        let message = format!("forbidden: {}", sanitized(&message));
        let message = if reason.is_empty() { message } else { format!("{message}: {reason}") };
        let mut status = Status::forbidden("", "", "", "");
        status.message = message;
        return status;
    }
    let resource = match attributes.subresource {
        "" => attributes.resource.to_owned(),
        subresource => format!("{}/{subresource}", attributes.resource),
    };
    let place = match attributes.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let mut why = sanitized(&format!(
        "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
        attributes.group
    ));
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    Status::forbidden(attributes.group, attributes.resource, attributes.name, &why)
}

/// A browser that shows a refusal must not find a page in it.
fn sanitized(message: &str) -> String {
    message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The text at a JSON pointer, or the empty string.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list at a JSON pointer; none if it is not there.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A list of texts at a JSON pointer.
pub(crate) fn texts(object: &Value, pointer: &str) -> Vec<String> {
    items(object, pointer).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_worded_as_upstream_words_them() {
        let user = User::new("x", &[]);
        let base = Attributes { user: &user, verb: "list", resource_request: true, ..Attributes::default() };
        let table = [
            (
                Attributes { group: "apps", resource: "deployments", namespace: "default", ..base },
                r#"deployments.apps is forbidden: User "x" cannot list resource "deployments" in API group "apps" in the namespace "default""#,
            ),
            (
                Attributes { resource: "nodes", ..base },
                r#"nodes is forbidden: User "x" cannot list resource "nodes" in API group "" at the cluster scope"#,
            ),
            (
                Attributes {
                    resource: "pods",
                    subresource: "log",
                    name: "p",
                    namespace: "a",
                    verb: "get",
                    ..base
                },
                r#"pods "p" is forbidden: User "x" cannot get resource "pods/log" in API group "" in the namespace "a""#,
            ),
            (
                Attributes { resource_request: false, verb: "get", path: "/metrics", ..base },
                r#"forbidden: User "x" cannot get path "/metrics""#,
            ),
        ];
        for (attributes, expected) in table {
            let status = forbidden(&attributes, "");
            assert_eq!((status.code, status.message.as_str()), (403, expected));
        }
    }

    #[test]
    fn only_members_of_the_nodes_group_are_nodes() {
        assert_eq!(User::new("system:node:a", &[NODES]).node(), Some("a"));
        assert_eq!(User::new("system:node:a", &[]).node(), None);
        assert_eq!(User::new("system:node:", &[NODES]).node(), None);
    }
}
