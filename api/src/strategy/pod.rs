//! Pods: what may change in one that exists, and its quality of service.

use serde_json::{Value, json};

use super::{Strategy, list, pod_spec};
use crate::Object;
use crate::quantity::Quantity;
use crate::status::FieldError;

/// The strategy of pods.
pub struct Pod;

impl Strategy for Pod {
    fn prepare(&self, new: &mut Object, old: Option<&Object>) {
        // A pod's class of service is decided once.
        let class = match old.and_then(|old| old["status"]["qosClass"].as_str()) {
            Some(class) => class.to_owned(),
            None => qos_class(new).to_owned(),
        };
        if old.is_none() {
            new["status"] = json!({"phase": "Pending", "qosClass": class});
            if !list(&new["spec"], "schedulingGates").is_empty() {
                let since = new["metadata"]["creationTimestamp"].clone();
                new["status"]["conditions"] = json!([{
                    "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                    "lastProbeTime": null, "lastTransitionTime": since,
                }]);
            }
        } else if new["status"].is_object() {
            new["status"]["qosClass"] = class.into();
        }
    }

    fn warnings(&self, new: &Object) -> Vec<String> {
        pod_spec::warnings::of(&new["spec"], "spec")
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = pod_spec::validate(&new["spec"], "spec");
        if let Some(old) = old {
            errors.extend(update(&new["spec"], &old["spec"]));
        }
        errors
    }
}

/// Guaranteed, Burstable or BestEffort, by cpu and memory of all containers.
pub fn qos_class(pod: &Object) -> &'static str {
    let spec = &pod["spec"];
    let containers = list(spec, "containers").iter().chain(list(spec, "initContainers"));
    let (mut any, mut all) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let amount = |of: &str| {
                let text = container["resources"][of][resource].as_str();
                text.and_then(Quantity::parse).filter(|amount| amount.millis() > 0)
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            all &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// A pod's spec is fixed but for a few fields.
fn update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in ["containers", "initContainers"] {
        if list(new, key).len() != list(old, key).len() {
            return vec![FieldError::forbidden(
                format!("spec.{key}"),
                "pod updates may not add or remove containers",
            )];
        }
    }
    let deadline = |spec: &Value| spec["activeDeadlineSeconds"].as_i64();
    let path = "spec.activeDeadlineSeconds";
    match (deadline(new), deadline(old)) {
        (Some(now), Some(before)) if before < now => {
            return vec![FieldError::invalid(path, now, "must be less than or equal to previous value")];
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path, Value::Null, why));
        }
        _ => {}
    }
    errors.extend(tolerations(new, old));
    errors.extend(gates(new, old));
    let mut allowed = new.clone();
    for key in ["containers", "initContainers"] {
        for (index, before) in list(old, key).iter().enumerate() {
            allowed[key][index]["image"] = before["image"].clone();
            if before.get("image").is_none() {
                allowed[key][index].as_object_mut().map(|container| container.remove("image"));
            }
        }
    }
    if let (Some(allowed), Some(old)) = (allowed.as_object_mut(), old.as_object()) {
        // A binding sets the node once; what else may change is judged by itself.
        for key in ["activeDeadlineSeconds", "schedulingGates", "tolerations", "nodeName"] {
            if key == "nodeName" && old.contains_key(key) {
                continue;
            }
            match old.get(key) {
                Some(value) => allowed.insert(key.into(), value.clone()),
                None => allowed.remove(key),
            };
        }
        let grace = &new["terminationGracePeriodSeconds"];
        if old.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0)
            && *grace == 1
        {
            allowed
                .insert("terminationGracePeriodSeconds".into(), old["terminationGracePeriodSeconds"].clone());
        }
    }
    if allowed != *old {
        let diff = difference(old, &allowed);
        let why = "pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
             existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
             previously negative)";
        errors.push(FieldError::forbidden("spec", format!("{why}\n{diff}")));
    }
    errors
}

/// The lines that a change touches, with three around them. Upstream shows its internal types, here it is
/// the fields as the client knows them.
fn difference(old: &Value, new: &Value) -> String {
    let lines = |value: &Value| {
        let mut out = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
        serde::Serialize::serialize(value, &mut serializer).expect("a value is valid JSON");
        String::from_utf8_lossy(&out).into_owned()
    };
    let (old, new) = (lines(old), lines(new));
    let diff = similar::TextDiff::from_lines(&old, &new);
    diff.unified_diff().missing_newline_hint(false).to_string()
}

/// Tolerations are only added, or last longer or shorter.
fn tolerations(new: &Value, old: &Value) -> Option<FieldError> {
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.as_object_mut().map(|map| map.remove("tolerationSeconds"));
        toleration
    };
    let now: Vec<Value> = list(new, "tolerations").iter().map(timeless).collect();
    let kept = list(old, "tolerations").iter().all(|before| now.contains(&timeless(before)));
    let why = "existing toleration can not be modified except its tolerationSeconds";
    (!kept).then(|| FieldError::forbidden("spec.tolerations", why))
}

/// Gates are only removed.
fn gates(new: &Value, old: &Value) -> Vec<FieldError> {
    let before = list(old, "schedulingGates");
    let added = list(new, "schedulingGates").iter().enumerate().filter(|(_, gate)| !before.contains(gate));
    added
        .map(|(index, gate)| {
            let name = gate["name"].as_str().unwrap_or_default();
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            FieldError::forbidden(format!("spec.schedulingGates[{index}].name"), why)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_class_of_service_follows_requests_and_limits() {
        for (resources, expected) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable"),
        ] {
            let pod = json!({"spec": {"containers": [{"resources": resources}]}});
            assert_eq!(qos_class(&pod), expected, "{resources}");
        }
    }

    #[test]
    fn only_a_few_fields_of_a_pod_may_change() {
        let old = json!({"containers": [{"name": "c", "image": "1"}]});
        for (new, allowed) in [
            (json!({"containers": [{"name": "c", "image": "2"}]}), true),
            (json!({"containers": [{"name": "c", "image": "1"}], "nodeName": "n"}), true),
            (json!({"containers": [{"name": "c", "image": "1"}], "tolerations": [{"key": "a"}]}), true),
            (json!({"containers": [{"name": "c", "image": "1", "args": ["x"]}]}), false),
            (json!({"containers": []}), false),
        ] {
            assert_eq!(update(&new, &old).is_empty(), allowed, "{new}");
        }
    }
}
