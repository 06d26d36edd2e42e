//! A node is drained as far as disruption budgets allow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use serde_json::json;
use skiff_tests::{Cluster, Process, bin, eventually, name};

#[test]
fn a_drain_waits_until_the_budget_allows_it() {
    let cluster = Cluster::simulated(&["--nodes", "2"]);
    cluster.ctl(&["run", "web", "--image=nginx", "--replicas=2"]);
    // All of them have to be there.
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "all"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    });
    for client in [bin("ctl"), "kubectl".into()] {
        cluster.ready_pods("app=web", 2, 30);
        cluster.apply(&budget);
        // What a controller of budgets says of it.
        let healthy = json!({"status": {
            "observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2,
        }});
        let words = ["patch", "poddisruptionbudget", "all", "--subresource=status", "--type=merge", "-p"];
        cluster.ctl(&[&words[..], &[&healthy.to_string()]].concat());
        let node = cluster.get(&["pods", "-l", "app=web"])["items"][0]["spec"]["nodeName"].clone();
        let node = node.as_str().unwrap();
        let there = || {
            let on_node = format!("spec.nodeName={node}");
            let pods = cluster.get(&["pods", "-l", "app=web", "--field-selector", &on_node]);
            pods["items"].as_array().unwrap().clone()
        };
        let before = there();

        let log = cluster.dir().join("drain");
        let drain = cluster.client(Command::new(&client), &["drain", node, "--ignore-daemonsets"]);
        let mut drain = Process::start(drain, &log);
        let held = "(will retry after 5s): Cannot evict pod as it would violate the pod's disruption budget.";
        eventually("the refusals of a first and a second try", 30, || {
            let said = std::fs::read_to_string(&log).unwrap();
            if said.matches(held).count() > before.len() { Ok(()) } else { Err(said) }
        });
        let now = there();
        assert_eq!(now.iter().map(name).collect::<Vec<_>>(), before.iter().map(name).collect::<Vec<_>>());
        assert!(now.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_null()), "{now:?}");

        cluster.ctl(&["delete", "poddisruptionbudget", "all"]);
        assert!(drain.wait(30).success(), "{}", std::fs::read_to_string(&log).unwrap());
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains(&format!("node/{node} drained")), "{said}");
        assert_eq!(there().len(), 0, "they are replaced on the other node");
        cluster.ctl(&["uncordon", node]);
        std::fs::remove_file(&log).unwrap();
    }
}
