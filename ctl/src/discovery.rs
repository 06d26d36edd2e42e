//! Which kinds the server knows, and what people call them. Nothing about kinds is built in.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::rest::{Call, Rest};

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// A kind in one version, as the server serves it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kind {
    /// API group, empty for core.
    pub group: String,
    /// Version, as `v1`.
    pub version: String,
    /// Kind, as `Deployment`.
    pub kind: String,
    /// Plural resource name, as `deployments`.
    pub plural: String,
    /// Singular name, as `deployment`.
    pub singular: String,
    /// Short names, as `deploy`.
    pub short_names: Vec<String>,
    /// Categories, as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs served.
    pub verbs: Vec<String>,
    /// Names of subresources served.
    pub subresources: Vec<String>,
    /// Whether this is the version the server prefers for the group.
    pub preferred: bool,
}

impl Kind {
    /// `group/version`, or `version` for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// As messages name it: `deployment.apps`, `pod`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.singular.clone()
        } else {
            format!("{}.{}", self.singular, self.group)
        }
    }

    /// `deployments.apps`, `pods`.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The collection's path; `namespace` is left out for a cluster-scoped kind, and `None` means all namespaces.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => {
                format!("{root}/namespaces/{}/{}", crate::rest::encode(namespace), self.plural)
            }
            None => format!("{root}/{}", self.plural),
        }
    }

    /// An object's path.
    pub fn object_path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.path(Some(namespace)), crate::rest::encode(name))
    }

    /// Whether the verb is served.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|served| served == verb)
    }
}

/// All kinds, in the server's order: core first, then the groups by priority.
#[derive(Debug, Default)]
pub struct Kinds(pub Vec<Kind>);

impl Kinds {
    /// Asks the server: two requests where it aggregates discovery (1.26 on), else one per version.
    pub async fn fetch(rest: &Rest) -> Result<Self> {
        let mut kinds = Vec::new();
        for root in ["/api", "/apis"] {
            let answer = rest.call(Call::get(root).accept(AGGREGATED)).await?;
            if answer["kind"] == "APIGroupDiscoveryList" {
                kinds.extend(aggregated(&answer));
                continue;
            }
            for (group, version, preferred) in listed(&answer) {
                let path = if group.is_empty() {
                    format!("/api/{version}")
                } else {
                    format!("/apis/{group}/{version}")
                };
                // A group whose server is down hides its own kinds only.
                if let Ok(list) = rest.call(Call::get(path)).await {
                    kinds.extend(legacy(&list, &group, &version, preferred));
                }
            }
        }
        Ok(Kinds(kinds))
    }

    /// Finds a kind by what a person typed: `po`, `pods`, `Deployment`, `deployments.apps`, `deployments.v1.apps`.
    pub fn find(&self, typed: &str) -> Result<&Kind> {
        let lower = typed.to_lowercase();
        let (name, rest) =
            lower.split_once('.').map_or((lower.as_str(), None), |(name, rest)| (name, Some(rest)));
        let matches = |kind: &&Kind| -> bool {
            let named = kind.plural == name
                || kind.singular == name
                || kind.kind.to_lowercase() == name
                || kind.short_names.iter().any(|short| short == name);
            named
                && match rest {
                    None => {
                        kind.preferred
                            || !self.0.iter().any(|other| {
                                other.preferred && other.plural == kind.plural && other.group == kind.group
                            })
                    }
                    Some(rest) => {
                        kind.group == rest && kind.preferred
                            || rest == format!("{}.{}", kind.version, kind.group).trim_end_matches('.')
                    }
                }
        };
        self.0
            .iter()
            .find(matches)
            .or_else(|| {
                // A group's name may be shortened, as upstream allows (`ingresses.networking`).
                let rest = rest?;
                self.0.iter().find(|kind| kind.plural == name && kind.group.starts_with(rest))
            })
            .ok_or_else(|| Error::usage(format!("the server doesn't have a resource type \"{typed}\"")))
    }

    /// The kinds of a category, each in its preferred version.
    pub fn category(&self, category: &str) -> Vec<&Kind> {
        self.0
            .iter()
            .filter(|kind| kind.preferred && kind.categories.iter().any(|name| name == category))
            .collect()
    }

    /// The kind of a manifest's `apiVersion` and `kind`.
    pub fn of(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        let (group, version) = split_api_version(api_version);
        self.0.iter().find(|known| known.group == group && known.version == version && known.kind == kind)
    }
}

/// `apps/v1` as (`apps`, `v1`).
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    items(value).map(text).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// Reads an `APIGroupDiscoveryList`.
fn aggregated(list: &Value) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for group in items(&list["items"]) {
        for (index, version) in items(&group["versions"]).enumerate() {
            for resource in items(&version["resources"]) {
                let subresources: Vec<String> =
                    items(&resource["subresources"]).map(|sub| text(&sub["subresource"])).collect();
                let answer = &resource["responseKind"];
                kinds.push(Kind {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    kind: text(&answer["kind"]),
                    plural: text(&resource["resource"]),
                    singular: text(&resource["singularResource"]),
                    short_names: texts(&resource["shortNames"]),
                    categories: texts(&resource["categories"]),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: texts(&resource["verbs"]),
                    subresources,
                    preferred: index == 0,
                });
            }
        }
    }
    prefer_somewhere(kinds)
}

/// The (group, version, preferred) of an `APIVersions` or an `APIGroupList`.
fn listed(answer: &Value) -> Vec<(String, String, bool)> {
    let core = texts(&answer["versions"]).into_iter().map(|version| (String::new(), version, true));
    let groups = items(&answer["groups"]).flat_map(|group| {
        items(&group["versions"]).map(move |version| {
            let preferred = version["version"] == group["preferredVersion"]["version"];
            (text(&group["name"]), text(&version["version"]), preferred)
        })
    });
    core.chain(groups).collect()
}

/// Reads an `APIResourceList`.
fn legacy(list: &Value, group: &str, version: &str, preferred: bool) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for resource in items(&list["resources"]) {
        let name = text(&resource["name"]);
        if let Some((parent, subresource)) = name.split_once('/') {
            if let Some(parent) = kinds.iter_mut().find(|kind| kind.plural == parent) {
                parent.subresources.push(subresource.to_owned());
            }
            continue;
        }
        let kind = text(&resource["kind"]);
        let singular = Some(text(&resource["singularName"])).filter(|name| !name.is_empty());
        kinds.push(Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            singular: singular.unwrap_or_else(|| kind.to_lowercase()),
            kind,
            plural: name,
            short_names: texts(&resource["shortNames"]),
            categories: texts(&resource["categories"]),
            namespaced: resource["namespaced"] == true,
            verbs: texts(&resource["verbs"]),
            subresources: Vec::new(),
            preferred,
        });
    }
    kinds
}

/// A resource that only a later version of its group serves is preferred there.
fn prefer_somewhere(mut kinds: Vec<Kind>) -> Vec<Kind> {
    for index in 0..kinds.len() {
        let earlier = kinds[..index]
            .iter()
            .any(|other| other.group == kinds[index].group && other.plural == kinds[index].plural);
        kinds[index].preferred = !earlier;
        if kinds[index].singular.is_empty() {
            kinds[index].singular = kinds[index].kind.to_lowercase();
        }
    }
    kinds
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn sample() -> Kinds {
        let core = json!({"kind":"APIGroupDiscoveryList","items":[{"metadata":{},"versions":[{"version":"v1","resources":[
            {"resource":"pods","responseKind":{"kind":"Pod"},"scope":"Namespaced","singularResource":"pod","shortNames":["po"],
             "categories":["all"],"verbs":["get","list"],"subresources":[{"subresource":"log"}]},
            {"resource":"events","responseKind":{"kind":"Event"},"scope":"Namespaced","singularResource":"event","shortNames":["ev"]},
            {"resource":"nodes","responseKind":{"kind":"Node"},"scope":"Cluster","singularResource":"node","shortNames":["no"]}]}]}]});
        let groups = json!({"items":[
            {"metadata":{"name":"apps"},"versions":[{"version":"v1","resources":[
              {"resource":"deployments","responseKind":{"kind":"Deployment"},"scope":"Namespaced","singularResource":"deployment",
               "shortNames":["deploy"],"categories":["all"],"subresources":[{"subresource":"scale"}]}]}]},
            {"metadata":{"name":"events.k8s.io"},"versions":[{"version":"v1","resources":[
              {"resource":"events","responseKind":{"kind":"Event"},"scope":"Namespaced","singularResource":"event","shortNames":["ev"]}]}]},
            {"metadata":{"name":"x.io"},"versions":[{"version":"v2","resources":[]},{"version":"v1beta1","resources":[
              {"resource":"olds","responseKind":{"kind":"Old"},"scope":"Cluster","singularResource":""}]}]}]});
        Kinds(aggregated(&core).into_iter().chain(aggregated(&groups)).collect())
    }

    #[test]
    fn a_kind_is_found_by_all_its_names() {
        let kinds = sample();
        let cases = [
            ("po", "/api/v1/namespaces/n/pods"),
            ("Pod", "/api/v1/namespaces/n/pods"),
            ("pods", "/api/v1/namespaces/n/pods"),
            ("pods.v1", "/api/v1/namespaces/n/pods"),
            ("no", "/api/v1/nodes"),
            ("deploy", "/apis/apps/v1/namespaces/n/deployments"),
            ("deployment.apps", "/apis/apps/v1/namespaces/n/deployments"),
            ("deployments.v1.apps", "/apis/apps/v1/namespaces/n/deployments"),
            ("ev", "/api/v1/namespaces/n/events"),
            ("events.events.k8s.io", "/apis/events.k8s.io/v1/namespaces/n/events"),
            ("events.events", "/apis/events.k8s.io/v1/namespaces/n/events"),
            ("old", "/apis/x.io/v1beta1/olds"),
        ];
        for (typed, want) in cases {
            let path = kinds.find(typed).map(|kind| kind.path(Some("n"))).map_err(|error| error.to_string());
            assert_eq!(path.as_deref(), Ok(want), "{typed}");
        }
        let missing = kinds.find("foo").expect_err("unknown").to_string();
        assert_eq!(missing, "error: the server doesn't have a resource type \"foo\"");
    }

    #[test]
    fn old_discovery_reads_the_same() {
        let list = json!({"resources":[
            {"name":"pods","kind":"Pod","namespaced":true,"singularName":"","verbs":["get"]},{"name":"pods/log","kind":"Pod"}]});
        let kinds = legacy(&list, "", "v1", true);
        assert_eq!(
            (kinds[0].singular.as_str(), kinds[0].subresources.as_slice()),
            ("pod", ["log".to_owned()].as_slice())
        );
        let groups = json!({"groups":[{"name":"a","preferredVersion":{"version":"v1"},"versions":[{"version":"v1"},{"version":"v2"}]}]});
        assert_eq!(listed(&groups), vec![("a".into(), "v1".into(), true), ("a".into(), "v2".into(), false)]);
    }
}
