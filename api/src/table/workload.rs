//! The cells of jobs, autoscalers, revisions and quotas.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{condition, list, text};
use crate::{Object, duration, meta};

/// Metrics that are shown; of the others, how many.
const METRICS: usize = 2;

/// One word for how far a job is.
pub fn job_status(job: &Object) -> &'static str {
    let has = |of: &str| condition(job, of).is_some_and(|(status, _)| status == "True");
    match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if meta::deletion_timestamp(job).is_some() => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

/// `1/3`, or `0/1 of 2` where any of several pods will do.
pub fn job_completions(job: &Object) -> String {
    let done = job["status"]["succeeded"].as_i64().unwrap_or(0);
    let (wanted, parallelism) = (job["spec"]["completions"].as_i64(), job["spec"]["parallelism"].as_i64());
    match (wanted, parallelism.unwrap_or(0)) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, many) if many > 1 => format!("{done}/1 of {many}"),
        (None, _) => format!("{done}/1"),
    }
}

/// How long a job ran, or has run until now.
pub fn job_duration(job: &Object, now: Timestamp) -> String {
    let time = |key: &str| job["status"][key].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let Some(start) = time("startTime") else { return String::new() };
    duration::human(time("completionTime").unwrap_or(now).as_second() - start.as_second())
}

/// `cpu: 10%/80%`: each metric's state and target.
pub fn targets(autoscaler: &Object) -> String {
    let metrics = list(&autoscaler["spec"], "metrics");
    let current = list(&autoscaler["status"], "currentMetrics");
    if metrics.is_empty() {
        return "<none>".into();
    }
    let shown = metrics.iter().take(METRICS).enumerate();
    let shown: Vec<String> =
        shown.map(|(index, metric)| target(metric, current.get(index).unwrap_or(&Value::Null))).collect();
    match metrics.len().saturating_sub(METRICS) {
        0 => shown.join(", "),
        more => format!("{} + {more} more...", shown.join(", ")),
    }
}

fn target(metric: &Value, status: &Value) -> String {
    let sort = match metric["type"].as_str() {
        Some("Resource") => "resource",
        Some("ContainerResource") => "containerResource",
        Some("External") => "external",
        Some("Object") => "object",
        Some("Pods") => "pods",
        _ => return "<unknown type>".into(),
    };
    let (wanted, now) = (&metric[sort]["target"], &status[sort]["current"]);
    let shown = |value: &Value| if value.is_null() { "<unknown>".to_owned() } else { text(value) };
    let average = !wanted["averageValue"].is_null();
    match sort {
        "pods" => format!("{}/{}", shown(&now["averageValue"]), text(&wanted["averageValue"])),
        "external" | "object" if average => {
            format!("{}/{} (avg)", shown(&now["averageValue"]), text(&wanted["averageValue"]))
        }
        "external" | "object" => format!("{}/{}", shown(&now["value"]), text(&wanted["value"])),
        _ if average => format!(
            "{}: {}/{}",
            text(&metric[sort]["name"]),
            shown(&now["averageValue"]),
            text(&wanted["averageValue"])
        ),
        _ => {
            let percent = |value: &Value, or: &str| value.as_i64().map_or(or.into(), |n| format!("{n}%"));
            format!(
                "{}: {}/{}",
                text(&metric[sort]["name"]),
                percent(&now["averageUtilization"], "<unknown>"),
                percent(&wanted["averageUtilization"], "<auto>")
            )
        }
    }
}

/// `daemonset.apps/name`: who keeps the object.
pub fn controller(object: &Object) -> String {
    let owners = list(&object["metadata"], "ownerReferences");
    let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else {
        return "<none>".into();
    };
    let version = text(&owner["apiVersion"]);
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kind = crate::status::qualified(&text(&owner["kind"]), group).to_lowercase();
    format!("{kind}/{}", text(&owner["name"]))
}

/// `pods: 1/10`: what is used of a quota, of limits or of the rest.
pub fn quota(quota: &Object, limits: bool) -> String {
    let hard = quota["status"]["hard"].as_object().into_iter().flatten();
    let of = hard.filter(|(resource, _)| resource.starts_with("limits.") == limits);
    let shown = of.map(|(resource, most)| {
        let used = quota["status"]["used"].get(resource).map_or("0".into(), text);
        format!("{resource}: {used}/{}", text(most))
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn jobs_are_told_in_a_word_and_two_numbers() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        for (job, status, completions, took) in [
            (json!({"spec": {"completions": 3}}), "Running", "0/3", ""),
            (json!({"spec": {"parallelism": 2}, "status": {"succeeded": 1}}), "Running", "1/1 of 2", ""),
            (
                json!({"spec": {}, "status": {
                    "conditions": [{"type": "Complete", "status": "True"}, {"type": "Suspended", "status": "False"}],
                    "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:05Z",
                }}),
                "Complete",
                "0/1",
                "65s",
            ),
            (json!({"status": {"startTime": "2026-01-01T00:00:00Z"}}), "Running", "0/1", "10m"),
        ] {
            assert_eq!(job_status(&job), status, "{job}");
            assert_eq!(job_completions(&job), completions, "{job}");
            assert_eq!(job_duration(&job, now), took, "{job}");
        }
    }

    #[test]
    fn targets_name_each_metric_and_count_the_rest() {
        let resource =
            |target: Value| json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "10"}}});
        let spec = json!({"spec": {"metrics": [resource(json!({"averageUtilization": 80})), pods, pods]},
            "status": {"currentMetrics": [{"resource": {"current": {"averageUtilization": 5}}}]}});
        assert_eq!(targets(&spec), "cpu: 5%/80%, <unknown>/10 + 1 more...");
        assert_eq!(targets(&json!({"spec": {}})), "<none>");
    }
}
