//! What a node's silence means.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pods::{is_finished, ready_condition};

/// What is looked at. `pods` need be filled only when the node is not ready or silent.
pub(super) struct World {
    pub node: Arc<Node>,
    pub pods: Vec<Arc<Pod>>,
    /// When the node was last heard of.
    pub heard: Timestamp,
    /// Whether any node is ready. If none is, it is more likely that nobody can reach us, and nobody is driven out.
    pub any_ready: bool,
    pub grace: Duration,
    pub startup_grace: Duration,
}

/// What to write; nothing where all is as it should be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub status: Option<NodeStatus>,
    pub taints: Option<Vec<Taint>>,
    /// Pods with the status to write.
    pub not_ready: Vec<Pod>,
    pub again: Option<Duration>,
}

/// The conditions that a node agent reports and a silent one no longer does.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// (condition, its status, the taint it brings)
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

fn condition<'s>(status: Option<&'s NodeStatus>, type_: &str) -> Option<&'s NodeCondition> {
    status?.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

/// Whether the node says that it is ready.
pub(super) fn is_ready(node: &Node) -> bool {
    condition(node.status.as_ref(), "Ready").is_some_and(|ready| ready.status == "True")
}

/// When the node itself last reported.
pub(super) fn heartbeat(node: &Node) -> Option<Timestamp> {
    condition(node.status.as_ref(), "Ready")?.last_heartbeat_time.as_ref().map(|time| time.0)
}

/// From what is to what to write.
pub(super) fn decide(world: &World, now: Timestamp) -> Plan {
    let node = world.node.as_ref();
    let known = condition(node.status.as_ref(), "Ready").is_some();
    let grace = if known { world.grace } else { world.startup_grace };
    let silence = now.duration_since(world.heard).max(SignedDuration::ZERO).unsigned_abs();
    let silent = silence >= grace;
    let mut status = node.status.clone();
    if silent {
        status = Some(unknown(node.status.clone().unwrap_or_default(), now));
    }
    let wanted = taints(world, status.as_ref(), now);
    let held = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    Plan {
        not_ready: world.pods.iter().filter_map(|pod| not_ready(pod, status.as_ref(), now)).collect(),
        status: status.filter(|status| Some(status) != node.status.as_ref()),
        taints: Some(wanted).filter(|wanted| *wanted != held),
        again: (!silent).then(|| grace - silence + Duration::from_millis(1)),
    }
}

fn unknown(mut status: NodeStatus, now: Timestamp) -> NodeStatus {
    let conditions = status.conditions.get_or_insert_default();
    for type_ in REPORTED {
        match conditions.iter_mut().find(|condition| condition.type_ == type_) {
            Some(held) if held.status != "Unknown" => {
                held.status = "Unknown".to_owned();
                held.reason = Some("NodeStatusUnknown".to_owned());
                held.message = Some("Kubelet stopped posting node status.".to_owned());
                held.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
            None => conditions.push(NodeCondition {
                type_: type_.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: None,
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    status
}

/// The taints as they should be: ours put right, others untouched. A taint that stays keeps its time.
fn taints(world: &World, status: Option<&NodeStatus>, now: Timestamp) -> Vec<Taint> {
    let spec = world.node.spec.as_ref();
    let held = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
    if condition(status, "Ready").is_none() {
        // It has not reported yet: what it was registered with holds.
        return held;
    }
    let holds = |type_: &str, value: &str| condition(status, type_).is_some_and(|c| c.status == value);
    let mut wanted = Vec::new();
    for (type_, value, key) in TAINTS {
        if holds(type_, value) {
            wanted.push((key, "NoSchedule"));
            if type_ == "Ready" && world.any_ready {
                wanted.push((key, "NoExecute"));
            }
        }
    }
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Taint| match taint.effect.as_str() {
        "NoSchedule" => taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(.., key)| taint.key == *key),
        "NoExecute" => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    };
    let is = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let mut taints: Vec<_> =
        held.into_iter().filter(|taint| !ours(taint) || wanted.iter().any(|pair| is(taint, *pair))).collect();
    for pair in wanted {
        if !taints.iter().any(|taint| is(taint, pair)) {
            taints.push(Taint {
                key: pair.0.to_owned(),
                effect: pair.1.to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    taints
}

/// The pod with `Ready` false, if it became ready before its node ceased to be. One that became ready later was
/// reported by a node agent that lives, which knows better.
fn not_ready(pod: &Pod, status: Option<&NodeStatus>, now: Timestamp) -> Option<Pod> {
    let node = condition(status, "Ready").filter(|ready| ready.status != "True")?;
    let ready = ready_condition(pod).filter(|ready| ready.status == "True" && !is_finished(pod))?;
    let since = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    if since(&ready.last_transition_time) > since(&node.last_transition_time) {
        return None;
    }
    let mut pod = pod.clone();
    let conditions = pod.status.as_mut()?.conditions.as_mut()?;
    let ready = conditions.iter_mut().find(|condition| condition.type_ == "Ready")?;
    ready.status = "False".to_owned();
    ready.last_transition_time = Some(Time(now));
    Some(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn world(ready: Option<&str>, taints: Value, unschedulable: bool, heard: i64) -> World {
        let condition = |status: &str| {
            let time = at(-500).to_string();
            json!([{"type": "Ready", "status": status, "lastTransitionTime": time}])
        };
        let node = json!({
            "metadata": {"name": "a"},
            "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"conditions": ready.map(condition)},
        });
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {"nodeName": "a", "containers": []},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": at(-600).to_string()}
            ]},
        });
        World {
            node: Arc::new(serde_json::from_value(node).unwrap()),
            pods: vec![Arc::new(serde_json::from_value(pod).unwrap())],
            heard: at(heard),
            any_ready: true,
            grace: Duration::from_secs(50),
            startup_grace: Duration::from_secs(60),
        }
    }

    fn keys(taints: &Option<Vec<Taint>>) -> Option<Vec<String>> {
        let text = |taint: &Taint| {
            format!("{}:{}", taint.key.trim_start_matches("node.kubernetes.io/"), taint.effect)
        };
        taints.as_ref().map(|taints| taints.iter().map(text).collect())
    }

    #[test]
    fn silence_makes_a_node_unknown_and_taints_it() {
        let unreachable = || json!([{"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"}]);
        let foreign = || json!([{"key": "mine", "effect": "NoExecute"}]);
        // (Ready, taints, cordoned, last heard) → (Ready afterwards, taints if changed, pods marked)
        type Row =
            (Option<&'static str>, Value, bool, i64, Option<&'static str>, Option<Vec<&'static str>>, usize);
        let table: [Row; 9] = [
            (Some("True"), json!([]), false, -49, None, None, 0),
            (
                Some("True"),
                json!([]),
                false,
                -50,
                Some("Unknown"),
                Some(vec!["unreachable:NoSchedule", "unreachable:NoExecute"]),
                1,
            ),
            (Some("Unknown"), unreachable(), false, -90, Some("Unknown"), None, 1),
            (
                Some("False"),
                json!([]),
                false,
                0,
                None,
                Some(vec!["not-ready:NoSchedule", "not-ready:NoExecute"]),
                1,
            ),
            (Some("True"), unreachable(), false, 0, None, Some(vec![]), 0),
            (Some("True"), foreign(), false, 0, None, None, 0),
            (Some("True"), json!([]), true, 0, None, Some(vec!["unschedulable:NoSchedule"]), 0),
            (None, json!([]), false, -59, None, None, 0),
            (
                None,
                json!([]),
                false,
                -60,
                Some("Unknown"),
                Some(vec!["unreachable:NoSchedule", "unreachable:NoExecute"]),
                0,
            ),
        ];
        for (index, (ready, taints, cordoned, heard, after, expected, marked)) in
            table.into_iter().enumerate()
        {
            let plan = decide(&world(ready, taints, cordoned, heard), at(0));
            if let Some(status) = &plan.status {
                let ready = condition(Some(status), "Ready").map(|condition| condition.status.as_str());
                assert_eq!(ready, after, "{index}");
            }
            let expected = expected.map(|keys| keys.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(keys(&plan.taints), expected, "{index}");
            // A node that never reported became unknown just now, after its pod became ready.
            assert!(plan.not_ready.len() == marked || ready.is_none(), "{index}");
        }
    }

    #[test]
    fn nobody_is_driven_out_when_no_node_is_ready() {
        let mut lonely = world(Some("Unknown"), json!([]), false, -90);
        lonely.any_ready = false;
        assert_eq!(keys(&decide(&lonely, at(0)).taints), Some(vec!["unreachable:NoSchedule".to_owned()]));
    }

    #[test]
    fn the_alarm_is_set_to_the_end_of_the_grace_period() {
        let plan = decide(&world(Some("True"), json!([]), false, -20), at(0));
        assert_eq!(plan.again.map(|again| again.as_secs()), Some(30));
    }
}
