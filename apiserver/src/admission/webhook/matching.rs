//! Which requests a rule is about. Pure.

use serde_json::Value;

use crate::admission::Operation;

/// One rule of a webhook, or of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Each a resource and a subresource.
    resources: Vec<(String, String)>,
    scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What is done.
    pub operation: Operation,
    /// To which group.
    pub group: &'a str,
    /// In which version.
    pub version: &'a str,
    /// Which plural.
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for what is the cluster's.
    pub namespace: &'a str,
}

impl Rule {
    /// Reads a `RuleWithOperations`.
    pub fn read(rule: &Value) -> Self {
        let list = |key: &str| -> Vec<String> {
            let list = rule[key].as_array().into_iter().flatten();
            list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        let resources = list("resources").into_iter().map(|text| match text.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), subresource.to_owned()),
            None => (text, String::new()),
        });
        Self {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: resources.collect(),
            scope: match rule["scope"].as_str() {
                Some("Cluster") => Scope::Cluster,
                Some("Namespaced") => Scope::Namespaced,
                _ => Scope::All,
            },
        }
    }

    /// Whether a request is one of those.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.scope(subject)
            && has(&self.operations, subject.operation.as_str())
            && has(&self.groups, subject.group)
            && has(&self.versions, subject.version)
            && self.resources.iter().any(|(resource, subresource)| {
                (resource == "*" || resource == subject.resource)
                    && (subresource == "*" || subresource == subject.subresource)
            })
    }

    fn scope(&self, subject: &Subject<'_>) -> bool {
        // A namespace is the cluster's, though requests for it carry its own name as theirs.
        let of_cluster = subject.namespace.is_empty()
            || (subject.group.is_empty() && subject.version == "v1" && subject.resource == "namespaces");
        match self.scope {
            Scope::All => true,
            Scope::Cluster => of_cluster,
            Scope::Namespaced => !of_cluster,
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(resources: &[&str], scope: &str, subject: (&str, &str, &str), expected: bool) {
        let rule = json!({
            "operations": ["CREATE", "CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": resources, "scope": scope,
        });
        let (resource, subresource, namespace) = subject;
        let subject = Subject {
            operation: Operation::Create,
            group: "",
            version: "v1",
            resource,
            subresource,
            namespace,
        };
        assert_eq!(Rule::read(&rule).matches(&subject), expected, "{resources:?} {scope} {subject:?}");
    }

    #[test]
    fn resources_and_subresources_are_named_or_all() {
        check(&["pods"], "*", ("pods", "", "a"), true);
        check(&["pods"], "*", ("pods", "exec", "a"), false);
        check(&["pods/*"], "*", ("pods", "exec", "a"), true);
        check(&["pods/*"], "*", ("pods", "", "a"), true);
        check(&["*/scale"], "*", ("pods", "scale", "a"), true);
        check(&["*/scale"], "*", ("pods", "", "a"), false);
        check(&["*"], "*", ("pods", "", "a"), true);
        check(&["*"], "*", ("pods", "exec", "a"), false);
        check(&["*/*"], "*", ("pods", "exec", "a"), true);
    }

    #[test]
    fn a_namespace_is_the_clusters() {
        check(&["*"], "Namespaced", ("pods", "", "a"), true);
        check(&["*"], "Namespaced", ("namespaces", "", "a"), false);
        check(&["*"], "Cluster", ("namespaces", "", "a"), true);
        check(&["*"], "Cluster", ("pods", "", "a"), false);
        check(&["*"], "Cluster", ("nodes", "", ""), true);
    }

    #[test]
    fn operations_groups_and_versions_must_fit() {
        let rule = Rule::read(
            &json!({"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["*"]}),
        );
        let subject = |operation, group| Subject {
            operation,
            group,
            version: "v9",
            resource: "x",
            subresource: "",
            namespace: "",
        };
        assert!(rule.matches(&subject(Operation::Update, "apps")));
        assert!(!rule.matches(&subject(Operation::Create, "apps")));
        assert!(!rule.matches(&subject(Operation::Update, "")));
    }
}
