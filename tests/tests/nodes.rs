//! Several nodes on one machine by `skiff up`, and what `skiff down` leaves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use skiff_tests::{Cluster, Engine, eventually, http_get, ip, name, output};

/// What the kernel forwards and accepts: settings that a cluster may have changed.
fn settings() -> String {
    let paths =
        ["conf/all/route_localnet", "conf/default/route_localnet", "conf/all/rp_filter", "ip_forward"];
    let read =
        |path: &&str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{path}")).unwrap_or_default();
    paths.iter().map(read).collect()
}

/// Everything on this machine that bears our name.
fn ours(cluster: &Cluster) -> Vec<String> {
    let docker = |words: &[&str]| output(cluster.engine().docker().args(words));
    let mut found = Vec::new();
    found.extend(docker(&["ps", "-aq", "--filter", "label=skiff.dev/node"]).lines().map(str::to_owned));
    found.extend(
        docker(&["network", "ls", "--format", "{{.Name}}", "--filter", "label=skiff.dev/node"])
            .lines()
            .map(str::to_owned),
    );
    found.extend(ip("-o link show").lines().filter(|line| line.contains("skiff")).map(str::to_owned));
    let rules = output(Command::new("/usr/sbin/nft").args(["list", "ruleset"]));
    found.extend(rules.lines().filter(|line| line.contains("skiff")).map(str::to_owned));
    found
}

#[test]
fn two_nodes_on_one_machine_reach_each_other_and_down_leaves_nothing() {
    let engine = Engine::start(None);
    engine.import_nginx("web:1");
    // A network begins with what its machine has.
    std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "0").unwrap();
    let before = settings();
    let mut cluster = Cluster::start_with(engine, &["--nodes", "2"]);

    let host = nix::unistd::gethostname().unwrap().to_string_lossy().to_ascii_lowercase();
    let host = host.split('.').next().unwrap();
    let nodes = cluster.get(&["nodes"]);
    let nodes = nodes["items"].as_array().unwrap();
    assert_eq!(nodes.iter().map(name).collect::<Vec<_>>(), [format!("{host}-1"), format!("{host}-2")]);
    let ranges: BTreeSet<&str> = nodes.iter().filter_map(|node| node["spec"]["podCIDR"].as_str()).collect();
    assert_eq!(ranges, BTreeSet::from(["10.244.0.0/24", "10.244.1.0/24"]));

    cluster.ctl(&["run", "web", "--image=web:1", "--replicas=4", "--port=80"]);
    cluster.ctl(&["expose", "deployment", "web", "--port=80"]);
    let pods = cluster.ready_pods("app=web", 4, 60);
    let service = cluster.ctl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let objects = cluster.get(&["pods", "-l", "app=web"]);
    let field = |pod: &Value, path: &str| pod.pointer(path).and_then(Value::as_str).unwrap().to_owned();
    let mut places = BTreeSet::new();
    for from in objects["items"].as_array().unwrap() {
        let (node, address) = (field(from, "/spec/nodeName"), field(from, "/status/podIP"));
        let range = cluster.ctl(&["get", "node", &node, "-o", "jsonpath={.spec.podCIDR}"]);
        assert!(
            address.starts_with(range.trim_end_matches("0/24")),
            "{address} on {node}, which has {range}"
        );
        places.insert(node);
        let inside = cluster.place(&name(from));
        for to in objects["items"].as_array().unwrap() {
            let url = format!("http://{}/", field(to, "/status/podIP"));
            let answer = eventually("an answer from pod to pod", 10, || inside.run(|| http_get(&url)));
            assert_eq!(answer.trim(), name(to), "from {}", name(from));
        }
        let mut seen = BTreeSet::new();
        eventually("an answer of every pod of both nodes", 20, || {
            seen.insert(inside.run(|| http_get(&format!("http://{service}/")))?.trim().to_owned());
            if seen.len() == 4 { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }
    assert_eq!(places.len(), 2, "pods are spread over both nodes");

    // A second cluster's worth of things goes; the data stay, and are a cluster again.
    assert!(!ours(&cluster).is_empty());
    cluster.stop();
    assert!(!ours(&cluster).is_empty(), "pods go on running when skiff stops");
    cluster.down_with(&[]).unwrap();
    assert_eq!(ours(&cluster), [""; 0]);
    assert_eq!(settings(), before);
    assert!(cluster.dir().join("kubeconfig").exists());
    cluster.launch();
    assert_eq!(
        cluster.ready_pods("app=web", 4, 60).into_iter().collect::<BTreeSet<_>>(),
        pods.into_iter().collect()
    );
    cluster.stop();
    cluster.down_with(&["--purge"]).unwrap();
    assert_eq!(ours(&cluster), [""; 0]);
    assert_eq!(settings(), before);
    let left: Vec<_> = std::fs::read_dir(cluster.dir())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
