//! The scheduler against an API server in memory: it binds, explains, waits for room, and makes room.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct World {
    pods: Api<Pod>,
    nodes: Api<Node>,
    _stop: tokio_util::sync::DropGuard,
}

fn start() -> World {
    let client = skiff_fakeapi::Api::new().client();
    let stop = CancellationToken::new();
    let config = skiff_scheduler::Config { leader_elect: false, ..Default::default() };
    tokio::spawn(skiff_scheduler::run(config, client.clone(), stop.clone()));
    World {
        pods: Api::namespaced(client.clone(), "default"),
        nodes: Api::all(client),
        _stop: stop.drop_guard(),
    }
}

impl World {
    async fn node(&self, name: &str, cpu: &str) {
        let node = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "9"}}});
        self.nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    }

    async fn pod(&self, name: &str, cpu: &str, more: Value) {
        let mut spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        self.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) {
        let holds = |pod: Option<&Pod>| pod.is_some_and(|pod| holds(&serde_json::to_value(pod).unwrap()));
        let waited =
            tokio::time::timeout(Duration::from_secs(60), await_condition(self.pods.clone(), name, holds));
        waited.await.unwrap_or_else(|_| panic!("{name} never got there")).unwrap();
    }

    async fn bound(&self, name: &str, node: &str) {
        self.until(name, |pod| pod["spec"]["nodeName"] == node).await;
    }
}

fn says(pod: &Value, text: &str) -> bool {
    let condition = &pod["status"]["conditions"][0];
    condition["reason"] == "Unschedulable"
        && condition["message"].as_str().is_some_and(|said| said.contains(text))
}

#[tokio::test]
async fn a_pod_waits_with_a_reason_and_goes_when_there_is_room() {
    let world = start();
    world.pod("p", "1", json!({})).await;
    world.until("p", |pod| says(pod, "no nodes available to schedule pods")).await;
    world.node("n", "1").await;
    world.bound("p", "n").await;
    world.pod("q", "1", json!({})).await;
    world
        .until("q", |pod| says(pod, "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes"))
        .await;
    world.pods.delete("p", &DeleteParams::default()).await.unwrap();
    world.bound("q", "n").await;
}

#[tokio::test]
async fn an_important_pod_takes_the_place_of_a_lesser_one() {
    let world = start();
    world.node("n", "1").await;
    world.pod("low", "1", json!({})).await;
    world.bound("low", "n").await;
    world.pod("high", "1", json!({"priority": 100})).await;
    world.bound("high", "n").await;
    assert!(world.pods.get_opt("low").await.unwrap().is_none());
}

#[tokio::test]
async fn many_pods_are_all_bound_and_others_left_alone() {
    let world = start();
    world.pod("gated", "1m", json!({"schedulingGates": [{"name": "g"}]})).await;
    world.pod("foreign", "1m", json!({"schedulerName": "other"})).await;
    for number in 0..90 {
        world.pod(&format!("p{number}"), "1m", json!({"priority": number % 3})).await;
    }
    for number in 0..10 {
        world.node(&format!("n{number}"), "4").await;
    }
    for number in 0..90 {
        world.until(&format!("p{number}"), |pod| pod["spec"]["nodeName"].is_string()).await;
    }
    for name in ["gated", "foreign"] {
        assert_eq!(world.pods.get(name).await.unwrap().spec.unwrap().node_name, None, "{name}");
    }
}
