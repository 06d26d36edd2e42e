//! A cluster that `make install` has put on a machine is there again after a reboot: systemd starts Docker, and then it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use skiff_tests::boot::Machine;
use skiff_tests::pods::{BUSYBOX, busybox_root};
use skiff_tests::{is_ready, name, output};

/// A web server that ends when it is told to, so that the machine is soon off.
const SERVE: &str =
    "trap 'exit 0' TERM; hostname > /tmp/index.html; httpd -p 80 -h /tmp; while true; do usleep 100000; done";

fn objects() -> Value {
    let container = json!({
        "name": "c", "image": BUSYBOX, "command": ["sh", "-c", SERVE],
        "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1},
    });
    let metadata = json!({"name": "web", "labels": {"app": "web"}});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        }},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}},
    ]})
}

/// The names of two ready pods, and a name that the Service answers with.
fn served(machine: &Machine, seconds: u64) -> (BTreeSet<String>, String) {
    let ready = |said: &str| {
        let pods: Value = serde_json::from_str(said).unwrap();
        pods["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|pod| is_ready(pod))
            .map(name)
            .collect::<BTreeSet<_>>()
    };
    let said = machine.until("ctl get pods -l app=web -o json", seconds, |said| ready(said).len() == 2);
    let address = machine.run("ctl get service web -o 'jsonpath={.spec.clusterIP}'");
    let answer = machine.until(&format!("curl -sS --max-time 3 http://{address}/"), 20, |_| true);
    (ready(&said), answer.trim().to_owned())
}

#[test]
fn an_installed_cluster_is_there_again_after_a_reboot() {
    let mut machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let archive = machine.path("/root/busybox.tar");
    output(Command::new("tar").arg("-C").arg(busybox_root(dir.path())).arg("-cf").arg(&archive).arg("."));
    let manifest = machine.path("/root/web.json");
    std::fs::write(manifest, objects().to_string()).unwrap();

    machine.boot();
    let said = machine.run("PREFIX=/opt/skiff /source/scripts/install.sh /built");
    assert!(said.contains("enabled skiff.service; start it now with: systemctl start skiff"), "{said}");
    machine.run("systemctl start skiff");
    machine.until("docker import --change 'ENV PATH=/bin' /root/busybox.tar busybox:1", 30, |_| true);
    machine.until("ctl apply -f /root/web.json", 30, |_| true);
    let (pods, answer) = served(&machine, 60);
    assert!(pods.contains(&answer), "{answer}");
    let started = "docker ps -q --no-trunc";
    let before = machine.run(started);
    assert_eq!(before.lines().count(), 4, "a sandbox and a container for each pod");

    machine.reboot();
    assert_eq!(machine.run("systemctl is-enabled skiff").trim(), "enabled");
    let (now, answer) = served(&machine, 60);
    assert_eq!(now, pods, "the same pods");
    assert!(now.contains(&answer), "{answer}");
    assert_eq!(machine.run("ctl get configmap kept -o 'jsonpath={.data.a}'"), "b");
    let after = machine.run(started);
    assert!(before.lines().all(|id| !after.contains(id)), "in new containers");
    let restarts = machine
        .run("ctl get pods -l app=web -o 'jsonpath={.items[*].status.containerStatuses[0].restartCount}'");
    assert_eq!(restarts, "1 1");
    assert_eq!(
        machine.run("systemctl show skiff -p NRestarts,ActiveState"),
        "NRestarts=0\nActiveState=active\n"
    );
}
