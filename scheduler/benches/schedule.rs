//! How many pods a second are decided: 2,000 like pods onto 5,000 nodes, each assumed before the next.
#![allow(clippy::print_stdout, missing_docs)]

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use skiff_scheduler::pod::Needs;
use skiff_scheduler::schedule::schedule;
use skiff_scheduler::snapshot::{NodeInfo, Snapshot};

const NODES: usize = 5000;
const PODS: usize = 2000;

fn main() {
    let mut snapshot = Snapshot::default();
    for number in 0..NODES {
        let name = format!("node-{number}");
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"}},
        }))
        .expect("a node");
        snapshot.nodes.insert(name, Arc::new(NodeInfo::new(Arc::new(node))));
    }
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "default", "labels": {"app": "p"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m", "memory": "500Mi"}}}]},
    }))
    .expect("a pod");
    let started = Instant::now();
    for number in 0..PODS {
        let needs = Arc::new(Needs::of(&pod));
        let node = schedule(&pod, &needs, &snapshot, number as u64 * 7919).expect("there is room");
        let info = snapshot.nodes.get_mut(&node).expect("it was chosen from these");
        Arc::make_mut(info).add(&format!("uid-{number}"), needs);
    }
    let rate = PODS as f64 / started.elapsed().as_secs_f64();
    println!("schedule: {rate:.0} pods/s, {PODS} pods on {NODES} nodes");
}
