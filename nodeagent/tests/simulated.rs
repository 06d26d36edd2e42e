//! A whole node on the simulated engine, against an API server in memory.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may")]

mod fake;

use fake::{Fake, until};
use serde_json::{Value, json};
use skiff_nodeagent::{Config, RuntimeKind};
use tokio_util::sync::CancellationToken;

fn config(name: &str) -> Config {
    let dir = std::env::temp_dir().join(format!("skiff-agent-{}-{name}", std::process::id()));
    let mut config = Config::new(name, "127.0.0.1".parse().unwrap(), dir);
    config.runtime = RuntimeKind::Simulated;
    config
}

fn phase(fake: &Fake, path: &str) -> Option<String> {
    fake.get(path)?["status"]["phase"].as_str().map(str::to_owned)
}

fn condition(object: &Value, kind: &str) -> Option<String> {
    let all = object["status"]["conditions"].as_array()?;
    all.iter().find(|c| c["type"] == kind)?["status"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_pod_runs_becomes_ready_and_is_deleted() {
    let fake = Fake::new();
    let stop = CancellationToken::new();
    let agent = tokio::spawn(skiff_nodeagent::run(config("n1"), fake.client(), stop.clone()));
    let node = "/api/v1/nodes/n1";
    until("the node", 10, || fake.get(node)).await;
    assert_ne!(condition(&fake.get(node).unwrap(), "Ready").as_deref(), Some("True"), "no range yet");
    let mut object = fake.get(node).unwrap();
    object["spec"]["podCIDR"] = json!("10.244.7.0/24");
    fake.put(node, object);
    until("readiness", 10, || fake.get(node).filter(|n| condition(n, "Ready").as_deref() == Some("True")))
        .await;

    let path = "/api/v1/namespaces/default/pods/web";
    fake.put(
        path,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "web", "namespace": "default" },
            "spec": { "nodeName": "n1", "containers": [{
                    // Nobody is at a simulated address: the engine answers in the containers' place.
                    "name": "c", "image": "nginx",
                    "startupProbe": { "tcpSocket": { "port": 80 } },
                    "readinessProbe": { "httpGet": { "port": 80 } },
                    "livenessProbe": { "exec": { "command": ["true"] } },
                    "lifecycle": { "postStart": { "httpGet": { "port": 80 } } },
                }],
                "initContainers": [{ "name": "side", "image": "x", "restartPolicy": "Always" }] },
            "status": { "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "True" }] }
        }),
    );
    let pod =
        until("Ready", 10, || fake.get(path).filter(|p| condition(p, "Ready").as_deref() == Some("True")))
            .await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert!(pod["status"]["podIP"].as_str().unwrap().starts_with("10.244.7."), "{pod}");
    assert_eq!(condition(&pod, "PodScheduled").as_deref(), Some("True"), "what others wrote is kept");
    assert!(pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap().starts_with("docker://"));

    fake.delete_gracefully(path, 1);
    until("the end", 10, || fake.get(path).is_none().then_some(())).await;
    until("the lease", 5, || fake.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"))
        .await;
    stop.cancel();
    agent.await.unwrap().unwrap();
    assert_eq!(phase(&fake, path), None);
}
