//! Pods: what may change in one that exists, and its quality of service.

use serde_json::Value;

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
        if new["status"].is_object() {
            new["status"]["qosClass"] = class.into();
        }
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
        for key in ["activeDeadlineSeconds", "schedulingGates", "nodeName"] {
            // A binding sets the node once; gates may be removed only.
            let free = match key {
                "nodeName" => !old.contains_key(key),
                "schedulingGates" => {
                    let before = old.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
                    list(new, key).iter().all(|gate| before.contains(gate))
                }
                _ => true,
            };
            if free {
                match old.get(key) {
                    Some(value) => allowed.insert(key.into(), value.clone()),
                    None => allowed.remove(key),
                };
            }
        }
        let before = old.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
        if before.iter().all(|toleration| list(new, "tolerations").contains(toleration)) {
            match old.get("tolerations") {
                Some(value) => allowed.insert("tolerations".into(), value.clone()),
                None => allowed.remove("tolerations"),
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
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
             existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
             previously negative)",
        ));
    }
    errors
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
