//! Every component as a process of its own, and what becomes of a node whose agent is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use serde_json::Value;
use skiff_tests::{Cluster, Engine, Etcd, eventually, http_get, name, output};

const NODES: [&str; 2] = ["n1", "n2"];

/// A Deployment behind a Service answers by address, from all of its pods; an unmodified kubectl works.
fn runs_and_answers(cluster: &Cluster) -> (String, Vec<String>) {
    cluster.ctl(&["run", "web", "--image=web:1", "--replicas=4", "--port=80"]);
    cluster.ctl(&["expose", "deployment", "web", "--port=80"]);
    let pods = cluster.ready_pods("app=web", 4, 60);
    let ip = cluster.ctl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let mut seen = BTreeSet::new();
    eventually("an answer of every pod", 20, || {
        seen.insert(http_get(&format!("http://{ip}/"))?.trim().to_owned());
        if seen.len() == 4 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    assert_eq!(seen, pods.iter().cloned().collect());

    // Names are answered, in pods of both nodes; commands and logs go to the agents that serve them.
    for pod in &pods {
        eventually("the name to be answered", 10, || {
            let answer =
                cluster.exec(pod, &["nslookup", "web.default.svc.cluster.local"]).unwrap_or_else(|said| said);
            if answer.contains(&ip) { Ok(()) } else { Err(answer) }
        });
    }
    eventually("the web server to log what it was asked", 10, || {
        let log = cluster.try_kubectl(&["logs", &pods[0]])?;
        if log.contains("GET / ") { Ok(()) } else { Err(log) }
    });
    let table = cluster.kubectl(&["get", "pods", "-o", "wide"]);
    assert!(pods.iter().all(|pod| table.contains(pod.as_str())), "{table}");
    (ip, pods)
}

fn engine() -> Engine {
    let engine = Engine::start(None);
    engine.import_nginx("web:1");
    engine
}

#[test]
fn every_component_runs_as_a_process_of_its_own_on_etcd() {
    let etcd = Etcd::start();
    let cluster = Cluster::start_apart(engine(), &NODES, &["--etcd-servers", etcd.url()], &[]);
    runs_and_answers(&cluster);
}

/// The pods on a node, as (name, whether it is going).
fn pods_on(cluster: &Cluster, node: &str) -> Vec<(String, bool)> {
    let pods = cluster.get(&["pods", "--field-selector", &format!("spec.nodeName={node}")]);
    let going = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
    pods["items"].as_array().into_iter().flatten().map(|pod| (name(pod), going(pod))).collect()
}

/// The pods that the Service's endpoints name as ready.
fn endpoints(cluster: &Cluster) -> BTreeSet<String> {
    let slices = cluster.get(&["endpointslices", "-l", "kubernetes.io/service-name=web"]);
    let slices = slices["items"].as_array().cloned().unwrap_or_default();
    let all = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let ready = all.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    ready.filter_map(|endpoint| endpoint["targetRef"]["name"].as_str().map(str::to_owned)).collect()
}

/// The containers on the engine that belong to a node.
fn containers(cluster: &Cluster, node: &str) -> usize {
    let label = format!("label=skiff.dev/node={node}");
    output(cluster.engine().docker().args(["ps", "-aq", "--filter", &label])).lines().count()
}

#[test]
fn pods_of_a_killed_node_are_replaced_and_end_when_it_returns() {
    let words = ["--default-not-ready-toleration-seconds=4", "--default-unreachable-toleration-seconds=4"];
    let lifecycle = ["--node-monitor-period=500ms", "--node-monitor-grace-period=4s"];
    let mut cluster = Cluster::start_apart(engine(), &NODES, &words, &lifecycle);
    let (ip, pods) = runs_and_answers(&cluster);

    // What the files say is so.
    let capacity = cluster.ctl(&["get", "node", "n2", "-o", "jsonpath={.status.capacity.pods}"]);
    assert_eq!(capacity, "42");
    let port = "jsonpath={.status.daemonEndpoints.kubeletEndpoint.Port}";
    assert_eq!(cluster.ctl(&["get", "node", "n2", "-o", port]), "10262");
    let lease = "jsonpath={.spec.leaseDurationSeconds}";
    eventually("the lease that the file asks for", 10, || {
        let seconds = cluster.try_ctl(&["-n", "kube-node-lease", "get", "lease", "n2", "-o", lease])?;
        if seconds == "2" { Ok(()) } else { Err(seconds) }
    });
    assert!(cluster.log("n2").contains("cgroupDriver: not supported, ignored"), "{}", cluster.log("n2"));

    let lost = pods_on(&cluster, "n2");
    assert!(!lost.is_empty(), "pods are spread over both nodes");
    let lost: BTreeSet<String> = lost.into_iter().map(|(name, _)| name).collect();
    let running = containers(&cluster, "n2");
    cluster.kill_part("n2");

    // Silence: not ready, and no traffic goes there any more although its pods run on.
    cluster.wait_for_node("n2", "Unknown", 20);
    let kept: BTreeSet<String> = pods.iter().filter(|pod| !lost.contains(*pod)).cloned().collect();
    eventually("the endpoints to drop its pods", 10, || {
        let now = endpoints(&cluster);
        if now.is_disjoint(&lost) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    assert!(endpoints(&cluster).is_superset(&kept));
    assert_eq!(containers(&cluster, "n2"), running, "nobody has ended them");

    // After the toleration they are replaced on the other node.
    eventually("replacements on the other node", 30, || {
        let now = endpoints(&cluster);
        if now.len() == 4 && now.is_disjoint(&lost) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let there: BTreeSet<String> = pods_on(&cluster, "n1").into_iter().map(|(name, _)| name).collect();
    assert!(there.is_superset(&endpoints(&cluster)));
    assert!(pods_on(&cluster, "n2").iter().all(|(_, going)| *going), "those of the lost node are marked");
    // The proxy follows the endpoints: of many connections in a row, each comes to one of these.
    eventually("only pods of the other node to be reached", 20, || {
        for _ in 0..20 {
            let answer = http_get(&format!("http://{ip}/"))?;
            if !there.contains(answer.trim()) {
                return Err(answer);
            }
        }
        Ok(())
    });

    // It comes back: ready, and what is left of the dead pods goes.
    cluster.start_node("n2");
    cluster.wait_for_node("n2", "True", 30);
    eventually("the dead pods' containers to go", 60, || {
        let (pods, left) = (pods_on(&cluster, "n2"), containers(&cluster, "n2"));
        if pods.is_empty() && left == 0 { Ok(()) } else { Err(format!("{pods:?}, {left} containers")) }
    });
    eventually("the node to lose its taints", 10, || {
        let taints = cluster.ctl(&["get", "node", "n2", "-o", "jsonpath={.spec.taints}"]);
        if taints.is_empty() { Ok(()) } else { Err(taints) }
    });
}
