//! Which webhooks a request concerns.

use std::collections::BTreeMap;

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use super::hook::Hook;
use super::matching::Subject;
use crate::admission::{Operation, Review};

/// The version in which a webhook is asked about a request; nothing if it is not asked. Conditions in CEL are
/// not looked at: they need the object in that version.
pub fn version(review: &Review<'_>, hook: &Hook, object: &Value) -> Result<Option<String>, Status> {
    let shown = if object.is_null() { review.old.unwrap_or(object) } else { object };
    let subject = review.subject(shown);
    let Some(version) = by_rules(review, hook, &subject) else { return Ok(None) };
    let labels = |object: &Value| -> BTreeMap<String, String> {
        meta::labels(object).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let selector = hook.objects.as_ref().map_err(Status::internal)?;
    if !selector.is_empty() {
        let chosen = |object: &Value| object["metadata"].is_object() && selector.matches(&labels(object));
        if !chosen(object) && !review.old.is_some_and(chosen) {
            return Ok(None);
        }
    }
    let selector = hook.namespaces.as_ref().map_err(Status::internal)?;
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
fn by_rules<'a>(review: &'a Review<'_>, hook: &Hook, subject: &Subject<'_>) -> Option<&'a str> {
    if hook.rules.iter().any(|rule| rule.matches(subject)) {
        return Some(&review.call.version);
    }
    if !hook.equivalent {
        return None;
    }
    let versions = || review.call.kind.versions.iter().filter(|version| version.served);
    hook.rules
        .iter()
        .find_map(|rule| {
            versions().find(|version| rule.matches(&Subject { version: &version.name, ..*subject }))
        })
        .map(|version| version.name.as_str())
}
