//! Pods leave a node whose NoExecute taints they do not tolerate, at once or when their toleration ends.
//!
//! Behaviour: upstream's `pkg/controller/tainteviction`. The time counts from when the taint was added, so a restart of
//! the controllers does not begin it anew.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use kube::api::Api;
use skiff_runtime::Key;
use skiff_runtime::event::{Recorder, Type, reference};
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::{Context, delete_only};
use crate::error::{Error, gone_is_fine, is_conflict};
use crate::podgc::mark_disrupted;
use crate::pods::is_finished;

/// What becomes of a pod.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Stay,
    /// Look again then.
    StayFor(Duration),
    Leave,
}

/// From the taints of its node to what becomes of a pod.
fn decide(pod: &Pod, node: &Node, now: Timestamp) -> Plan {
    if pod.metadata.deletion_timestamp.is_some() || is_finished(pod) {
        return Plan::Stay;
    }
    let taints: Vec<_> = no_execute(node).collect();
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut plan = Plan::Stay;
    for taint in taints {
        // Of several tolerations of one taint the shortest counts, as upstream.
        let tolerating: Vec<_> =
            tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if tolerating.is_empty() {
            return Plan::Leave;
        }
        let Some(seconds) = tolerating.iter().filter_map(|toleration| toleration.toleration_seconds).min()
        else {
            continue;
        };
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        let left = since + SignedDuration::from_secs(seconds.max(0));
        let left = left.duration_since(now);
        if left <= SignedDuration::ZERO {
            return Plan::Leave;
        }
        let left = left.unsigned_abs();
        plan = match plan {
            Plan::StayFor(other) => Plan::StayFor(other.min(left)),
            _ => Plan::StayFor(left),
        };
    }
    plan
}

fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).filter(|taint| taint.effect == "NoExecute")
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    let operator = text(&toleration.operator);
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match operator.as_str() {
            "Exists" => true,
            "" | "Equal" => !key.is_empty() && text(&toleration.value) == text(&taint.value),
            _ => false,
        }
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("taint-eviction");
    let recorder = context.recorder("taint-eviction-controller");
    {
        let (queue, nodes) = (queue.clone(), context.nodes.clone());
        context.pods.follow(context.shutdown.clone(), move |change| {
            let Some(pod) = &change.new else { return };
            let node = pod.spec.as_ref().and_then(|spec| nodes.get("", spec.node_name.as_deref()?));
            if node.is_some_and(|node| no_execute(&node).next().is_some()) {
                queue.add(Key::of(pod.as_ref()));
            }
        });
    }
    {
        let (queue, pods) = (queue.clone(), context.pods.clone());
        context.nodes.follow(context.shutdown.clone(), move |change| {
            let Some(node) = &change.new else { return };
            let changed = change.old.as_ref().is_none_or(|old| !no_execute(old).eq(no_execute(node)));
            if !changed || no_execute(node).next().is_none() {
                return;
            }
            for pod in pods.list() {
                if pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == node.metadata.name.as_ref() {
                    queue.add(Key::of(pod.as_ref()));
                }
            }
        });
    }
    tokio::select! {
        () = async { context.pods.synced().await; context.nodes.synced().await } => {}
        () = context.shutdown.cancelled() => return,
    }
    let reconcile = |key| reconcile(&context, &recorder, key);
    queue::run(queue.clone(), context.config.workers, reconcile, context.shutdown.clone()).await;
}

async fn reconcile(context: &Context, recorder: &Recorder, key: Key) -> Result<Action, Error> {
    let Some(pod) = context.pods.by_key(&key) else { return Ok(Action::Done) };
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let Some(node) = context.nodes.get("", name) else { return Ok(Action::Done) };
    match decide(&pod, &node, Timestamp::now()) {
        Plan::Stay => Ok(Action::Done),
        Plan::StayFor(left) => Ok(Action::After(left)),
        Plan::Leave => {
            recorder.event(
                &reference(pod.as_ref()),
                Type::Normal,
                "TaintManagerEviction",
                format!("Marking for deletion Pod {key}"),
            );
            let message = "Taint manager: deleting due to NoExecute taint";
            mark_disrupted(context, &pod, "DeletionByTaintManager", message, false).await?;
            let api: Api<Pod> = context.api(&key.namespace);
            match gone_is_fine(api.delete(&key.name, &delete_only(pod.metadata.uid.as_ref())).await) {
                Err(error) if !is_conflict(&error) => Err(error.into()),
                _ => Ok(Action::Done),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn tolerations_decide_how_long_a_pod_stays() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let taint = |key: &str| json!({"key": key, "effect": "NoExecute", "timeAdded": (now - SignedDuration::from_secs(100)).to_string()});
        let table: [(Value, Value, Plan); 8] = [
            (json!([]), json!([]), Plan::Stay),
            (json!([taint("a")]), json!([]), Plan::Leave),
            (json!([taint("a")]), json!([{"operator": "Exists"}]), Plan::Stay),
            (
                json!([taint("a")]),
                json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300}]),
                Plan::StayFor(Duration::from_secs(200)),
            ),
            (
                json!([taint("a")]),
                json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 99}]),
                Plan::Leave,
            ),
            (json!([taint("a"), taint("b")]), json!([{"key": "a", "operator": "Exists"}]), Plan::Leave),
            (json!([taint("a")]), json!([{"key": "a", "value": "other"}]), Plan::Leave),
            (json!([{"key": "a", "effect": "NoSchedule"}]), json!([]), Plan::Stay),
        ];
        for (taints, tolerations, expected) in table {
            let node = serde_json::from_value(json!({"metadata": {}, "spec": {"taints": taints}})).unwrap();
            let pod = json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(decide(&pod, &node, now), expected, "{taints} {tolerations}");
        }
    }
}
