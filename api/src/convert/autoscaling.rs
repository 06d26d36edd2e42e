//! HorizontalPodAutoscalers as `autoscaling/v1` shows them: the processor's use in two fields, everything else in
//! annotations, in upstream's form of them.

use serde_json::{Map, Value, json};

use crate::Object;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// A field here, and where it is in a metric of `v2`; in the order that upstream writes them.
type Paths = &'static [(&'static str, &'static [&'static str])];

/// The sorts of metrics: their field, then the paths of their source and of their state.
#[rustfmt::skip]
const SORTS: [(&str, Paths, Paths); 5] = [
    ("object",
        &[("target", &["describedObject"]), ("metricName", &["metric", "name"]), ("targetValue", &["target", "value"]),
          ("selector", &["metric", "selector"]), ("averageValue", &["target", "averageValue"])],
        &[("target", &["describedObject"]), ("metricName", &["metric", "name"]), ("currentValue", &["current", "value"]),
          ("selector", &["metric", "selector"]), ("averageValue", &["current", "averageValue"])]),
    ("pods",
        &[("metricName", &["metric", "name"]), ("targetAverageValue", &["target", "averageValue"]),
          ("selector", &["metric", "selector"])],
        &[("metricName", &["metric", "name"]), ("currentAverageValue", &["current", "averageValue"]),
          ("selector", &["metric", "selector"])]),
    ("resource",
        &[("name", &["name"]), ("targetAverageUtilization", &["target", "averageUtilization"]),
          ("targetAverageValue", &["target", "averageValue"])],
        &[("name", &["name"]), ("currentAverageUtilization", &["current", "averageUtilization"]),
          ("currentAverageValue", &["current", "averageValue"])]),
    ("containerResource",
        &[("name", &["name"]), ("targetAverageUtilization", &["target", "averageUtilization"]),
          ("targetAverageValue", &["target", "averageValue"]), ("container", &["container"])],
        &[("name", &["name"]), ("currentAverageUtilization", &["current", "averageUtilization"]),
          ("currentAverageValue", &["current", "averageValue"]), ("container", &["container"])]),
    ("external",
        &[("metricName", &["metric", "name"]), ("metricSelector", &["metric", "selector"]),
          ("targetValue", &["target", "value"]), ("targetAverageValue", &["target", "averageValue"])],
        &[("metricName", &["metric", "name"]), ("metricSelector", &["metric", "selector"]),
          ("currentValue", &["current", "value"]), ("currentAverageValue", &["current", "averageValue"])]),
];

/// Fields of a behavior, as the annotation and as `v2` call them.
const RULES: [(&str, &str); 4] = [
    ("StabilizationWindowSeconds", "stabilizationWindowSeconds"),
    ("SelectPolicy", "selectPolicy"),
    ("Policies", "policies"),
    ("Tolerance", "tolerance"),
];
const POLICY: [(&str, &str); 3] = [("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds")];

/// From `v2` to `v1`.
pub fn show(object: &mut Object) {
    let spec = part(object, "spec");
    let metrics = take_list(spec, "metrics");
    let behavior = spec.remove("behavior").filter(|behavior| !behavior.is_null());
    let (cpu, others): (Vec<Value>, Vec<Value>) = metrics.into_iter().partition(is_cpu_use);
    if let Some(metric) = cpu.first() {
        let percent = metric["resource"]["target"]["averageUtilization"].clone();
        spec.insert("targetCPUUtilizationPercentage".into(), percent);
    }
    let status = part(object, "status");
    let current = take_list(status, "currentMetrics");
    let conditions = take_list(status, "conditions");
    let used =
        current.iter().filter(|metric| metric["type"] == "Resource" && metric["resource"]["name"] == "cpu");
    let percent = |metric: &Value| metric["resource"]["current"]["averageUtilization"].clone();
    if let Some(percent) = used.map(percent).find(|percent| !percent.is_null()) {
        status.insert("currentCPUUtilizationPercentage".into(), percent);
    }

    let mut kept = annotations(object);
    drop_own(&mut kept);
    if !others.is_empty() {
        let texts: Vec<String> = others.iter().map(|metric| metric_text(metric, false)).collect();
        kept.insert(METRICS.into(), format!("[{}]", texts.join(",")).into());
    }
    if !current.is_empty() {
        let texts: Vec<String> = current.iter().map(|metric| metric_text(metric, true)).collect();
        kept.insert(CURRENT_METRICS.into(), format!("[{}]", texts.join(",")).into());
    }
    if let Some(behavior) = behavior {
        kept.insert(BEHAVIOR.into(), behavior_text(&behavior).into());
    }
    if !conditions.is_empty() {
        let fields = ["type", "status", "lastTransitionTime", "reason", "message"];
        let texts = conditions.iter().map(|condition| {
            text(
                fields
                    .iter()
                    .map(|field| (*field, condition[*field].clone()))
                    .filter(|(_, value)| !value.is_null()),
            )
        });
        kept.insert(CONDITIONS.into(), format!("[{}]", texts.collect::<Vec<_>>().join(",")).into());
    }
    set_annotations(object, kept);
}

/// From `v1` to `v2`.
pub fn store(object: &mut Object) {
    let mut kept = annotations(object);
    let read = |kept: &Map<String, Value>, key: &str| -> Option<Value> {
        serde_json::from_str(kept.get(key)?.as_str()?).ok()
    };
    let read_list = |key: &str| match read(&kept, key) {
        Some(Value::Array(list)) => Some(list),
        _ => None,
    };
    let (others, current, conditions) =
        (read_list(METRICS), read_list(CURRENT_METRICS), read_list(CONDITIONS));
    let behavior = read(&kept, BEHAVIOR).filter(Value::is_object);
    drop_own(&mut kept);
    set_annotations(object, kept);

    let spec = part(object, "spec");
    let mut metrics: Vec<Value> =
        others.unwrap_or_default().iter().map(|metric| metric_of(metric, false)).collect();
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage").filter(|percent| !percent.is_null())
    {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if !metrics.is_empty() {
        spec.insert("metrics".into(), metrics.into());
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), behavior_of(&behavior));
    }
    let status = part(object, "status");
    let percent = status.remove("currentCPUUtilizationPercentage").filter(|percent| !percent.is_null());
    if let Some(current) = current {
        let current: Vec<Value> = current.iter().map(|metric| metric_of(metric, true)).collect();
        status.insert("currentMetrics".into(), current.into());
    } else if let Some(percent) = percent {
        let current = json!({"name": "cpu", "current": {"averageUtilization": percent}});
        status.insert("currentMetrics".into(), json!([{"type": "Resource", "resource": current}]));
    }
    if let Some(conditions) = conditions {
        status.insert("conditions".into(), conditions.into());
    }
}

fn is_cpu_use(metric: &Value) -> bool {
    let resource = &metric["resource"];
    metric["type"] == "Resource"
        && resource["name"] == "cpu"
        && !resource["target"]["averageUtilization"].is_null()
}

fn part<'a>(object: &'a mut Object, key: &str) -> &'a mut Map<String, Value> {
    if !object[key].is_object() {
        object[key] = json!({});
    }
    object[key].as_object_mut().expect("it was made one above")
}

fn take_list(map: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match map.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn annotations(object: &Object) -> Map<String, Value> {
    object["metadata"]["annotations"].as_object().cloned().unwrap_or_default()
}

fn set_annotations(object: &mut Object, annotations: Map<String, Value>) {
    let metadata = part(object, "metadata");
    if annotations.is_empty() {
        metadata.remove("annotations");
    } else {
        metadata.insert("annotations".into(), annotations.into());
    }
}

fn drop_own(annotations: &mut Map<String, Value>) {
    annotations.retain(|key, _| ![METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR].contains(&key.as_str()));
}

/// JSON with its members in that order.
fn text<'a>(members: impl Iterator<Item = (&'a str, Value)>) -> String {
    let members: Vec<String> = members.map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn paths(sort: &(&'static str, Paths, Paths), state: bool) -> Paths {
    if state { sort.2 } else { sort.1 }
}

fn metric_text(metric: &Value, state: bool) -> String {
    let mut members = vec![format!("\"type\":{}", metric["type"])];
    for sort in SORTS.iter().filter(|sort| metric[sort.0].is_object()) {
        let found = paths(sort, state).iter().map(|(name, path)| {
            (
                *name,
                path.iter().try_fold(&metric[sort.0], |at, step| at.get(step)).cloned().unwrap_or_default(),
            )
        });
        // A value that `v1` must have is nothing, not absent.
        let needed = |name: &str| {
            matches!(
                (sort.0, name),
                ("object", "targetValue" | "currentValue") | ("external", "currentValue")
            )
        };
        let found = found.filter_map(|(name, value)| match value {
            Value::Null if needed(name) => Some((name, Value::from("0"))),
            Value::Null => None,
            value => Some((name, value)),
        });
        members.push(format!("\"{}\":{}", sort.0, text(found)));
    }
    format!("{{{}}}", members.join(","))
}

fn metric_of(metric: &Value, state: bool) -> Value {
    let mut result = json!({"type": metric["type"]});
    for sort in SORTS.iter().filter(|sort| metric[sort.0].is_object()) {
        let source = &metric[sort.0];
        let mut made = json!({});
        for (name, path) in paths(sort, state) {
            let unneeded = matches!((sort.0, *name), ("object", "targetValue" | "currentValue"))
                && !source["averageValue"].is_null();
            if source[*name].is_null() || unneeded {
                continue;
            }
            let mut at = &mut made;
            for step in *path {
                at = &mut at[*step];
            }
            *at = source[*name].clone();
        }
        if !state {
            let target = &mut made["target"];
            target["type"] = match () {
                () if !target["averageUtilization"].is_null() => "Utilization",
                () if !target["averageValue"].is_null() => "AverageValue",
                () if !target["value"].is_null() => "Value",
                () => "AverageValue",
            }
            .into();
        }
        result[sort.0] = made;
    }
    result
}

fn behavior_text(behavior: &Value) -> String {
    let side = |rules: &Value| {
        if rules.is_null() {
            return "null".to_owned();
        }
        let members = RULES.iter().map(|(name, field)| match *field {
            "policies" => {
                let policies = rules["policies"].as_array().map(|policies| {
                    let policy = |policy: &Value| {
                        text(POLICY.iter().map(|(name, field)| (*name, policy[*field].clone())))
                    };
                    format!("[{}]", policies.iter().map(policy).collect::<Vec<_>>().join(","))
                });
                format!("\"{name}\":{}", policies.unwrap_or_else(|| "null".into()))
            }
            field => format!("\"{name}\":{}", rules.get(field).unwrap_or(&Value::Null)),
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    format!("{{\"ScaleUp\":{},\"ScaleDown\":{}}}", side(&behavior["scaleUp"]), side(&behavior["scaleDown"]))
}

fn behavior_of(behavior: &Value) -> Value {
    let mut result = json!({});
    for (name, field) in [("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")] {
        let given = &behavior[name];
        if given.is_null() {
            continue;
        }
        let mut rules = json!({});
        for (name, field) in RULES.iter().filter(|(name, _)| !given[*name].is_null()) {
            rules[*field] = given[*name].clone();
        }
        for policy in rules.get_mut("policies").and_then(Value::as_array_mut).into_iter().flatten() {
            let renamed = POLICY.iter().map(|(name, field)| ((*field).to_owned(), policy[*name].clone()));
            *policy = Value::Object(renamed.collect());
        }
        result[field] = rules;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_use_is_a_field_and_the_rest_annotations() {
        let second = json!({
            "metadata": {"name": "a", "annotations": {"mine": "1"}},
            "spec": {"maxReplicas": 3, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
                {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
            ], "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}},
            "status": {"conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": null}]},
        });
        let mut shown = second.clone();
        show(&mut shown);
        assert_eq!(shown["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 60}));
        let annotations = &shown["metadata"]["annotations"];
        assert_eq!(annotations["mine"], "1");
        assert_eq!(
            annotations[METRICS],
            r#"[{"type":"Pods","pods":{"metricName":"q","targetAverageValue":"10"}}]"#
        );
        let behavior = "{\"ScaleUp\":null,\"ScaleDown\":{\"StabilizationWindowSeconds\":null,\"SelectPolicy\":null,\
                        \"Policies\":[{\"Type\":\"Pods\",\"Value\":1,\"PeriodSeconds\":60}],\"Tolerance\":null}}";
        assert_eq!(annotations[BEHAVIOR], behavior);

        store(&mut shown);
        let mut expected = second;
        // The processor's own comes last, as upstream's.
        expected["spec"]["metrics"].as_array_mut().unwrap().reverse();
        expected["status"]["conditions"][0].as_object_mut().unwrap().remove("lastTransitionTime");
        assert_eq!(shown, expected);
    }
}
