//! One rule of a role: what it allows and what it covers.

use serde_json::{Map, Value};

use crate::security::{Attributes, texts};

/// A `PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// Verbs; `*` for all.
    pub verbs: Vec<String>,
    /// Groups; `*` for all, empty text for the core group.
    pub groups: Vec<String>,
    /// Resources: `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<String>,
    /// Names; none for all.
    pub names: Vec<String>,
    /// Paths that are no resources; a trailing `*` stands for any ending.
    pub urls: Vec<String>,
}

impl Rule {
    /// From its object.
    pub fn of(object: &Value) -> Self {
        Self {
            verbs: texts(object, "/verbs"),
            groups: texts(object, "/apiGroups"),
            resources: texts(object, "/resources"),
            names: texts(object, "/resourceNames"),
            urls: texts(object, "/nonResourceURLs"),
        }
    }

    /// As an object; empty lists are left out.
    pub fn to_object(&self) -> Value {
        let mut object = Map::new();
        for (key, list) in [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ] {
            if !list.is_empty() {
                object.insert(key.into(), list.iter().map(String::as_str).collect());
            }
        }
        object.into()
    }

    /// Whether it allows a request.
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        if !attributes.resource_request {
            return self.urls.iter().any(|url| url_matches(url, attributes.path));
        }
        has(&self.groups, attributes.group)
            && self
                .resources
                .iter()
                .any(|own| resource_matches(own, attributes.resource, attributes.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == attributes.name))
    }

    /// Whether it allows all that `other` allows, where `other` has at most one verb, group, resource, name and path
    /// (see [`Rule::pieces`]).
    pub(super) fn covers(&self, other: &Self) -> bool {
        let all = |own: &[String], wanted: &[String]| wanted.iter().all(|one| has(own, one));
        all(&self.verbs, &other.verbs)
            && all(&self.groups, &other.groups)
            && other.resources.iter().all(|wanted| {
                let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
                self.resources.iter().any(|own| resource_matches(own, resource, subresource))
            })
            && (self.names.is_empty()
                || (!other.names.is_empty() && other.names.iter().all(|name| self.names.contains(name))))
            && other.urls.iter().all(|wanted| self.urls.iter().any(|own| url_matches(own, wanted)))
    }

    /// The same rights, as rules with at most one verb, group, resource, name and path each.
    pub(super) fn pieces(&self) -> Vec<Self> {
        let one = |text: &String| vec![text.clone()];
        let mut pieces = Vec::new();
        for verb in &self.verbs {
            for url in &self.urls {
                pieces.push(Self { verbs: one(verb), urls: one(url), ..Self::default() });
            }
            for (group, resource) in self
                .groups
                .iter()
                .flat_map(|group| self.resources.iter().map(move |resource| (group, resource)))
            {
                let piece = Self {
                    verbs: one(verb),
                    groups: one(group),
                    resources: one(resource),
                    ..Self::default()
                };
                if self.names.is_empty() {
                    pieces.push(piece.clone());
                }
                pieces.extend(self.names.iter().map(|name| Self { names: one(name), ..piece.clone() }));
            }
        }
        pieces
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == "*" || own == wanted)
}

fn resource_matches(own: &str, resource: &str, subresource: &str) -> bool {
    if own == "*" {
        return true;
    }
    if subresource.is_empty() {
        return own == resource;
    }
    own.split_once('/')
        .is_some_and(|(first, second)| second == subresource && (first == "*" || first == resource))
}

fn url_matches(own: &str, path: &str) -> bool {
    own == "*" || own == path || own.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}
