//! The cells of a pod: what is ready, what it is doing, how often it was restarted.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::text;
use crate::{Object, duration, meta};

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The init container of a status, and whether it is a sidecar.
fn sidecar(pod: &Object, status: &Value) -> bool {
    list(&pod["spec"], "initContainers")
        .iter()
        .any(|container| container["name"] == status["name"] && container["restartPolicy"] == "Always")
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// `1/2`: containers (and started sidecars) that are ready, of all.
pub fn ready(pod: &Object) -> String {
    let sidecars =
        list(&pod["spec"], "initContainers").iter().filter(|c| c["restartPolicy"] == "Always").count();
    let total = list(&pod["spec"], "containers").len() + sidecars;
    let running = |status: &&Value| status["ready"] == true && status["state"]["running"].is_object();
    let ready = list(&pod["status"], "containerStatuses").iter().filter(running).count()
        + list(&pod["status"], "initContainerStatuses")
            .iter()
            .filter(|status| sidecar(pod, status) && status["ready"] == true && status["started"] == true)
            .count();
    format!("{ready}/{total}")
}

/// The word in the STATUS column.
pub fn status(pod: &Object) -> String {
    let status = &pod["status"];
    let mut reason = match status["reason"].as_str().unwrap_or_default() {
        "" => text(&status["phase"]),
        reason => reason.to_owned(),
    };
    let gated = list(status, "conditions")
        .iter()
        .any(|condition| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated");
    if gated {
        reason = "SchedulingGated".into();
    }
    let total = list(&pod["spec"], "initContainers").len();
    let mut initializing = false;
    for (index, container) in list(status, "initContainerStatuses").iter().enumerate() {
        let state = &container["state"];
        if state["terminated"].is_object() && number(&state["terminated"]["exitCode"]) == 0 {
            continue;
        }
        if sidecar(pod, container) && container["started"] == true {
            continue;
        }
        let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
        reason = if state["terminated"].is_object() {
            format!("Init:{}", ended(&state["terminated"]))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{total}")
        };
        initializing = true;
        break;
    }
    let initialized = list(status, "conditions")
        .iter()
        .any(|condition| condition["type"] == "Initialized" && condition["status"] == "True");
    if !initializing || initialized {
        let mut running = false;
        for container in list(status, "containerStatuses").iter().rev() {
            let state = &container["state"];
            let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
            if !waiting.is_empty() {
                reason = waiting.into();
            } else if state["terminated"].is_object() {
                reason = ended(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                running = true;
            }
        }
        if reason == "Completed" && running {
            let is_ready =
                list(status, "conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            reason = if is_ready { "Running".into() } else { "NotReady".into() };
        }
    }
    if meta::deletion_timestamp(pod).is_some() {
        if status["reason"] == "NodeLost" {
            reason = "Unknown".into();
        } else if !matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")) {
            reason = "Terminating".into();
        }
    }
    reason
}

fn ended(terminated: &Value) -> String {
    match (terminated["reason"].as_str().unwrap_or_default(), number(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", number(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}

/// `2`, or `2 (5m ago)`.
pub fn restarts(pod: &Object, now: Timestamp) -> String {
    let status = &pod["status"];
    let (mut count, mut last) = (0, None::<&str>);
    let inits = list(status, "initContainerStatuses").iter();
    let initializing = inits.clone().any(|container| {
        let terminated = &container["state"]["terminated"];
        let done = terminated.is_object() && number(&terminated["exitCode"]) == 0;
        let serving = sidecar(pod, container) && container["started"] == true;
        !(done || serving)
    });
    let counted = inits.filter(|container| initializing || sidecar(pod, container));
    for container in counted.chain(list(status, "containerStatuses").iter().filter(|_| !initializing)) {
        count += number(&container["restartCount"]);
        let finished = container["lastState"]["terminated"]["finishedAt"].as_str();
        last = last.max(finished);
    }
    match last {
        Some(last) if count > 0 => format!("{count} ({} ago)", duration::since(Some(last), now)),
        _ => count.to_string(),
    }
}

/// `1/2`: readiness gates that hold, of all.
pub fn gates(pod: &Object) -> String {
    let gates = list(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let holds = |gate: &&Value| {
        list(&pod["status"], "conditions")
            .iter()
            .any(|condition| condition["type"] == gate["conditionType"] && condition["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pods_status_reads_as_upstream_prints_it() {
        let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]});
        for (meta, state, expected) in [
            (json!({}), json!({"phase": "Pending"}), "Pending"),
            (
                json!({}),
                json!({"phase": "Running", "containerStatuses": [
                {"ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                "CrashLoopBackOff",
            ),
            (
                json!({}),
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
                "Init:0/1",
            ),
            (
                json!({}),
                json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
                "Init:Error",
            ),
            (
                json!({}),
                json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}),
                "ExitCode:3",
            ),
            (
                json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
                json!({"phase": "Running"}),
                "Terminating",
            ),
        ] {
            let pod = json!({"metadata": meta, "spec": spec, "status": state});
            assert_eq!(status(&pod), expected, "{state}");
        }
    }

    #[test]
    fn restarts_tell_when_the_last_was() {
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let pod = json!({"spec": {"containers": [{}]}, "status": {"containerStatuses": [{"restartCount": 2, "ready": true,
            "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}}}]}});
        assert_eq!((restarts(&pod, now).as_str(), ready(&pod).as_str()), ("2 (5m ago)", "1/1"));
    }
}
