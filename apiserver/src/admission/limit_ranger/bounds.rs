//! Whether resources are within the bounds of a LimitRange. Pure.

use serde_json::Value;
use skiff_api::quantity::Quantity;
use skiff_api::resources::{self, ResourceList, Sum};

/// What is wrong with a pod and its containers.
pub fn pod(pod: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in limits(range) {
        match limit["type"].as_str() {
            Some("Container") => {
                let lists = ["containers", "initContainers"].into_iter();
                for container in lists.filter_map(|list| pod["spec"][list].as_array()).flatten() {
                    let of = |field: &str| resources::read(&container["resources"][field]);
                    errors.extend(check("Container", limit, &of("requests"), &of("limits")));
                }
            }
            Some("Pod") => {
                let sum = Sum::default();
                errors.extend(check("Pod", limit, &sum.requests(pod), &sum.limits(pod)));
            }
            _ => {}
        }
    }
    errors
}

/// What is wrong with a claim: only what it asks for is bounded.
pub fn claim(claim: &Value, range: &Value) -> Vec<String> {
    let kind = "PersistentVolumeClaim";
    let requests = resources::read(&claim["spec"]["resources"]["requests"]);
    let mut errors = Vec::new();
    for limit in limits(range).filter(|limit| limit["type"] == kind) {
        for (name, bound) in resources::read(&limit["min"]) {
            errors.extend(at_least(kind, &name, bound, &requests, &ResourceList::new()));
        }
        for (name, bound) in resources::read(&limit["max"]) {
            let frame = format!("maximum {name} usage per {kind} is {bound}");
            errors.extend(match requests.get(&name) {
                None => Some(format!("{frame}.  No request is specified")),
                Some(request) if more(request, &bound) => Some(format!("{frame}, but request is {request}")),
                Some(_) => None,
            });
        }
    }
    errors
}

/// Several mistakes as one text, each once.
pub fn together(mut errors: Vec<String>) -> Option<String> {
    let mut seen = Vec::new();
    errors.retain(|error| {
        let new = !seen.contains(error);
        seen.push(error.clone());
        new
    });
    match errors.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

fn limits(range: &Value) -> impl Iterator<Item = &Value> {
    range["spec"]["limits"].as_array().into_iter().flatten()
}

/// Finer than a thousandth is not told apart.
fn more(amount: &Quantity, bound: &Quantity) -> bool {
    amount.millis() > bound.millis()
}

fn check(kind: &str, limit: &Value, requests: &ResourceList, limits: &ResourceList) -> Vec<String> {
    let mut errors = Vec::new();
    for (name, bound) in resources::read(&limit["min"]) {
        errors.extend(at_least(kind, &name, bound, requests, limits));
    }
    for (name, bound) in resources::read(&limit["max"]) {
        let frame = format!("maximum {name} usage per {kind} is {bound}");
        errors.extend(match (limits.get(&name), requests.get(&name)) {
            (None, _) => Some(format!("{frame}.  No limit is specified")),
            (Some(limit), _) if more(limit, &bound) => Some(format!("{frame}, but limit is {limit}")),
            (_, Some(request)) if more(request, &bound) => Some(format!("{frame}, but request is {request}")),
            _ => None,
        });
    }
    for (name, bound) in resources::read(&limit["maxLimitRequestRatio"]) {
        errors.extend(ratio(kind, &name, bound, requests.get(&name), limits.get(&name)));
    }
    errors
}

fn at_least(
    kind: &str,
    name: &str,
    bound: Quantity,
    requests: &ResourceList,
    limits: &ResourceList,
) -> Option<String> {
    let frame = format!("minimum {name} usage per {kind} is {bound}");
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{frame}.  No request is specified")),
        (Some(request), _) if more(&bound, request) => Some(format!("{frame}, but request is {request}")),
        (_, Some(limit)) if more(&bound, limit) => Some(format!("{frame}, but limit is {limit}")),
        _ => None,
    }
}

fn ratio(
    kind: &str,
    name: &str,
    bound: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let frame = format!("{name} max limit to request ratio per {kind} is {bound}, but");
    let some = |amount: Option<&Quantity>| amount.map(Quantity::millis).filter(|millis| *millis != 0);
    let Some(request) = some(request) else {
        return Some(format!("{frame} no request is specified or request is 0"));
    };
    let Some(limit) = some(limit) else {
        return Some(format!("{frame} no limit is specified or limit is 0"));
    };
    let ratio = limit as f64 / request as f64;
    (ratio * 1000.0 > bound.millis() as f64).then(|| format!("{frame} provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range(limit: Value) -> Value {
        json!({"spec": {"limits": [limit]}})
    }

    #[test]
    fn pods_and_containers_are_held_to_their_bounds_in_upstreams_words() {
        let container = |requests: Value, limits: Value| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}});
        let bounded = |kind: &str, field: &str, bound: &str| json!({"type": kind, field: {"cpu": bound}});
        let (half, two) = (json!({"cpu": "500m"}), json!({"cpu": "2"}));
        for (limit, requests, limits, expected) in [
            (bounded("Container", "min", "100m"), &half, &two, None),
            (
                bounded("Container", "min", "1"),
                &half,
                &two,
                Some("minimum cpu usage per Container is 1, but request is 500m"),
            ),
            (
                bounded("Pod", "min", "1"),
                &json!({}),
                &two,
                Some("minimum cpu usage per Pod is 1.  No request is specified"),
            ),
            (
                bounded("Container", "max", "1"),
                &half,
                &two,
                Some("maximum cpu usage per Container is 1, but limit is 2"),
            ),
            (
                bounded("Container", "max", "1"),
                &half,
                &json!({}),
                Some("maximum cpu usage per Container is 1.  No limit is specified"),
            ),
            (bounded("Pod", "max", "2"), &half, &two, None),
            (
                bounded("Container", "maxLimitRequestRatio", "1500m"),
                &half,
                &two,
                Some("cpu max limit to request ratio per Container is 1500m, but provided ratio is 4.000000"),
            ),
            (bounded("Container", "maxLimitRequestRatio", "4"), &half, &two, None),
            (
                bounded("Pod", "maxLimitRequestRatio", "4"),
                &json!({}),
                &two,
                Some(
                    "cpu max limit to request ratio per Pod is 4, but no request is specified or request is 0",
                ),
            ),
            (
                bounded("Container", "maxLimitRequestRatio", "4"),
                &half,
                &json!({}),
                Some(
                    "cpu max limit to request ratio per Container is 4, but no limit is specified or limit is 0",
                ),
            ),
        ] {
            let errors = pod(&container(requests.clone(), limits.clone()), &range(limit.clone()));
            assert_eq!(together(errors).as_deref(), expected, "{limit}");
        }
    }

    #[test]
    fn a_claim_asks_for_no_more_and_no_less() {
        let bounds = range(
            json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}),
        );
        let ask = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        let told = |object: &Value| together(claim(object, &bounds)).unwrap_or_default();
        assert_eq!(told(&ask("1Gi")), "");
        assert_eq!(
            told(&ask("1Mi")),
            "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"
        );
        assert_eq!(
            told(&ask("3Gi")),
            "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"
        );
        assert!(
            told(&json!({}))
                .starts_with("[minimum storage usage per PersistentVolumeClaim is 1Gi.  No request")
        );
    }

    #[test]
    fn the_same_mistake_is_told_once() {
        assert_eq!(together(vec!["a".into(), "a".into()]).as_deref(), Some("a"));
        assert_eq!(together(vec!["a".into(), "b".into(), "a".into()]).as_deref(), Some("[a, b]"));
    }
}
