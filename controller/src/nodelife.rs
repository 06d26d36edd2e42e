//! Node life: a node that is silent becomes `Unknown`, is tainted, and its pods are no longer ready.
//!
//! Behaviour: upstream's `pkg/controller/nodelifecycle`. Heartbeats are the changes of a node's Lease or status as seen
//! by this process's clock, so nodes' clocks do not matter. A silence is the only thing that no watch tells: each
//! node has one alarm, set to the end of its grace period.

mod decide;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use skiff_runtime::event::{Recorder, Type, reference};
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::{Context, replace_status};
use crate::error::{Error, is_not_found};
use decide::{World, decide};

/// The namespace of nodes' Leases.
pub(crate) const LEASES: &str = "kube-node-lease";

/// When each node was last heard of. Bounded by the number of nodes.
type Heard = Arc<Mutex<HashMap<String, Timestamp>>>;

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("node-lifecycle");
    let recorder = context.recorder("node-controller");
    let heard: Heard = Arc::default();
    {
        let (queue, heard, nodes) = (queue.clone(), heard.clone(), context.nodes.clone());
        context.nodes.follow(context.shutdown.clone(), move |change| {
            let Some(node) = &change.new else {
                if let Some(name) = change.old.as_ref().and_then(|node| node.metadata.name.as_ref()) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                }
                return;
            };
            let name = node.metadata.name.clone().unwrap_or_default();
            if change.old.as_ref().is_none_or(|old| decide::heartbeat(old) != decide::heartbeat(node)) {
                note(&heard, &name);
            }
            // Whether any node is ready bears on all.
            if change.old.as_ref().is_some_and(|old| decide::is_ready(old) != decide::is_ready(node)) {
                for other in nodes.list() {
                    queue.add(other.metadata.name.clone().unwrap_or_default());
                }
            }
            queue.add(name);
        });
    }
    {
        let (queue, heard) = (queue.clone(), heard.clone());
        let grace = context.config.node_monitor_grace_period;
        context.node_leases.follow(context.shutdown.clone(), move |change| {
            if let Some(lease) = &change.new {
                let name = lease.metadata.name.clone().unwrap_or_default();
                note(&heard, &name);
                queue.add_after(name, grace);
            }
        });
    }
    {
        // A pod that appears on a node that is already known to be silent.
        let queue = queue.clone();
        context.pods.follow(context.shutdown.clone(), move |change| {
            let node = |pod: &Arc<Pod>| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            let (old, new) = (change.old.as_ref().and_then(node), change.new.as_ref().and_then(node));
            if let Some(name) = new.filter(|_| old.is_none()) {
                queue.add(name);
            }
        });
    }
    let synced = async {
        context.nodes.synced().await;
        context.node_leases.synced().await;
        context.pods.synced().await;
    };
    tokio::select! { () = synced => {}, () = context.shutdown.cancelled() => return }
    let reconcile = |name| reconcile(&context, &recorder, &heard, name);
    queue::run(queue.clone(), context.config.workers, reconcile, context.shutdown.clone()).await;
}

fn note(heard: &Heard, name: &str) {
    heard.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Timestamp::now());
}

async fn reconcile(
    context: &Context,
    recorder: &Recorder,
    heard: &Heard,
    name: String,
) -> Result<Action, Error> {
    let Some(node) = context.nodes.get("", &name) else { return Ok(Action::Done) };
    let now = Timestamp::now();
    let last = *heard.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_insert(now);
    let mut pods = Vec::new();
    if !decide::is_ready(&node)
        || now.duration_since(last).unsigned_abs() >= context.config.node_monitor_grace_period
    {
        pods = context.pods.list();
        pods.retain(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&name));
    }
    let any_ready = context.nodes.list().iter().any(|node| decide::is_ready(node));
    let world = World {
        node,
        pods,
        heard: last,
        any_ready,
        grace: context.config.node_monitor_grace_period,
        startup_grace: context.config.node_startup_grace_period,
    };
    let plan = decide(&world, now);
    let api: Api<Node> = Api::all(context.client.clone());
    let mut node = world.node.clone();
    if let Some(status) = plan.status {
        let changed = Node { status: Some(status), ..Node::clone(&node) };
        match replace_status(&api, &context.nodes, &changed).await {
            Ok(written) => node = Arc::new(written),
            Err(error) if is_not_found(&error) => return Ok(Action::Done),
            Err(error) => return Err(error.into()),
        }
        let text = format!("Node {name} status is now: NodeNotReady");
        recorder.event(&reference(node.as_ref()), Type::Normal, "NodeNotReady", text);
    }
    if let Some(taints) = plan.taints {
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints},
        });
        let written = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        context.nodes.caught_up(&written).await;
    }
    for pod in plan.not_ready {
        recorder.event(&reference(&pod), Type::Warning, "NodeNotReady", "Node is not ready");
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let pods: Api<Pod> = context.api(&namespace);
        // Not the pod as a whole: what the view has trimmed must not be written back.
        let patch = json!({
            "metadata": {"resourceVersion": pod.metadata.resource_version},
            "status": {"conditions": pod.status.and_then(|status| status.conditions)},
        });
        let name = pod.metadata.name.unwrap_or_default();
        match pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(written) => context.pods.caught_up(&written).await,
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // What was written comes back as a change, and is looked at again then.
    Ok(plan.again.map_or(Action::Done, Action::After))
}
