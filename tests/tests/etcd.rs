//! The same cluster on a real etcd, in Kubernetes' key layout.

use std::process::Command;

use skiff_tests::{Cluster, Engine, Process, eventually, free_port, http_get, output};

#[test]
fn a_cluster_on_etcd_keeps_its_objects_where_kubernetes_would() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let (client, peer) = (free_port(), free_port());
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(dir.path().join("data"));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    let _etcd = Process::start(command, &dir.path().join("log"));
    eventually("etcd", 30, || http_get(&format!("{client}/health")));

    let words = ["--etcd-servers", client.as_str(), "--runtime", "simulated"];
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

#[test]
fn a_deleted_namespace_takes_all_that_is_in_it() {
    let cluster = Cluster::start_with(Engine::start(None), &["--runtime", "simulated"]);
    cluster.kubectl(&["create", "namespace", "shop"]);
    cluster.ctl(&["-n", "shop", "run", "till", "--image=nginx", "--replicas=2"]);
    cluster.ctl(&["delete", "namespace", "shop"]);
    let left = cluster.ctl(&["get", "pods,deployments,replicasets", "-A", "-o", "name"]);
    assert!(!left.contains("till"), "{left}");
    assert!(cluster.try_ctl(&["get", "namespace", "shop"]).is_err());
}
