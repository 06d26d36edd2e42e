//! Pods that nobody else will remove: those of nodes that are gone, those deleted before they had a node, and the oldest
//! finished ones when there are too many.
//!
//! Behaviour: upstream's `pkg/controller/podgc`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams};
use skiff_runtime::Key;
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::{Context, delete_only, replace_status};
use crate::error::{Error, gone_is_fine, is_conflict, is_not_found};
use crate::pods::is_finished;

/// How long a node must be missing before its pods count as lost: it may be about to come.
const QUARANTINE: Duration = Duration::from_secs(40);
/// How soon after a pod has finished the finished ones are counted; many that finish together are counted once.
const COUNT_AFTER: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Pod(Key),
    CountFinished,
}

/// What becomes of a pod.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Keep,
    /// Its node is not there; look again then.
    Wait(Duration),
    /// Its node is gone.
    Orphaned,
    /// It is being deleted, and no node agent will finish that.
    NeverScheduled,
}

/// `missing_for`: how long its node has been missing, none if it is there.
fn decide(pod: &Pod, missing_for: Option<Duration>) -> Plan {
    let scheduled =
        pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).is_some_and(|name| !name.is_empty());
    match (scheduled, missing_for) {
        (false, _) if pod.metadata.deletion_timestamp.is_some() => Plan::NeverScheduled,
        (true, Some(missing)) if missing >= QUARANTINE => Plan::Orphaned,
        (true, Some(missing)) => Plan::Wait(QUARANTINE - missing),
        _ => Plan::Keep,
    }
}

/// The finished pods beyond `threshold`, oldest first.
fn surplus(pods: &[Arc<Pod>], threshold: usize) -> Vec<Arc<Pod>> {
    let mut finished: Vec<_> = pods.iter().filter(|pod| is_finished(pod)).cloned().collect();
    let count = finished.len().saturating_sub(threshold);
    finished.sort_by_cached_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    finished.truncate(if threshold == 0 { 0 } else { count });
    finished
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("podgc");
    {
        let (queue, nodes) = (queue.clone(), context.nodes.clone());
        context.pods.follow(context.shutdown.clone(), move |change| {
            let Some(pod) = &change.new else { return };
            if is_finished(pod) {
                queue.add_after(Work::CountFinished, COUNT_AFTER);
            }
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
            let lost = !node.is_empty() && nodes.is_synced() && nodes.get("", node).is_none();
            if lost || (node.is_empty() && pod.metadata.deletion_timestamp.is_some()) {
                queue.add(Work::Pod(Key::of(pod.as_ref())));
            }
        });
    }
    {
        let (queue, pods) = (queue.clone(), context.pods.clone());
        context.nodes.follow(context.shutdown.clone(), move |change| {
            let (Some(node), None) = (&change.old, &change.new) else { return };
            for pod in pods.list() {
                if pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == node.metadata.name.as_ref() {
                    queue.add(Work::Pod(Key::of(pod.as_ref())));
                }
            }
        });
    }
    tokio::select! {
        () = async { context.pods.synced().await; context.nodes.synced().await } => {}
        () = context.shutdown.cancelled() => return,
    }
    for pod in context.pods.list() {
        // Those seen before the nodes were.
        queue.add(Work::Pod(Key::of(pod.as_ref())));
    }
    let missing: Mutex<HashMap<String, Timestamp>> = Mutex::default();
    let reconcile = |work| reconcile(&context, &missing, work);
    queue::run(queue.clone(), context.config.workers, reconcile, context.shutdown.clone()).await;
}

async fn reconcile(
    context: &Context,
    missing: &Mutex<HashMap<String, Timestamp>>,
    work: Work,
) -> Result<Action, Error> {
    let Work::Pod(key) = work else {
        for pod in surplus(&context.pods.list(), context.config.terminated_pod_gc_threshold) {
            remove(context, &pod).await?;
        }
        return Ok(Action::Done);
    };
    let Some(pod) = context.pods.by_key(&key) else { return Ok(Action::Done) };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let missing_for = {
        let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.retain(|name, _| context.nodes.get("", name).is_none());
        let absent = !node.is_empty() && context.nodes.get("", &node).is_none();
        let now = Timestamp::now();
        absent.then(|| now.duration_since(*missing.entry(node.clone()).or_insert(now)).unsigned_abs())
    };
    match decide(&pod, missing_for) {
        Plan::Keep => Ok(Action::Done),
        Plan::Wait(left) => Ok(Action::After(left)),
        Plan::NeverScheduled => remove(context, &pod).await.map(|()| Action::Done),
        Plan::Orphaned => {
            // The view may be late; the API server knows.
            if Api::<Node>::all(context.client.clone()).get_opt(&node).await?.is_none() {
                mark_disrupted(context, &pod, "DeletionByPodGC", "PodGC: node no longer exists", true)
                    .await?;
                remove(context, &pod).await?;
            }
            Ok(Action::Done)
        }
    }
}

async fn remove(context: &Context, pod: &Pod) -> Result<(), Error> {
    let api: Api<Pod> = context.api(pod.metadata.namespace.as_deref().unwrap_or_default());
    let now = DeleteParams { grace_period_seconds: Some(0), ..delete_only(pod.metadata.uid.as_ref()) };
    match gone_is_fine(api.delete(pod.metadata.name.as_deref().unwrap_or_default(), &now).await) {
        Err(error) if !is_conflict(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Notes on a pod why it is being deleted by somebody else than its owner; `failed` also ends it, when nobody is left
/// who could report its end.
pub(crate) async fn mark_disrupted(
    context: &Context,
    pod: &Pod,
    reason: &str,
    message: &str,
    failed: bool,
) -> Result<(), Error> {
    let mut pod = pod.clone();
    let finished = is_finished(&pod);
    let status = pod.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    let marked =
        conditions.iter().any(|c| c.type_ == "DisruptionTarget" && c.reason.as_deref() == Some(reason));
    if marked && (finished || !failed) {
        return Ok(());
    }
    conditions.retain(|condition| condition.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(Timestamp::now())),
        ..Default::default()
    });
    if failed && !finished {
        status.phase = Some("Failed".to_owned());
    }
    let api: Api<Pod> = context.api(pod.metadata.namespace.as_deref().unwrap_or_default());
    match replace_status(&api, &context.pods, &pod).await {
        Err(error) if is_not_found(&error) => Ok(()),
        other => other.map(|_| ()).map_err(Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_pods_that_nobody_else_removes_are_removed() {
        let seconds = |number| Some(Duration::from_secs(number));
        let table = [
            (None, false, None, Plan::Keep),
            (None, true, None, Plan::NeverScheduled),
            (Some("a"), true, None, Plan::Keep),
            (Some("a"), false, seconds(10), Plan::Wait(Duration::from_secs(30))),
            (Some("a"), false, seconds(40), Plan::Orphaned),
        ];
        for (node, deleting, missing, expected) in table {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"deletionTimestamp": deleting.then(|| Timestamp::UNIX_EPOCH.to_string())},
                "spec": {"containers": [], "nodeName": node},
            }))
            .unwrap();
            assert_eq!(decide(&pod, missing), expected, "{node:?} {deleting}");
        }
    }

    #[test]
    fn the_oldest_finished_pods_are_surplus() {
        let pod = |second: i64, phase: &str| {
            let created = Timestamp::from_second(second).unwrap().to_string();
            let pod = json!({"metadata": {"name": second.to_string(), "creationTimestamp": created}, "status": {"phase": phase}});
            Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
        };
        let pods = [pod(3, "Failed"), pod(1, "Succeeded"), pod(0, "Running"), pod(2, "Failed")];
        let names = |threshold| {
            surplus(&pods, threshold).iter().map(|pod| pod.metadata.name.clone().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["1", "2"]);
        assert_eq!(names(3), Vec::<String>::new());
        assert_eq!(names(0), Vec::<String>::new());
    }
}
