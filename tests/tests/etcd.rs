//! The same cluster on a real etcd, in Kubernetes' key layout.

use std::process::Command;

use skiff_tests::{Cluster, Engine, Etcd, eventually, output};

#[test]
fn a_cluster_on_etcd_keeps_its_objects_where_kubernetes_would() {
    let etcd = Etcd::start();
    let client = etcd.url();
    let words = ["--etcd-servers", client, "--runtime", "simulated"];
    let mut cluster = Cluster::start_with(Engine::start(None), &words);
    cluster.ctl(&["run", "my-nginx", "--image=nginx", "--replicas=2"]);
    let pods = cluster.ready_pods("app=my-nginx", 2, 30);

    // `/registry/deployments/default/my-nginx`, as etcd's JSON gateway wants it.
    let key = "L3JlZ2lzdHJ5L2RlcGxveW1lbnRzL2RlZmF1bHQvbXktbmdpbng=";
    let question = format!("{{\"key\":\"{key}\",\"count_only\":true}}");
    let answer = output(Command::new("curl").args([
        "-sS",
        "--noproxy",
        "*",
        "-d",
        &question,
        &format!("{client}/v3/kv/range"),
    ]));
    assert!(answer.contains("\"count\":\"1\""), "{answer}");

    // A crash loses nothing: all of it is in etcd.
    cluster.kill();
    cluster.launch();
    assert_eq!(cluster.ready_pods("app=my-nginx", 2, 30), pods);
    cluster.ctl(&["delete", "deployment", "my-nginx"]);
    eventually("the pods to be gone", 30, || {
        let left = cluster.ctl(&["get", "pods", "-o", "name"]);
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    });
}
