//! Deployments and ReplicaSets: a selector that fits the template and never changes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Strategy, metadata, pod_spec, text};
use crate::Object;
use crate::selector::LabelSelector;
use crate::status::{FieldError, Problem};

/// The strategy of both.
pub struct Workload;

impl Strategy for Workload {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        if spec["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid("spec.replicas", spec["replicas"].clone(), why));
        }
        errors.extend(selector(spec));
        errors.extend(metadata::labels(&spec["template"]["metadata"], "spec.template.metadata.labels"));
        errors.extend(pod_spec::validate(&spec["template"]["spec"], "spec.template.spec"));
        let policy = text(&spec["template"]["spec"], "restartPolicy");
        if matches!(policy, "Never" | "OnFailure") {
            let path = "spec.template.spec.restartPolicy";
            errors.push(FieldError::not_supported(path, policy, &["Always"]));
        }
        errors.extend(rolling(&spec["strategy"]));
        if let Some(old) = old
            && old["spec"]["selector"] != spec["selector"]
        {
            errors.push(FieldError::invalid("spec.selector", spec["selector"].clone(), super::IMMUTABLE));
        }
        errors
    }
}

fn selector(spec: &Value) -> Vec<FieldError> {
    let selector = &spec["selector"];
    if !selector.is_object() {
        return vec![FieldError::required("spec.selector", "")];
    }
    let parsed = match LabelSelector::from_object(selector) {
        Ok(parsed) => parsed,
        Err(error) => {
            return vec![FieldError::invalid("spec.selector", selector.clone(), error.to_string())];
        }
    };
    if parsed.is_empty() {
        let why = "empty selector is invalid for deployment";
        return vec![FieldError::invalid("spec.selector", selector.clone(), why)];
    }
    let labels: BTreeMap<String, String> = spec["template"]["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    if parsed.matches(&labels) {
        return Vec::new();
    }
    let shown = spec["template"]["metadata"]["labels"].clone();
    vec![FieldError::new(
        Problem::Invalid,
        "spec.template.metadata.labels",
        shown,
        "`selector` does not match template `labels`",
    )]
}

fn rolling(strategy: &Value) -> Vec<FieldError> {
    let (sort, rolling) = (text(strategy, "type"), &strategy["rollingUpdate"]);
    let path = "spec.strategy.rollingUpdate";
    if sort == "Recreate" && rolling.is_object() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        return vec![FieldError::forbidden(path, why)];
    }
    let mut errors = Vec::new();
    let zero = |value: &Value| value.as_i64() == Some(0) || value.as_str() == Some("0%");
    for field in ["maxUnavailable", "maxSurge"] {
        if let Some(given) = rolling[field].as_str() {
            let percent = given
                .strip_suffix('%')
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()));
            if !percent {
                let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                           '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(format!("{path}.{field}"), given, why));
            }
        }
        if rolling[field].as_i64().is_some_and(|n| n < 0) {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(format!("{path}.{field}"), rolling[field].clone(), why));
        }
    }
    if zero(&rolling["maxUnavailable"]) && zero(&rolling["maxSurge"]) {
        let bad = rolling["maxUnavailable"].clone();
        errors.push(FieldError::invalid(
            format!("{path}.maxUnavailable"),
            bad,
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_selector_must_fit_and_stay() {
        let make = |selector: Value, label: &str| {
            json!({"spec": {"selector": selector, "template": {"metadata": {"labels": {"a": label}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
        };
        let good = make(json!({"matchLabels": {"a": "b"}}), "b");
        assert_eq!(Workload.validate(&good, None), []);
        let other = make(json!({"matchLabels": {"a": "x"}}), "b");
        let error = &Workload.validate(&other, None)[0];
        assert_eq!(
            error.to_string(),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"
        );
        let moved = make(json!({"matchLabels": {"a": "x"}}), "x");
        assert!(Workload.validate(&moved, Some(&good))[0].to_string().ends_with("field is immutable"));
        assert_eq!(
            Workload.validate(&make(Value::Null, "b"), None)[0].to_string(),
            "spec.selector: Required value"
        );
    }
}
