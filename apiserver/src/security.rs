//! Who asks, and what they may do.
//!
//! Everything here is a pure function over values: no clock of its own beyond what is passed in, no I/O, no
//! knowledge of how objects are stored ([`Objects`] is the one window on them). The parts:
//!
//! - [`authenticate`]: client certificates and tokens become a [`User`]; nothing else does.
//! - [`rbac`]: roles and bindings compiled into an index by subject.
//! - [`node`]: what a node agent may touch, derived from the pods that are bound to it.
//! - [`authority`]: the two joined, in upstream's order (privileged group, Node, RBAC).
//! - [`bootstrap`]: the roles and bindings that a cluster starts with.
//! - [`review`]: the API's own questions about all of this.
//!
//! Invariant: no opinion is no permission. Only [`Decision::Allow`] lets a request through.

pub mod authenticate;
pub mod authority;
pub mod bootstrap;
pub mod certificate;
pub mod node;
pub mod rbac;
pub mod restriction;
pub mod review;
pub mod token;
pub mod token_request;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use skiff_api::status::Status;

use crate::request::RequestInfo;

pub use authenticate::{Authenticator, Credentials};
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

static NOBODY: User =
    User { name: String::new(), uid: String::new(), groups: Vec::new(), extra: BTreeMap::new() };

/// What is asked for, as upstream's `authorizer.Attributes`. Borrowed: deciding allocates nothing.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or a virtual verb.
    pub verb: &'a str,
    /// Empty for the core group.
    pub group: &'a str,
    /// Such as `v1`.
    pub version: &'a str,
    /// The plural.
    pub resource: &'a str,
    /// Empty if none.
    pub subresource: &'a str,
    /// Empty for the cluster scope.
    pub namespace: &'a str,
    /// Empty if none.
    pub name: &'a str,
    /// The path, for requests that name no resource.
    pub path: &'a str,
    /// Whether a resource is asked for.
    pub resource_request: bool,
    /// The raw field selector of the request, or empty.
    pub field_selector: &'a str,
    /// The raw label selector of the request, or empty.
    pub label_selector: &'a str,
}

impl Default for Attributes<'_> {
    fn default() -> Self {
        Self {
            user: &NOBODY,
            verb: "",
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            resource_request: false,
            field_selector: "",
            label_selector: "",
        }
    }
}

impl<'a> Attributes<'a> {
    /// The attributes of a request that was taken apart.
    pub fn of(
        user: &'a User,
        info: &'a RequestInfo,
        field_selector: &'a str,
        label_selector: &'a str,
    ) -> Self {
        let mut attributes = Self {
            user,
            verb: &info.verb,
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            path: &info.path,
            resource_request: info.is_resource,
            field_selector,
            label_selector,
        };
        // A list or watch of one object by its name is decided by that name, as upstream does.
        if info.name.is_empty() && matches!(attributes.verb, "list" | "watch" | "deletecollection") {
            attributes.name = attributes.selected_field("metadata.name").unwrap_or_default();
        }
        attributes
    }

    /// The value that the field selector demands of `field` by equality.
    pub fn selected_field(&self, field: &str) -> Option<&'a str> {
        self.field_selector.split(',').find_map(|part| {
            let (key, value) = part.split_once('=')?;
            // `!=` leaves its mark at the end of the key, `==` at the start of the value.
            (key == field).then(|| value.strip_prefix('=').unwrap_or(value))
        })
    }
}

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

    /// The rules that a user has in a namespace, and whether these are all.
    fn rules(&self, _user: &User, _namespace: &str) -> (Vec<rbac::Rule>, bool) {
        (Vec::new(), false)
    }
}

/// The one window on stored objects: the current state, by plural, namespace (empty for the cluster scope), name.
pub trait Objects: Send + Sync {
    /// The object, if it exists. `resource` is the plural of the core group (`pods`, `serviceaccounts`, …).
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
}

/// The refusal that a client sees, in upstream's words (`apiserver/…/responsewriters/errors.go`).
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Status {
    let user = &attributes.user.name;
    let verb = attributes.verb;
    if !attributes.resource_request {
        let message = format!("forbidden: User {user:?} cannot {verb} path {:?}", attributes.path);
        let message = if reason.is_empty() { message } else { format!("{message}: {reason}") };
        return Status::forbidden("", "", "", "").with_message(message);
    }
    let resource = match attributes.subresource {
        "" => attributes.resource.to_owned(),
        subresource => format!("{}/{subresource}", attributes.resource),
    };
    let place = match attributes.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let mut why = format!(
        "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
        attributes.group
    );
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    Status::forbidden(attributes.group, attributes.resource, attributes.name, &why)
}

trait WithMessage {
    fn with_message(self, message: String) -> Self;
}

impl WithMessage for Status {
    fn with_message(mut self, message: String) -> Self {
        self.message = message;
        self
    }
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
    fn field_selectors_are_read_for_equality_only() {
        let table = [
            ("spec.nodeName=a", Some("a")),
            ("status.phase!=Failed,spec.nodeName==a", Some("a")),
            ("spec.nodeName!=a", None),
            ("", None),
        ];
        for (selector, expected) in table {
            let attributes = Attributes { field_selector: selector, ..Attributes::default() };
            assert_eq!(attributes.selected_field("spec.nodeName"), expected, "{selector}");
        }
    }

    #[test]
    fn only_members_of_the_nodes_group_are_nodes() {
        assert_eq!(User::new("system:node:a", &[NODES]).node(), Some("a"));
        assert_eq!(User::new("system:node:a", &[]).node(), None);
        assert_eq!(User::new("system:node:", &[NODES]).node(), None);
    }
}
