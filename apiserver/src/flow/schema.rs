//! Which flow a request belongs to: the first FlowSchema that matches it. Pure.
//!
//! Matching as upstream's `apiserver/pkg/util/flowcontrol/rule.go`.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde_json::Value;

use crate::request::RequestInfo;
use crate::security::User;

/// Where no precedence is given, as upstream's default.
const DEFAULT_PRECEDENCE: i64 = 1000;
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What a FlowSchema says.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Its name.
    pub name: String,
    /// Its uid, for the answers of its requests.
    pub uid: String,
    /// The level that its requests have.
    pub level: String,
    precedence: i64,
    distinguisher: Option<Distinguisher>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distinguisher {
    User,
    Namespace,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<UrlRule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    kind: String,
    user: Named,
    group: Named,
    service_account: Named,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Named {
    namespace: String,
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct UrlRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

impl Schema {
    /// Reads an object of the kind FlowSchema, which has been validated.
    pub fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let distinguisher = match spec["distinguisherMethod"]["type"].as_str() {
            Some("ByUser") => Some(Distinguisher::User),
            Some("ByNamespace") => Some(Distinguisher::Namespace),
            _ => None,
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            name: text(&object["metadata"]["name"]),
            uid: text(&object["metadata"]["uid"]),
            level: text(&spec["priorityLevelConfiguration"]["name"]),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(DEFAULT_PRECEDENCE),
            distinguisher,
            rules: Vec::deserialize(&spec["rules"]).unwrap_or_default(),
        }
    }

    /// What schemas are tried by: the least first.
    pub fn order(&self) -> (i64, &str) {
        (self.precedence, &self.name)
    }

    /// Whether a request is one of its.
    pub fn matches(&self, user: &User, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.is(user))
                && if info.is_resource {
                    rule.resource_rules.iter().any(|rule| rule.matches(info))
                } else {
                    rule.non_resource_rules.iter().any(|rule| rule.matches(info))
                }
        })
    }

    /// What tells this request's flow from the schema's others.
    pub fn flow(&self, user: &User, info: &RequestInfo) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.name.hash(&mut hasher);
        match self.distinguisher {
            Some(Distinguisher::User) => user.name.hash(&mut hasher),
            Some(Distinguisher::Namespace) => info.namespace.hash(&mut hasher),
            None => {}
        }
        hasher.finish()
    }
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "User" => matches!(self.user.name.as_str(), "*") || self.user.name == user.name,
            "Group" => self.group.name == "*" || user.groups.contains(&self.group.name),
            "ServiceAccount" => {
                user.name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':')).is_some_and(
                    |(namespace, name)| {
                        let wanted = &self.service_account;
                        namespace == wanted.namespace && (wanted.name == "*" || wanted.name == name)
                    },
                )
            }
            _ => false,
        }
    }
}

/// Whether a list has `text`; its one element may be a star, which has all.
fn has(list: &[String], text: &str) -> bool {
    matches!(list, [star] if star == "*") || list.iter().any(|one| one == text)
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        let resource = if info.subresource.is_empty() {
            has(&self.resources, &info.resource)
        } else {
            has(&self.resources, &format!("{}/{}", info.resource, info.subresource))
        };
        let place = if info.namespace.is_empty() {
            self.cluster_scope
        } else {
            has(&self.namespaces, &info.namespace)
        };
        place && resource && has(&self.verbs, &info.verb) && has(&self.api_groups, &info.group)
    }
}

impl UrlRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        has(&self.verbs, &info.verb) && self.urls.iter().any(|url| reaches(url, &info.path))
    }
}

/// Whether a path is below a URL; unlike elsewhere, `/healthz` reaches `/healthz/ping` too.
fn reaches(url: &str, path: &str) -> bool {
    let prefix = url.trim_end_matches('*').trim_end_matches('/');
    url == "*" || url == path || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Query, parse};
    use http::Method;

    #[test]
    fn the_schemas_of_a_new_cluster_class_requests_as_upstream_does() {
        let mut schemas: Vec<Schema> = super::super::defaults::objects()
            .iter()
            .filter(|o| o["kind"] == "FlowSchema")
            .map(Schema::read)
            .collect();
        schemas.sort_by(|a, b| a.order().cmp(&b.order()));
        let class = |user: &User, method: Method, path: &str| {
            let query = Query::parse("");
            let info = parse(&method, path, &query);
            schemas
                .iter()
                .find(|schema| schema.matches(user, &info))
                .map(|schema| schema.name.clone())
                .unwrap()
        };
        let all = "system:authenticated";
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler";
        let pods = "/api/v1/namespaces/default/pods";
        let table: [(&str, &[&str], Method, &str, &str); 12] = [
            ("admin", &["system:masters"], Method::GET, pods, "exempt"),
            ("jane", &[all], Method::GET, "/healthz/ping", "probes"),
            ("jane", &[all], Method::POST, "/healthz", "global-default"),
            ("system:kube-scheduler", &[all], Method::PUT, lease, "system-leader-election"),
            ("system:kube-scheduler", &[all], Method::DELETE, lease, "kube-scheduler"),
            (
                "system:node:a",
                &["system:nodes", all],
                Method::PATCH,
                "/api/v1/nodes/a/status",
                "system-node-high",
            ),
            ("system:node:a", &["system:nodes", all], Method::GET, pods, "system-nodes"),
            ("system:kube-controller-manager", &[all], Method::GET, pods, "kube-controller-manager"),
            (
                "system:serviceaccount:kube-system:x",
                &["system:serviceaccounts", all],
                Method::GET,
                pods,
                "kube-system-service-accounts",
            ),
            (
                "system:serviceaccount:default:x",
                &["system:serviceaccounts", all],
                Method::GET,
                pods,
                "service-accounts",
            ),
            ("jane", &[all], Method::GET, pods, "global-default"),
            ("nobody", &[], Method::GET, pods, "catch-all"),
        ];
        for (name, groups, method, path, expected) in table {
            let user = User::new(name, groups);
            // A group that no schema names: only for the last line.
            if expected == "catch-all" {
                assert!(
                    schemas
                        .iter()
                        .all(|schema| !schema.matches(&user, &parse(&method, path, &Query::parse(""))))
                );
                continue;
            }
            assert_eq!(class(&user, method, path), expected, "{name} {path}");
        }
    }

    #[test]
    fn flows_are_told_apart_by_user_or_namespace_or_not_at_all() {
        let of = |kind: Value| {
            Schema::read(
                &serde_json::json!({"metadata": {"name": "s"}, "spec": {"distinguisherMethod": kind}}),
            )
        };
        let info = |namespace: &str| RequestInfo { namespace: namespace.into(), ..RequestInfo::default() };
        let (a, b) = (User::new("a", &[]), User::new("b", &[]));
        let by_user = of(serde_json::json!({"type": "ByUser"}));
        assert_ne!(by_user.flow(&a, &info("x")), by_user.flow(&b, &info("x")));
        assert_eq!(by_user.flow(&a, &info("x")), by_user.flow(&a, &info("y")));
        let by_namespace = of(serde_json::json!({"type": "ByNamespace"}));
        assert_ne!(by_namespace.flow(&a, &info("x")), by_namespace.flow(&a, &info("y")));
        assert_eq!(of(Value::Null).flow(&a, &info("x")), of(Value::Null).flow(&b, &info("y")));
    }
}
