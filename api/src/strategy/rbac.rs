//! Roles and their bindings.

use serde_json::json;

use super::{Strategy, list, text};
use crate::Object;
use crate::status::FieldError;

/// The strategy of Roles and ClusterRoles.
pub struct Role;

/// The strategy of RoleBindings and ClusterRoleBindings.
pub struct Binding;

impl Strategy for Role {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, rule) in list(new, "rules").iter().enumerate() {
            let path = format!("rules[{index}]");
            if list(rule, "verbs").is_empty() {
                errors.push(FieldError::required(
                    format!("{path}.verbs"),
                    "verbs must contain at least one value",
                ));
            }
            if !list(rule, "nonResourceURLs").is_empty() {
                if new["metadata"]["namespace"].is_string() {
                    let why = "namespaced rules cannot apply to non-resource URLs";
                    errors.push(FieldError::invalid(
                        format!("{path}.nonResourceURLs"),
                        rule["nonResourceURLs"].clone(),
                        why,
                    ));
                }
                continue;
            }
            if list(rule, "apiGroups").is_empty() {
                let why = "resource rules must supply at least one api group";
                errors.push(FieldError::required(format!("{path}.apiGroups"), why));
            }
            if list(rule, "resources").is_empty() {
                let why = "resource rules must supply at least one resource";
                errors.push(FieldError::required(format!("{path}.resources"), why));
            }
        }
        errors
    }
}

impl Strategy for Binding {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let role = &new["roleRef"];
        let cluster = new["kind"] == "ClusterRoleBinding";
        let kinds: &[&str] = if cluster { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
        if !kinds.contains(&text(role, "kind")) {
            errors.push(FieldError::not_supported("roleRef.kind", text(role, "kind"), kinds));
        }
        if text(role, "name").is_empty() {
            errors.push(FieldError::required("roleRef.name", ""));
        }
        for (index, subject) in list(new, "subjects").iter().enumerate() {
            let path = format!("subjects[{index}]");
            if text(subject, "name").is_empty() {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            }
            match text(subject, "kind") {
                "ServiceAccount" if cluster && text(subject, "namespace").is_empty() => {
                    errors.push(FieldError::required(format!("{path}.namespace"), ""));
                }
                "ServiceAccount" | "User" | "Group" => {}
                other => {
                    let known = ["ServiceAccount", "User", "Group"];
                    errors.push(FieldError::not_supported(format!("{path}.kind"), other, &known));
                }
            }
        }
        if let Some(old) = old
            && old["roleRef"] != *role
        {
            // As upstream, in the names that the server has for its fields.
            let shown = json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
            errors.push(FieldError::invalid("roleRef", shown, "cannot change roleRef"));
        }
        errors
    }
}
