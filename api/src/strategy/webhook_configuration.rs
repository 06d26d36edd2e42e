//! Configurations of admission webhooks. Matched to `pkg/apis/admissionregistration/validation`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Strategy, list, pod_spec, text, webhook};
use crate::status::{FieldError, Problem};
use crate::{Object, name};

/// The strategy of both kinds; only mutating webhooks have a reinvocation policy.
pub struct WebhookConfiguration;

/// The most conditions that a webhook may have.
const CONDITIONS_MAX: usize = 64;
const HARMLESS: [&str; 2] = ["None", "NoneOnDryRun"];

/// Rules that became stricter bind only those who did not break them before.
struct Strictness {
    no_side_effects: bool,
    known_reviews: bool,
    unique_names: bool,
}

impl Strictness {
    fn of(old: Option<&Object>) -> Self {
        let hooks = old.map(|old| list(old, "webhooks")).unwrap_or_default();
        let names: BTreeSet<&str> = hooks.iter().map(|hook| text(hook, "name")).collect();
        Self {
            no_side_effects: hooks.iter().all(|hook| HARMLESS.contains(&text(hook, "sideEffects"))),
            known_reviews: hooks
                .iter()
                .all(|hook| webhook::reads_known(list(hook, "admissionReviewVersions"))),
            unique_names: names.len() == hooks.len(),
        }
    }
}

impl Strategy for WebhookConfiguration {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let strict = Strictness::of(old);
        let mut errors = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, hook) in list(new, "webhooks").iter().enumerate() {
            let at = format!("webhooks[{index}]");
            one(hook, &at, &strict, &mut errors);
            let name = text(hook, "name");
            if !name.is_empty() && !seen.insert(name) && strict.unique_names {
                errors.push(FieldError::duplicate(format!("{at}.name"), name));
            }
        }
        errors
    }
}

fn one(hook: &Value, at: &str, strict: &Strictness, errors: &mut Vec<FieldError>) {
    full_name(text(hook, "name"), &format!("{at}.name"), errors);
    for (index, rule) in list(hook, "rules").iter().enumerate() {
        rule_with_operations(rule, &format!("{at}.rules[{index}]"), errors);
    }
    let mut one_of = |key: &str, allowed: &[&str]| {
        if let Some(given) = hook[key].as_str()
            && !allowed.contains(&given)
        {
            errors.push(FieldError::not_supported(format!("{at}.{key}"), given, allowed));
        }
    };
    one_of("failurePolicy", &["Fail", "Ignore"]);
    one_of("matchPolicy", &["Equivalent", "Exact"]);
    one_of("reinvocationPolicy", &["IfNeeded", "Never"]);
    let effects: &[&str] =
        if strict.no_side_effects { &HARMLESS } else { &["None", "NoneOnDryRun", "Some", "Unknown"] };
    one_of("sideEffects", effects);
    if hook["sideEffects"].is_null() {
        let why = format!("must specify one of {}", effects.join(", "));
        errors.push(FieldError::required(format!("{at}.sideEffects"), why));
    }
    if let Some(seconds) = hook["timeoutSeconds"].as_i64().filter(|seconds| !(1..=30).contains(seconds)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(format!("{at}.timeoutSeconds"), seconds, why));
    }
    for key in ["namespaceSelector", "objectSelector"] {
        pod_spec::label_selector(&hook[key], &format!("{at}.{key}"), errors);
    }
    webhook::client_config(&hook["clientConfig"], &format!("{at}.clientConfig"), errors);
    conditions(list(hook, "matchConditions"), &format!("{at}.matchConditions"), errors);
    let reviews = format!("{at}.admissionReviewVersions");
    webhook::review_versions(hook, "admissionReviewVersions", &reviews, strict.known_reviews, errors);
}

/// A name of at least three segments.
fn full_name(given: &str, at: &str, errors: &mut Vec<FieldError>) {
    if given.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    let wrong = name::dns1123_subdomain(given);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(at, given, wrong.join(",")));
    } else if given.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(at, given, why));
    }
}

/// Names of conditions; what they say is checked where CEL is known.
fn conditions(conditions: &[Value], at: &str, errors: &mut Vec<FieldError>) {
    if conditions.len() > CONDITIONS_MAX {
        let why = format!("must have at most {CONDITIONS_MAX} items");
        errors.push(FieldError::new(Problem::TooMany, at, conditions.len().into(), why));
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let given = text(condition, "name");
        if text(condition, "expression").trim().is_empty() {
            errors.push(FieldError::required(format!("{at}[{index}].expression"), ""));
        }
        let at = format!("{at}[{index}].name");
        if given.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let wrong = name::qualified(given).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(at.as_str(), given, why)));
        if !seen.insert(given) {
            errors.push(FieldError::duplicate(at, given));
        }
    }
}

/// Checks a rule of a webhook or a policy.
pub fn rule_with_operations(rule: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let operations = list(rule, "operations");
    let all = |list: &[Value]| list.iter().any(|one| one == "*");
    let alone = |key: &str, what: &str| {
        let given = list(rule, key);
        let why = format!("if '*' is present, must not specify other {what}");
        (given.len() > 1 && all(given))
            .then(|| FieldError::invalid(format!("{at}.{key}"), given.to_vec(), why))
    };
    let some =
        |key: &str| list(rule, key).is_empty().then(|| FieldError::required(format!("{at}.{key}"), ""));
    errors.extend(some("operations"));
    errors.extend(alone("operations", "operations"));
    for (index, operation) in operations.iter().enumerate() {
        let given = operation.as_str().unwrap_or_default();
        let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
        if !known.contains(&given) {
            errors.push(FieldError::not_supported(format!("{at}.operations[{index}]"), given, &known));
        }
    }
    errors.extend(some("apiGroups"));
    errors.extend(alone("apiGroups", "API groups"));
    errors.extend(some("apiVersions"));
    errors.extend(alone("apiVersions", "API versions"));
    for (index, version) in list(rule, "apiVersions").iter().enumerate() {
        if version == "" {
            errors.push(FieldError::required(format!("{at}.apiVersions[{index}]"), ""));
        }
    }
    resources(list(rule, "resources"), &format!("{at}.resources"), errors);
    if let Some(scope) = rule["scope"].as_str()
        && !["*", "Cluster", "Namespaced"].contains(&scope)
    {
        errors.push(FieldError::not_supported(format!("{at}.scope"), scope, &["*", "Cluster", "Namespaced"]));
    }
}

fn resources(given: &[Value], at: &str, errors: &mut Vec<FieldError>) {
    if given.is_empty() {
        errors.push(FieldError::required(at, ""));
    }
    let (mut of_all, mut all_of) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for (index, one) in given.iter().map(|one| one.as_str().unwrap_or_default()).enumerate() {
        let at = format!("{at}[{index}]");
        if one.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let Some((resource, sub)) = one.split_once('/') else {
            plain = one != "*";
            continue;
        };
        if all_of.contains(resource) {
            let why = format!("if '{resource}/*' is present, must not specify {one}");
            errors.push(FieldError::invalid(at.as_str(), one, why));
        }
        if of_all.contains(sub) {
            let why = format!("if '*/{sub}' is present, must not specify {one}");
            errors.push(FieldError::invalid(at.as_str(), one, why));
        }
        if sub == "*" {
            all_of.insert(resource);
        }
        if resource == "*" {
            of_all.insert(sub);
        }
    }
    let has = |wanted: &str| given.iter().any(|one| one == wanted);
    if given.len() > 1 && has("*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(at, given.to_vec(), why));
    }
    if has("*") && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(at, given.to_vec(), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn configuration() -> Value {
        json!({"webhooks": [{
            "name": "a.b.c", "clientConfig": {"url": "https://h"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
        }]})
    }

    fn said(new: &Value, old: Option<&Value>) -> Vec<String> {
        WebhookConfiguration.validate(new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_one_is_taken() {
        assert_eq!(said(&configuration(), None), Vec::<String>::new());
    }

    #[test]
    fn mistakes_are_told_in_upstreams_words() {
        for (pointer, value, expected) in [
            (
                "/name",
                json!("a.b"),
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
            ),
            ("/name", json!(""), "webhooks[0].name: Required value"),
            (
                "/sideEffects",
                Value::Null,
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (
                "/sideEffects",
                json!("Some"),
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                "/timeoutSeconds",
                json!(31),
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ),
            (
                "/failurePolicy",
                json!("x"),
                "webhooks[0].failurePolicy: Unsupported value: \"x\": supported values: \"Fail\", \"Ignore\"",
            ),
            (
                "/admissionReviewVersions",
                json!(["v0"]),
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v0\"]: must include at least one of v1, v1beta1",
            ),
            (
                "/admissionReviewVersions",
                json!([]),
                "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            ),
            (
                "/rules/0/operations",
                json!(["*", "CREATE"]),
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
            ),
            ("/rules/0/apiGroups", json!([]), "webhooks[0].rules[0].apiGroups: Required value"),
            (
                "/rules/0/resources",
                json!(["a/*", "a/b"]),
                "webhooks[0].rules[0].resources[1]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
            ),
            (
                "/rules/0/resources",
                json!(["*/*", "a"]),
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"a\"]: if '*/*' is present, must not specify other resources",
            ),
            (
                "/clientConfig",
                json!({}),
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ),
            (
                "/matchConditions",
                json!([{"name": "a b", "expression": "true"}]),
                "webhooks[0].matchConditions[0].name: Invalid value: \"a b\"",
            ),
        ] {
            let mut new = configuration();
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            new["webhooks"][0].pointer_mut(parent).unwrap()[last] = value;
            let errors = said(&new, None);
            assert!(errors.iter().any(|error| error.starts_with(expected)), "{expected}: {errors:?}");
        }
    }

    #[test]
    fn who_broke_a_rule_before_may_go_on() {
        let mut old = configuration();
        old["webhooks"][0]["sideEffects"] = "Unknown".into();
        assert_eq!(said(&old, Some(&old)), Vec::<String>::new());
        assert_eq!(said(&old, Some(&configuration())).len(), 1);
    }
}
