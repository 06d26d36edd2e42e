//! Which requests a webhook or a policy is about: rules, and selectors of namespaces and objects.

use std::collections::BTreeMap;

use serde_json::Value;
use skiff_api::meta;
use skiff_api::selector::LabelSelector;
use skiff_api::status::Status;

use super::webhook::{Rule, Subject};
use super::{Operation, Review};

/// What the fields `rules` or `resourceRules`, `namespaceSelector`, `objectSelector` and `matchPolicy` say.
#[derive(Debug)]
pub struct Constraint {
    rules: Vec<Named>,
    excluded: Vec<Named>,
    /// Whether all is concerned where there are no rules.
    open: bool,
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

/// A rule, and the only names that it is about; all if there are none.
#[derive(Debug)]
struct Named {
    rule: Rule,
    names: Vec<String>,
}

impl Named {
    fn read(rule: &Value) -> Self {
        let names = rule["resourceNames"].as_array().into_iter().flatten();
        let names = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        Self { rule: Rule::read(rule), names }
    }

    fn matches(&self, subject: &Subject<'_>, name: &str) -> bool {
        self.rule.matches(subject) && (self.names.is_empty() || self.names.iter().any(|one| one == name))
    }
}

impl Constraint {
    /// Of a webhook, whose rules are its own.
    pub fn of_webhook(webhook: &Value) -> Self {
        Self::read(webhook, "rules", false)
    }

    /// Of a policy's `matchConstraints` or a binding's `matchResources`, which without rules is about all.
    pub fn of_policy(resources: &Value) -> Self {
        Self::read(resources, "resourceRules", true)
    }

    fn read(object: &Value, rules: &str, open: bool) -> Self {
        let named = |key: &str| object[key].as_array().into_iter().flatten().map(Named::read).collect();
        let selector = |key: &str| match &object[key] {
            Value::Null => Ok(LabelSelector::default()),
            given => LabelSelector::from_object(given).map_err(|error| error.to_string()),
        };
        Self {
            rules: named(rules),
            excluded: named("excludeResourceRules"),
            open,
            equivalent: object["matchPolicy"] != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The version in which a request is looked at; nothing if it is not concerned.
    ///
    /// # Errors
    /// A selector that cannot be read, or a namespace that is not there, of a request that the rules name.
    pub fn version(&self, review: &Review<'_>, object: &Value) -> Result<Option<String>, Status> {
        let shown = if object.is_null() { review.old.unwrap_or(object) } else { object };
        let subject = review.subject(shown);
        let name = review.name(shown);
        let Some(version) = self.by_rules(review, &subject, name) else { return Ok(None) };
        let selector = self.objects.as_ref().map_err(Status::internal)?;
        if !selector.is_empty() {
            let chosen = |object: &Value| object["metadata"].is_object() && selector.matches(&labels(object));
            if !chosen(object) && !review.old.is_some_and(chosen) {
                return Ok(None);
            }
        }
        let selector = self.namespaces.as_ref().map_err(Status::internal)?;
        let of_namespace = subject.resource == "namespaces" || !subject.namespace.is_empty();
        if selector.is_empty() || !of_namespace {
            return Ok(Some(version.to_owned()));
        }
        let own = subject.resource == "namespaces"
            && subject.subresource.is_empty()
            && matches!(review.operation, Operation::Create | Operation::Update);
        let labels = if own {
            labels(object)
        } else {
            let cache = review.call.app.cache.find("", "namespaces").ok_or_else(Status::no_such_path)?;
            let found = cache.get("", subject.namespace);
            found.ok_or_else(|| Status::not_found("", "namespaces", subject.namespace))?.labels.clone()
        };
        Ok(selector.matches(&labels).then(|| version.to_owned()))
    }

    /// The request's own version if a rule names it, else the first other one of the same resource that a rule names.
    fn by_rules<'a>(&self, review: &'a Review<'_>, subject: &Subject<'_>, name: &str) -> Option<&'a str> {
        let own = &review.call.version;
        let versions = || review.call.kind.versions.iter().filter(|version| version.served);
        let find = |rules: &[Named]| -> Option<&'a str> {
            if rules.iter().any(|rule| rule.matches(subject, name)) {
                return Some(own);
            }
            let equivalent = rules.iter().filter(|_| self.equivalent).find_map(|rule| {
                versions().find(|version| rule.matches(&Subject { version: &version.name, ..*subject }, name))
            });
            equivalent.map(|version| version.name.as_str())
        };
        if find(&self.excluded).is_some() {
            return None;
        }
        if self.open && self.rules.is_empty() { Some(own) } else { find(&self.rules) }
    }
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    meta::labels(object).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
