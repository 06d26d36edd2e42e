//! LimitRanges and ResourceQuotas: bounds that fit together, on resources that can be bounded.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pod_spec::resources::container_resource;
use super::{Strategy, list};
use crate::quantity::Quantity;
use crate::resources::{self, HUGE_PAGES};
use crate::status::FieldError;
use crate::{Object, name};

/// The strategy of limit ranges.
pub struct Limits;

impl Strategy for Limits {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let limits = list(&new["spec"], "limits");
        for (at, limit) in limits.iter().enumerate() {
            let path = format!("spec.limits[{at}]");
            let kind = limit["type"].as_str().unwrap_or_default();
            limit_type(kind, &format!("{path}.type"), &mut errors);
            if limits[..at].iter().any(|before| before["type"] == limit["type"]) {
                errors.push(FieldError::duplicate(format!("{path}.type"), kind));
            }
            limit_names(kind, limit, &path, &mut errors);
            limit_amounts(limit, &path, &mut errors);
        }
        errors
    }
}

fn limit_type(kind: &str, path: &str, errors: &mut Vec<FieldError>) {
    if kind.is_empty() {
        // The table says that it is required.
        return;
    }
    let whys = name::qualified(kind);
    if !whys.is_empty() {
        errors.extend(whys.into_iter().map(|why| FieldError::invalid(path, kind, why)));
    } else if !kind.contains('/') && !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind) {
        errors.push(FieldError::invalid(path, kind, "must be a standard limit type or fully qualified"));
    }
}

fn limit_names(kind: &str, limit: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let names: Vec<&String> =
            limit[field].as_object().into_iter().flatten().map(|(name, _)| name).collect();
        if kind == "Pod" && field.starts_with("default") {
            if !names.is_empty() {
                let why = "may not be specified when `type` is 'Pod'";
                errors.push(FieldError::forbidden(format!("{path}.{field}"), why));
            }
            continue;
        }
        for resource in names {
            let at = format!("{path}.{field}[{resource}]");
            match kind {
                "Pod" | "Container" => container_resource(resource, &at, errors),
                _ => any_resource(resource, &at, errors),
            }
        }
    }
    let storage = |field: &str| !limit[field]["storage"].is_null();
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(format!("{path}.limits"), why));
    }
}

fn limit_amounts(limit: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let read = |field: &str| resources::read(&limit[field]);
    let is_pod = limit["type"] == "Pod";
    let defaults = |field: &str| if is_pod { resources::ResourceList::new() } else { read(field) };
    let (min, max, ratio) = (read("min"), read("max"), read("maxLimitRequestRatio"));
    let (default, request) = (defaults("default"), defaults("defaultRequest"));
    let all = [&min, &max, &ratio, &default, &request];
    let resources: BTreeSet<&String> = all.into_iter().flat_map(|list| list.keys()).collect();
    for resource in resources {
        let mut wrong = |field: &str, shown: &Quantity, why: String| {
            errors.push(FieldError::invalid(format!("{path}.{field}[{resource}]"), shown.to_string(), why));
        };
        let [min, max, ratio, default, request] =
            [&min, &max, &ratio, &default, &request].map(|list| list.get(resource));
        // Field, the value that is shown, what must not be greater than what.
        let pairs = [
            ("min", min, (min, "min value"), (max, "max value")),
            ("defaultRequest", request, (min, "min value"), (request, "default request value")),
            ("defaultRequest", request, (request, "default request value"), (max, "max value")),
            ("defaultRequest", request, (request, "default request value"), (default, "default limit value")),
            ("default", min, (min, "min value"), (default, "default value")),
            ("default", max, (default, "default value"), (max, "max value")),
        ];
        for (field, shown, (less, less_name), (more, more_name)) in pairs {
            if let (Some(shown), Some(less), Some(more)) = (shown, less, more)
                && less > more
            {
                wrong(field, shown, format!("{less_name} {less} is greater than {more_name} {more}"));
            }
        }
        if let Some(ratio) = ratio {
            let at = "maxLimitRequestRatio";
            if *ratio < Quantity::count(1) {
                wrong(at, ratio, format!("ratio {ratio} is less than 1"));
            }
            if let (Some(min), Some(max)) = (min, max) {
                let most = max.millis() as f64 / min.millis() as f64;
                if ratio.millis() as f64 / 1000.0 > most {
                    wrong(at, ratio, format!("ratio {ratio} is greater than max/min = {most:.6}"));
                }
            }
        }
        let shared = resources::is_native(resource) && !resource.starts_with(HUGE_PAGES);
        if let (false, Some(default), Some(request)) = (shared, default, request)
            && default != request
        {
            let why =
                format!("default value {default} must equal to defaultRequest value {request} in {resource}");
            wrong("defaultRequest", request, why);
        }
    }
}

/// The strategy of quotas.
pub struct Quota;

/// What a quota can limit without a domain before its name.
const STANDARD: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
/// Of these there are only whole ones.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// What scopes of pods narrow.
const OF_PODS: [&str; 7] =
    ["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];

impl Strategy for Quota {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        for (path, amounts) in [
            ("spec.hard", &spec["hard"]),
            ("status.hard", &new["status"]["hard"]),
            ("status.used", &new["status"]["used"]),
        ] {
            quota_amounts(path, amounts, &mut errors);
        }
        scopes(spec, &mut errors);
        selector(spec, &mut errors);
        let set = |object: &Object| -> BTreeSet<String> {
            list(&object["spec"], "scopes").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if old.is_some_and(|old| set(old) != set(new)) {
            errors.push(FieldError::invalid("spec.scopes", spec["scopes"].clone(), "field is immutable"));
        }
        errors
    }
}

fn is_standard(resource: &str) -> bool {
    STANDARD.contains(&resource)
        || resource.strip_prefix("requests.").unwrap_or(resource).starts_with(HUGE_PAGES)
}

/// A resource of any sort.
fn any_resource(resource: &str, at: &str, errors: &mut Vec<FieldError>) {
    let whys = name::qualified(resource);
    if !whys.is_empty() {
        errors.extend(whys.into_iter().map(|why| FieldError::invalid(at, resource, why)));
    } else if !resource.contains('/') && !is_standard(resource) && resource != "storage" {
        let why = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(at, resource, why));
    }
}

fn quota_amounts(path: &str, amounts: &Value, errors: &mut Vec<FieldError>) {
    for (resource, text) in amounts.as_object().into_iter().flatten() {
        let at = format!("{path}[{resource}]");
        any_resource(resource, &at, errors);
        if !resource.contains('/') && !is_standard(resource) {
            errors.push(FieldError::invalid(&at, resource.as_str(), "must be a standard resource for quota"));
        }
        let Some(amount) = text.as_str().and_then(Quantity::parse) else { continue };
        if amount.is_negative() {
            errors.push(FieldError::invalid(&at, text.clone(), "must be greater than or equal to 0"));
        }
        let whole = COUNTED.contains(&resource.as_str()) || resources::is_extended(resource);
        if whole && amount.millis() % 1000 != 0 {
            errors.push(FieldError::invalid(&at, text.clone(), "must be an integer"));
        }
    }
}

/// Whether a scope narrows what limits that resource.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => OF_PODS.contains(&resource),
        _ => true,
    }
}

fn misfits(spec: &Value, scope: &str) -> usize {
    let names = spec["hard"].as_object().into_iter().flatten().map(|(name, _)| name);
    names.filter(|name| is_standard(name) && !fits(scope, name)).count()
}

fn conflicts(all: &[&str]) -> usize {
    let pairs = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
    pairs.iter().filter(|pair| pair.iter().all(|scope| all.contains(scope))).count()
}

fn scopes(spec: &Value, errors: &mut Vec<FieldError>) {
    let all: Vec<&str> = list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    let mut wrong = |why: &str| errors.push(FieldError::invalid("spec.scopes", spec["scopes"].clone(), why));
    for scope in &all {
        if !SCOPES.contains(scope) {
            wrong("unsupported scope");
        }
        (0..misfits(spec, scope)).for_each(|_| wrong("unsupported scope applied to resource"));
    }
    (0..conflicts(&all)).for_each(|_| wrong("conflicting scopes"));
}

fn selector(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.scopeSelector.matchExpressions";
    let expressions = list(&spec["scopeSelector"], "matchExpressions");
    let mut all = Vec::new();
    for expression in expressions {
        let text = |field: &str| expression[field].as_str().unwrap_or_default();
        let (scope, operator) = (text("scopeName"), text("operator"));
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(format!("{path}.scopeName"), scope, "unsupported scope"));
        }
        for _ in 0..misfits(spec, scope) {
            let why = "unsupported scope applied to resource";
            errors.push(FieldError::invalid(path, spec["scopeSelector"].clone(), why));
        }
        let plain = SCOPES.contains(&scope) && !scope.ends_with("Class");
        if plain && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                       ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                       ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(format!("{path}.operator"), operator, why));
        }
        let empty = list(expression, "values").is_empty();
        match operator {
            "In" | "NotIn" if empty => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(format!("{path}.values"), why));
            }
            "Exists" | "DoesNotExist" if !empty => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(format!("{path}.values"), expression["values"].clone(), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{path}.operator"), operator, why));
            }
        }
        all.push(scope);
    }
    for _ in 0..conflicts(&all) {
        errors.push(FieldError::invalid(path, spec["scopes"].clone(), "conflicting scopes"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn bounds_fit_together() {
        let range = |limit: Value| told(&Limits.validate(&json!({"spec": {"limits": [limit]}}), None));
        let good = json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "4"}, "default": {"cpu": "2"},
            "defaultRequest": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}});
        assert_eq!(range(good), Vec::<String>::new());
        for (limit, expected) in [
            (
                json!({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}),
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            ),
            (
                json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}),
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than default \
                 limit value 1",
            ),
            (
                json!({"type": "Pod", "default": {"cpu": "1"}}),
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            ),
            (
                json!({"type": "PersistentVolumeClaim", "default": {"storage": "1"}}),
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was \
                 provided",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"memory": "800m"}}),
                "spec.limits[0].maxLimitRequestRatio[memory]: Invalid value: \"800m\": ratio 800m is less than 1",
            ),
            (
                json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "10"}}),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"10\": ratio 10 is greater than max/min = 2.000000",
            ),
            (
                json!({"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}}),
                "spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: \"1\": default value 2 must equal to \
                 defaultRequest value 1 in example.com/gpu",
            ),
            (
                json!({"type": "Thing"}),
                "spec.limits[0].type: Invalid value: \"Thing\": must be a standard limit type or fully qualified",
            ),
        ] {
            assert_eq!(range(limit), [expected]);
        }
    }

    #[test]
    fn a_quota_limits_what_can_be_limited_by_scopes_that_fit() {
        let quota = |spec: Value| told(&Quota.validate(&json!({"spec": spec}), None));
        let good = json!({"hard": {"pods": "1", "cpu": "2", "count/widgets.example.com": "1"}, "scopes": ["NotTerminating"]});
        assert_eq!(quota(good), Vec::<String>::new());
        for (spec, expected) in [
            (
                json!({"hard": {"pods": "-1"}}),
                "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
            (
                json!({"hard": {"pods": "500m"}}),
                "spec.hard[pods]: Invalid value: \"500m\": must be an integer",
            ),
            (
                json!({"hard": {"storage": "1"}}),
                "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
            ),
            (
                json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}),
                "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource",
            ),
            (
                json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}),
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes",
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}}),
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' \
                 or 'NotIn' for scope selector",
            ),
        ] {
            assert_eq!(quota(spec), [expected]);
        }
        let old = json!({"spec": {"scopes": ["Terminating"]}});
        let changed = Quota.validate(&json!({"spec": {"scopes": []}}), Some(&old));
        assert_eq!(told(&changed), ["spec.scopes: Invalid value: []: field is immutable"]);
    }
}
