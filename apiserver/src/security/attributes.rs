//! What a request asks for, in the words of authorization.

use std::collections::BTreeMap;

use super::User;
use crate::request::RequestInfo;

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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_list_of_one_object_is_decided_by_its_name() {
        let user = User::default();
        let name = |verb: &str, selector: &str| {
            let info = RequestInfo { verb: verb.into(), ..RequestInfo::default() };
            Attributes::of(&user, &info, selector, "").name.to_owned()
        };
        assert_eq!(name("watch", "metadata.name=a"), "a");
        assert_eq!(name("list", "metadata.name!=a"), "");
        assert_eq!(name("create", "metadata.name=a"), "");
    }
}
