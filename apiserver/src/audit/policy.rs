//! What is recorded of a request: the first rule that matches it says how much. Pure.
//!
//! Format and matching as `audit.k8s.io/v1` `Policy`, upstream's `apiserver/pkg/audit/policy`.

use serde::Deserialize;
use skiff_api::status::FieldError;

use super::event::{Level, Stage};
use crate::security::Attributes;

/// The newest version and the kind that a policy file must name.
const API_VERSION: &str = "audit.k8s.io/v1";
const KIND: &str = "Policy";

/// A policy, as its file has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde_json::Value,
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Rule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Resources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// What is to be recorded of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// How much.
    pub level: Level,
    /// Whether `managedFields` are left out of objects.
    pub omit_managed_fields: bool,
    omitted: u8,
}

impl Measure {
    /// Whether a stage is recorded.
    pub fn records(self, stage: Stage) -> bool {
        self.level != Level::None && self.omitted & stage.bit() == 0
    }
}

impl Policy {
    /// Reads a policy from the text of its file.
    ///
    /// # Errors
    /// What is wrong with it: the place in the text, or the path of each field.
    pub fn read(text: &str) -> Result<Self, String> {
        let policy: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if policy.kind != KIND || policy.api_version != API_VERSION {
            let (kind, version) = (&policy.kind, &policy.api_version);
            return Err(format!("this is {kind:?} of {version:?}; wanted is {KIND:?} of {API_VERSION:?}"));
        }
        let mut errors = stages(&policy.omit_stages, "omitStages");
        for (index, rule) in policy.rules.iter().enumerate() {
            errors.extend(rule.errors(&format!("rules[{index}]")));
        }
        if policy.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".into());
        }
        if errors.is_empty() {
            return Ok(policy);
        }
        Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    /// What is recorded of a request.
    pub fn measure(&self, request: &Attributes<'_>) -> Measure {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(request)) else {
            let omitted = bits(&self.omit_stages);
            return Measure { level: Level::None, omit_managed_fields: self.omit_managed_fields, omitted };
        };
        Measure {
            level: Level::read(&rule.level).unwrap_or(Level::None),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
            // A stage is left out if either place says so.
            omitted: bits(&rule.omit_stages) | bits(&self.omit_stages),
        }
    }
}

fn bits(stages: &[String]) -> u8 {
    stages.iter().filter_map(|name| Stage::read(name)).fold(0, |bits, stage| bits | stage.bit())
}

fn stages(names: &[String], path: &str) -> Vec<FieldError> {
    let known = Stage::ALL.map(Stage::as_str).join(",");
    let bad = names.iter().enumerate().filter(|(_, name)| Stage::read(name).is_none());
    bad.map(|(index, name)| {
        FieldError::invalid(format!("{path}[{index}]"), name.as_str(), format!("allowed stages are {known}"))
    })
    .collect()
}

impl Rule {
    fn errors(&self, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.level.is_empty() {
            errors.push(FieldError::required(format!("{path}.level"), ""));
        } else if Level::read(&self.level).is_none() {
            let known = Level::ALL.map(Level::as_str);
            errors.push(FieldError::not_supported(format!("{path}.level"), self.level.as_str(), &known));
        }
        for (index, url) in self.urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let path = format!("{path}.nonResourceURLs[{index}]");
            if !url.starts_with('/') {
                let why = "non-resource URL rules must begin with a '/' character";
                errors.push(FieldError::invalid(&path, url.as_str(), why));
            }
            if url.strip_suffix('*').unwrap_or(url).contains('*') {
                let why = "non-resource URL wildcards '*' must be the final character of the rule";
                errors.push(FieldError::invalid(&path, url.as_str(), why));
            }
        }
        for resources in &self.resources {
            if !resources.resource_names.is_empty() && resources.resources.is_empty() {
                let names = serde_json::json!(resources.resource_names);
                let why = "using resourceNames requires at least one resource";
                errors.push(FieldError::invalid(format!("{path}.resources.resourceNames"), names, why));
            }
        }
        errors.extend(stages(&self.omit_stages, &format!("{path}.omitStages")));
        let resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if resources && !self.urls.is_empty() {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            let urls = serde_json::json!(self.urls);
            errors.push(FieldError::invalid(format!("{path}.nonResourceURLs"), urls, why));
        }
        errors
    }

    fn matches(&self, request: &Attributes<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|one| one == wanted);
        let user = request.user;
        if !(self.users.is_empty() || has(&self.users, &user.name)) {
            return false;
        }
        if !(self.user_groups.is_empty() || user.groups.iter().any(|group| has(&self.user_groups, group))) {
            return false;
        }
        if !(self.verbs.is_empty() || has(&self.verbs, request.verb)) {
            return false;
        }
        if !(self.namespaces.is_empty() && self.resources.is_empty()) {
            return request.resource_request
                && (self.namespaces.is_empty() || has(&self.namespaces, request.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|one| one.matches(request)));
        }
        self.urls.is_empty()
            || (!request.resource_request && self.urls.iter().any(|url| reaches(url, request.path)))
    }
}

/// Whether a path is a URL's, which may end in `*`.
fn reaches(url: &str, path: &str) -> bool {
    url == path || url.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

impl Resources {
    fn matches(&self, request: &Attributes<'_>) -> bool {
        if self.group != request.group && self.group != "*" {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named =
            self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == request.name);
        named && self.resources.iter().any(|pattern| covers(pattern, request.resource, request.subresource))
    }
}

/// Whether `pods`, `pods/log`, `pods/*`, `*/log` or `*` covers a resource and its subresource.
fn covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    match pattern.split_once('/') {
        _ if pattern == "*" => true,
        None => subresource.is_empty() && pattern == resource,
        Some((of, "*")) => of == resource,
        Some(("*", part)) => !subresource.is_empty() && part == subresource,
        Some((of, part)) => of == resource && part == subresource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::User;

    const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

    #[test]
    fn the_first_rule_that_matches_decides() {
        let text = format!(
            "{HEAD}omitStages: [RequestReceived]\nrules:\n\
             - {{level: None, users: [system:kube-proxy], verbs: [watch]}}\n\
             - {{level: None, nonResourceURLs: ['/healthz*', /version]}}\n\
             - {{level: Request, resources: [{{group: '', resources: [configmaps], resourceNames: [own]}}]}}\n\
             - {{level: RequestResponse, namespaces: [secret-place], omitManagedFields: true}}\n\
             - {{level: Metadata, resources: [{{group: '*', resources: ['*/status', 'pods/*']}}], omitStages: [Panic]}}\n\
             - {{level: Request, userGroups: [admins], resources: [{{group: apps}}]}}\n"
        );
        let policy = Policy::read(&text).unwrap();
        let (proxy, admin, other) =
            (User::new("system:kube-proxy", &[]), User::new("a", &["admins"]), User::new("b", &[]));
        // user, verb, group, resource, subresource, namespace, name, path → level
        let table: [(&User, &str, [&str; 6], &str); 12] = [
            (&proxy, "watch", ["", "services", "", "", "", ""], "None"),
            (&proxy, "get", ["", "services", "", "", "", ""], "None"),
            (&other, "get", ["", "", "", "", "", "/healthz/ping"], "None"),
            (&other, "get", ["", "", "", "", "", "/version/x"], "None"),
            (&other, "get", ["", "configmaps", "", "x", "own", ""], "Request"),
            (&other, "get", ["", "configmaps", "", "x", "other", ""], "None"),
            (&other, "list", ["", "secrets", "", "secret-place", "", ""], "RequestResponse"),
            (&other, "update", ["apps", "deployments", "status", "x", "", ""], "Metadata"),
            (&other, "create", ["", "pods", "exec", "x", "", ""], "Metadata"),
            (&other, "get", ["", "pods", "", "x", "", ""], "Metadata"),
            (&admin, "get", ["apps", "deployments", "", "x", "", ""], "Request"),
            (&other, "get", ["apps", "deployments", "", "x", "", ""], "None"),
        ];
        for (user, verb, [group, resource, subresource, namespace, name, path], level) in table {
            let request = Attributes {
                user,
                verb,
                group,
                resource,
                subresource,
                namespace,
                name,
                path,
                resource_request: path.is_empty(),
                ..Attributes::default()
            };
            assert_eq!(policy.measure(&request).level.as_str(), level, "{request:?}");
        }
        let request = Attributes {
            resource: "pods",
            subresource: "status",
            resource_request: true,
            ..Attributes::default()
        };
        let measure = policy.measure(&request);
        assert!(!measure.records(Stage::Panic) && !measure.records(Stage::RequestReceived));
        assert!(measure.records(Stage::ResponseComplete) && !measure.omit_managed_fields);
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_told_with_its_path() {
        let table = [
            ("rules: []", "0 rules"),
            ("rules: [{level: Loud}]", "rules[0].level: Unsupported value: \"Loud\""),
            ("rules: [{users: [a]}]", "rules[0].level: Required value"),
            ("rules: [{level: None, nonResourceURLs: [x]}]", "must begin with a '/' character"),
            ("rules: [{level: None, nonResourceURLs: ['/a*b']}]", "must be the final character"),
            ("rules: [{level: None, nonResourceURLs: [/a], namespaces: [x]}]", "both regular resources and"),
            (
                "rules: [{level: None, omitStages: [Late]}]",
                "allowed stages are RequestReceived,ResponseStarted",
            ),
            ("rules: [{level: None, resources: [{resourceNames: [x]}]}]", "requires at least one resource"),
            ("rules: [{level: None, user: [a]}]", "unknown field `user`"),
        ];
        for (text, expected) in table {
            let refused = Policy::read(&format!("{HEAD}{text}\n")).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
        assert!(
            Policy::read("apiVersion: v1\nkind: Pod\nrules: []\n")
                .unwrap_err()
                .contains("wanted is \"Policy\"")
        );
    }
}
