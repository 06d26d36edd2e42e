//! Jobs, daemons, autoscalers.

use serde_json::{Value, json};

use super::{Object, set_if_absent};

/// Counts the templates of a DaemonSet, for rollouts of long ago; upstream still shows it.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub fn daemon(map: &mut Object) {
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if annotations.is_null() {
            *annotations = json!({});
        }
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.entry(TEMPLATE_GENERATION).or_insert_with(|| "0".into());
        }
    }
}

/// The templates of a StatefulSet's claims say what they are.
pub fn claims(map: &mut Object) {
    for claim in map.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(claim) = claim.as_object_mut() {
            set_if_absent(claim, "apiVersion", "v1");
            set_if_absent(claim, "kind", "PersistentVolumeClaim");
        }
    }
}

pub fn job(map: &mut Object) {
    let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let absent = |spec: &Object, key: &str| spec.get(key).is_none_or(Value::is_null);
    if absent(spec, "completions") && absent(spec, "parallelism") {
        set_if_absent(spec, "completions", 1);
    }
    set_if_absent(spec, "parallelism", 1);
    let limit = if absent(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    set_if_absent(spec, "backoffLimit", limit);
    set_if_absent(spec, "completionMode", "NonIndexed");
    set_if_absent(spec, "suspend", false);
    set_if_absent(spec, "manualSelector", false);
    let replaced = if absent(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    set_if_absent(spec, "podReplacementPolicy", replaced);
}

/// An autoscaler that names no metric looks at the processor.
pub fn metrics(map: &mut Object) {
    if map.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
        map.insert("metrics".into(), metric);
    }
}

/// Both ways of scaling have rules as soon as one has.
pub fn behavior(map: &mut Object) {
    let policy = |sort: &str, value: i32| json!({"type": sort, "value": value, "periodSeconds": 15});
    let up = json!({
        "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [policy("Pods", 4), policy("Percent", 100)],
    });
    let down = json!({"selectPolicy": "Max", "policies": [policy("Percent", 100)]});
    for (key, rules) in [("scaleUp", up), ("scaleDown", down)] {
        let slot = map.entry(key).or_insert(Value::Null);
        if slot.is_null() {
            *slot = json!({});
        }
        if let (Some(slot), Value::Object(rules)) = (slot.as_object_mut(), rules) {
            rules.into_iter().for_each(|(key, value)| {
                let own = slot.entry(key).or_insert(Value::Null);
                if own.is_null() {
                    *own = value;
                }
            });
        }
    }
}
