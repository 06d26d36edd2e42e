//! Asking as someone else: the `Impersonate-*` headers.
//!
//! Whoever asks must be allowed to be that user, in one of five modes, tried in upstream's order: the node that one's own pod runs on, any
//! node, a service account, another user (each may be limited to certain requests by the verb `impersonate-on:MODE:VERB`), and last the
//! verb `impersonate` alone, which covers all requests. Behaviour and messages as upstream's
//! `apiserver/pkg/endpoints/filters/impersonation`.

use std::collections::BTreeMap;

use http::HeaderMap;
use skiff_api::name::{dns1123_label, dns1123_subdomain};
use skiff_api::status::Status;

use super::authenticate::credentials::extra_key;
use super::{
    ANONYMOUS, AUTHENTICATED, Attributes, Authorization, MASTERS, NODES, UNAUTHENTICATED, User, forbidden,
    token,
};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// The fact that tells on which node a service account's pod runs.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Takes the headers out of a request and says as whom it wants to be seen.
///
/// # Errors
/// 400 if groups, a uid or more are wanted of no one.
pub fn take(headers: &mut HeaderMap) -> Result<Option<User>, Status> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut wanted = User {
        name: first(USER),
        uid: first(UID),
        groups: headers.get_all(GROUP).iter().map(text).collect(),
        ..User::default()
    };
    for (name, value) in &*headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            wanted.extra.entry(extra_key(key)).or_default().push(text(value));
        }
    }
    if wanted.name.is_empty() {
        if wanted == User::default() {
            return Ok(None);
        }
        return Err(Status::bad_request(format!(
            "requested {} without impersonating a user name",
            as_go(&wanted)
        )));
    }
    let gone: Vec<http::HeaderName> = headers
        .keys()
        .filter(|name| [USER, UID, GROUP].contains(&name.as_str()) || name.as_str().starts_with(EXTRA))
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
    Ok(Some(wanted))
}

/// Who a request is made as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonated {
    /// The user.
    pub user: User,
    /// The verb that allowed it; empty for the unconstrained `impersonate`.
    pub constraint: String,
}

/// One way of being someone else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    /// `impersonate`, without a limit to certain requests.
    Whole,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Whole];

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Whole => "",
        }
    }

    fn verb(self) -> String {
        match self {
            Self::Whole => "impersonate".into(),
            mode => format!("impersonate:{}", mode.name()),
        }
    }

    /// Whether the mode is about such a user at all.
    fn fits(self, wanted: &User, requester: &User) -> bool {
        let bare = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let (node, account) = (node_of(&wanted.name), account_of(&wanted.name));
        match self {
            Self::AssociatedNode => {
                let own = requester.extra.get(NODE_NAME).map(Vec::as_slice);
                bare && account_of(&requester.name).is_some()
                    && node.is_some_and(|node| matches!(own, Some([own]) if own == node))
            }
            Self::ArbitraryNode => bare && node.is_some(),
            Self::ServiceAccount => bare && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Whole => true,
        }
    }
}

/// Whether the requester of `request` may make it as `wanted`.
///
/// # Errors
/// 403: the refusal of the first mode that fits.
pub async fn check(
    wanted: &User,
    request: &Attributes<'_>,
    authorizer: &dyn Authorization,
) -> Result<Impersonated, Status> {
    let mut first = None;
    for mode in MODES.into_iter().filter(|mode| mode.fits(wanted, request.user)) {
        match in_mode(mode, wanted, request, authorizer).await {
            Ok(user) => {
                let constraint = if mode == Mode::Whole { String::new() } else { mode.verb() };
                return Ok(Impersonated { user, constraint });
            }
            Err(status) => first = first.or(Some(status)),
        }
    }
    Err(first.expect("the last mode fits everyone"))
}

async fn in_mode(
    mode: Mode,
    wanted: &User,
    request: &Attributes<'_>,
    authorizer: &dyn Authorization,
) -> Result<User, Status> {
    // Whether a pod's own node may be acted as must not hang on facts that differ from pod to pod.
    let mut requester = request.user.clone();
    if mode == Mode::AssociatedNode {
        let keys = requester.extra.keys().cloned().collect();
        requester.extra = [("authentication.kubernetes.io/associated-node-keys".to_owned(), keys)].into();
    }
    if mode != Mode::Whole {
        let verb = format!("impersonate-on:{}:{}", mode.name(), request.verb);
        ask(&Attributes { user: &requester, verb: &verb, ..*request }, authorizer).await?;
    }
    let verb = mode.verb();
    let base = Attributes {
        user: &requester,
        verb: &verb,
        group: AUTHENTICATION,
        version: "v1",
        resource_request: true,
        ..Attributes::default()
    };
    let mut user = wanted.clone();
    let mut named = Attributes { resource: "users", name: &wanted.name, ..base };
    if mode == Mode::Whole {
        named.group = "";
    }
    if let (Mode::AssociatedNode | Mode::ArbitraryNode, Some(node)) = (mode, node_of(&wanted.name)) {
        named.resource = "nodes";
        named.name = if mode == Mode::AssociatedNode { "*" } else { node };
        user.groups = vec![NODES.into()];
    }
    if let Some((namespace, name)) = account_of(&wanted.name) {
        (named.resource, named.namespace, named.name) = ("serviceaccounts", namespace, name);
        if wanted.groups.is_empty() {
            user.groups = token::groups(namespace);
        }
    }
    ask(&named, authorizer).await?;
    if !wanted.uid.is_empty() {
        ask(&Attributes { resource: "uids", name: &wanted.uid, ..base }, authorizer).await?;
    }
    let groups = Attributes { resource: "groups", group: named.group, ..base };
    may_have_groups(mode, &wanted.groups, &groups, authorizer).await?;
    let extra = Attributes { resource: "userextras", ..base };
    may_have_extra(mode, &wanted.extra, &extra, authorizer).await?;
    let group = match user.name.as_str() {
        ANONYMOUS => UNAUTHENTICATED,
        _ => AUTHENTICATED,
    };
    if !user.is_in(group) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(group.into());
    }
    Ok(user)
}

/// From so many on, one question about all of them is tried before one about each.
const MANY: usize = 4;

async fn may_have_groups(
    mode: Mode,
    groups: &[String],
    base: &Attributes<'_>,
    authorizer: &dyn Authorization,
) -> Result<(), Status> {
    if mode != Mode::Whole {
        if groups.iter().any(String::is_empty) {
            return Err(forbidden(base, "impersonating the empty string group is not allowed"));
        }
        if groups.iter().any(|group| group == MASTERS) {
            let asked = Attributes { name: MASTERS, ..*base };
            return Err(forbidden(&asked, "impersonating the system:masters group is not allowed"));
        }
        let all = Attributes { name: "*", ..*base };
        if groups.len() >= MANY && ask(&all, authorizer).await.is_ok() {
            return Ok(());
        }
    }
    for group in groups {
        ask(&Attributes { name: group, ..*base }, authorizer).await?;
    }
    Ok(())
}

async fn may_have_extra(
    mode: Mode,
    extra: &BTreeMap<String, Vec<String>>,
    base: &Attributes<'_>,
    authorizer: &dyn Authorization,
) -> Result<(), Status> {
    if mode != Mode::Whole {
        for (key, values) in extra {
            let why = if key.is_empty() {
                "impersonating the empty string key in extra is not allowed"
            } else if !key
                .split_once('/')
                .is_some_and(|(domain, path)| dns1123_subdomain(domain).is_empty() && !path.is_empty())
            {
                "impersonating an invalid key in extra is not allowed"
            } else if values.iter().any(String::is_empty) {
                "impersonating the empty string value in extra is not allowed"
            } else {
                continue;
            };
            return Err(forbidden(base, why));
        }
        let all = Attributes { subresource: "*", name: "*", ..*base };
        let many = extra.len() >= MANY || extra.values().map(Vec::len).sum::<usize>() >= MANY;
        if many && ask(&all, authorizer).await.is_ok() {
            return Ok(());
        }
    }
    for (key, values) in extra {
        for value in values {
            ask(&Attributes { subresource: key, name: value, ..*base }, authorizer).await?;
        }
    }
    Ok(())
}

async fn ask(attributes: &Attributes<'_>, authorizer: &dyn Authorization) -> Result<(), Status> {
    let decision = authorizer.decide(attributes).await;
    if decision.is_allowed() { Ok(()) } else { Err(forbidden(attributes, decision.reason())) }
}

/// The node that a user name means.
fn node_of(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|name| dns1123_subdomain(name).is_empty())
}

/// Namespace and name of the service account that a user name means.
fn account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (dns1123_label(namespace).is_empty() && dns1123_subdomain(name).is_empty()).then_some((namespace, name))
}

/// A user as Go's `%#v` writes it: upstream shows what was asked for in this form.
fn as_go(user: &User) -> String {
    let list = |values: &[String]| {
        let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        format!("[]string{{{}}}", values.join(", "))
    };
    let groups = if user.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&user.groups) };
    let extra = if user.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let facts: Vec<String> =
            user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
        format!("map[string][]string{{{}}}", facts.join(", "))
    };
    format!("&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}", user.name, user.uid)
}

#[cfg(test)]
mod tests;
