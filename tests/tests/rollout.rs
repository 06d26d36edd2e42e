//! Deployments that change while they are used.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use skiff_tests::history::History;
use skiff_tests::load::Load;
use skiff_tests::{Cluster, Engine, Process, Registry, bin, eventually, http_get, registry};

/// Pods of the Deployment in the test of the rolling update, and its bounds.
const REPLICAS: usize = 4;
const MAX_SURGE: usize = 1;
const MAX_UNAVAILABLE: usize = 1;

fn cluster() -> (Cluster, Registry) {
    let hub = Registry::start();
    let engine = Engine::start(Some(&hub));
    let dir = tempfile::tempdir().unwrap();
    let root = registry::nginx_root(dir.path());
    for image in ["nginx:latest", "nginx:1", "nginx:2"] {
        // What the images differ in.
        std::fs::write(root.join("version"), image).unwrap();
        engine.import(&root, &["CMD [\"/usr/sbin/nginx\"]"], image);
        hub.push(&engine, image);
    }
    (Cluster::start(engine), hub)
}

fn deployment(name: &str, replicas: usize, more: Value) -> Value {
    let mut spec = json!({
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "nginx", "image": "nginx:1"}]},
        },
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})
}

/// No readiness probe, no hook before the stop, and a server that drops everything when it is told to end.
#[test]
fn a_rolling_update_keeps_its_bounds_and_loses_no_connection() {
    let (cluster, _hub) = cluster();
    let bounds = json!({"maxSurge": MAX_SURGE, "maxUnavailable": MAX_UNAVAILABLE});
    cluster.apply(&deployment("web", REPLICAS, json!({"strategy": {"rollingUpdate": bounds}})));
    cluster.ctl(&["expose", "deployment", "web", "--port=80"]);
    cluster.ready_pods("app=web", REPLICAS, 60);
    let ip = cluster.ctl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    eventually("an answer", 10, || http_get(&format!("http://{ip}/")));
    let history = History::start(&cluster, "app=web");
    let load = Load::start(&format!("{ip}:80"), 4, 250);
    let after = |count: usize| {
        eventually(&format!("{count} connections"), 60, || match load.answered() {
            answered if answered >= count => Ok(()),
            answered => Err(answered.to_string()),
        });
    };
    after(100);
    for image in ["nginx:2", "nginx:1"] {
        cluster.ctl(&["set", "image", "deployment/web", &format!("nginx={image}")]);
        cluster.ctl(&["rollout", "status", "deployment/web", "--timeout=90s"]);
        eprintln!("{:.1?} {image}", load.elapsed());
    }
    after(10_000);
    let (answered, failed) = load.end();
    let events = history.end(REPLICAS);
    let counts: Vec<_> = events.iter().map(|pods| (pods.present(), pods.ready())).collect();
    let within = |(present, ready): &(usize, usize)| {
        *present <= REPLICAS + MAX_SURGE && *ready >= REPLICAS - MAX_UNAVAILABLE
    };
    assert!(counts.iter().all(within), "{counts:?}");
    assert!(counts.iter().any(|(present, _)| *present == REPLICAS + MAX_SURGE), "{counts:?}");
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), answered + failed.len());
}

#[test]
fn a_run_makes_pods_that_are_replaced_and_scaled() {
    let (cluster, _hub) = cluster();
    pods_of_a_run(&cluster);
}

/// A part of a test, on the cluster of the whole.
type Part = fn(&Cluster);

/// What a Deployment goes through is the same whatever runs its pods; without an engine it goes quickly.
#[test]
fn rollouts_are_followed_undone_restarted_and_held_back() {
    let cluster = Cluster::simulated(&[]);
    cluster.ctl(&["run", "my-nginx", "--image=nginx", "--replicas=2"]);
    cluster.ready_pods("app=my-nginx", 2, 60);
    let parts: [(&str, Part); 5] = [
        ("revisions", revisions),
        ("restarts", restarts),
        ("pauses", pauses),
        ("deadline", deadline),
        ("recreate", recreate),
    ];
    for (name, part) in parts {
        eprintln!("{name}");
        part(&cluster);
    }
}

fn image(cluster: &Cluster, deployment: &str) -> String {
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    cluster.ctl(&["get", "deployment", deployment, "-o", path])
}

/// The output of a rollout that is followed to its end.
fn followed(cluster: &Cluster, deployment: &str) -> String {
    let said = cluster.ctl(&["rollout", "status", deployment, "--timeout=90s"]);
    assert!(said.contains("successfully rolled out"), "{said}");
    said
}

/// `run` with and without `--replicas`, a deleted pod, scaling.
fn pods_of_a_run(cluster: &Cluster) {
    cluster.ctl(&["run", "my-nginx", "--image=nginx", "--replicas=3"]);
    let pods = cluster.ready_pods("app=my-nginx", 3, 60);
    let table = cluster.ctl(&["get", "pods"]);
    assert!(pods.iter().all(|pod| table.contains(pod.as_str())), "{table}");
    cluster.ctl(&["run", "alone", "--image=nginx"]);
    cluster.ready_pods("run=alone", 1, 60);
    assert_eq!(cluster.ctl(&["get", "deployments", "-o", "name"]).trim(), "deployment.apps/my-nginx");

    cluster.ctl(&["delete", "pod", &pods[0]]);
    let now = cluster.ready_pods("app=my-nginx", 3, 60);
    assert!(!now.contains(&pods[0]) && now.contains(&pods[1]) && now.contains(&pods[2]), "{now:?}");
    cluster.ctl(&["scale", "deployment", "my-nginx", "--replicas=5"]);
    cluster.ready_pods("app=my-nginx", 5, 60);
    cluster.kubectl(&["scale", "deployment/my-nginx", "--replicas=2"]);
    cluster.ready_pods("app=my-nginx", 2, 60);
    cluster.ctl(&["delete", "pod", "alone"]);
}

/// `history`, `undo` and how many revisions are kept.
fn revisions(cluster: &Cluster) {
    let change = |image: &str| {
        cluster.ctl(&["set", "image", "deployment/my-nginx", &format!("my-nginx={image}")]);
        followed(cluster, "deployment/my-nginx")
    };
    // It is followed from before its first step.
    cluster.ctl(&["rollout", "pause", "deployment/my-nginx"]);
    cluster.ctl(&["set", "image", "deployment/my-nginx", "my-nginx=nginx:1"]);
    let words = ["rollout", "status", "deployment/my-nginx", "--timeout=90s"];
    let following = cluster.client(Command::new(bin("ctl")), &words);
    let mut following = Process::start(following, &cluster.dir().join("followed"));
    following.wait_for_line("Waiting for deployment \"my-nginx\" rollout to finish", 20);
    cluster.ctl(&["rollout", "resume", "deployment/my-nginx"]);
    following.wait_for_line("deployment \"my-nginx\" successfully rolled out", 90);
    assert!(following.wait(10).success());
    change("nginx:2");
    let known = |revisions: &[&str]| {
        // Both clients tell the same; the columns are not as wide.
        let words = ["rollout", "history", "deployment/my-nginx"];
        let (ours, theirs) = (cluster.ctl(&words), cluster.kubectl(&words));
        assert!(ours.split_whitespace().eq(theirs.split_whitespace()), "{ours}{theirs}");
        let listed: Vec<&str> =
            ours.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(listed, revisions, "{ours}");
    };
    known(&["1", "2", "3"]);
    for client in [Cluster::ctl, Cluster::kubectl] {
        let shown = client(cluster, &["rollout", "history", "deployment/my-nginx", "--revision=2"]);
        assert!(shown.contains("revision #2") && shown.contains("nginx:1"), "{shown}");
    }
    // Going back makes the revision the newest.
    cluster.ctl(&["rollout", "undo", "deployment/my-nginx"]);
    followed(cluster, "deployment/my-nginx");
    assert_eq!(image(cluster, "my-nginx"), "nginx:1");
    known(&["1", "3", "4"]);
    cluster.ctl(&["rollout", "undo", "deployment/my-nginx", "--to-revision=1"]);
    followed(cluster, "deployment/my-nginx");
    assert_eq!(image(cluster, "my-nginx"), "nginx");
    known(&["3", "4", "5"]);
    cluster.kubectl(&["rollout", "undo", "deployment/my-nginx", "--to-revision=3"]);
    cluster.kubectl(&["rollout", "status", "deployment/my-nginx", "--timeout=90s"]);
    assert_eq!(image(cluster, "my-nginx"), "nginx:2");
    known(&["4", "5", "6"]);
    let absent = cluster.try_ctl(&["rollout", "undo", "deployment/my-nginx", "--to-revision=3"]);
    assert!(absent.unwrap_err().contains("unable to find specified revision 3 in history"));

    let kept = r#"{"spec": {"revisionHistoryLimit": 1}}"#;
    cluster.ctl(&["patch", "deployment", "my-nginx", "--type=merge", "-p", kept]);
    eventually("one old ReplicaSet to be kept", 20, || {
        let sets = cluster.ctl(&["get", "replicasets", "-l", "app=my-nginx", "-o", "name"]);
        if sets.lines().count() == 2 { Ok(()) } else { Err(sets) }
    });
    known(&["5", "6"]);
}

/// `restart` replaces every pod.
fn restarts(cluster: &Cluster) {
    for client in [Cluster::try_ctl, Cluster::try_kubectl] {
        let before: BTreeSet<String> = cluster.ready_pods("app=my-nginx", 2, 60).into_iter().collect();
        // Two restarts in one second are one, and kubectl refuses the second.
        eventually("a restart", 5, || client(cluster, &["rollout", "restart", "deployment/my-nginx"]));
        followed(cluster, "deployment/my-nginx");
        let after: BTreeSet<String> = cluster.ready_pods("app=my-nginx", 2, 60).into_iter().collect();
        assert!(before.is_disjoint(&after), "{before:?} {after:?}");
    }
}

/// Changes of a paused Deployment wait until it is resumed, and then come together.
fn pauses(cluster: &Cluster) {
    let before = cluster.ready_pods("app=my-nginx", 2, 60);
    cluster.ctl(&["rollout", "pause", "deployment/my-nginx"]);
    cluster.ctl(&["set", "image", "deployment/my-nginx", "my-nginx=nginx:1"]);
    let refused = cluster.try_ctl(&["rollout", "undo", "deployment/my-nginx"]).unwrap_err();
    assert!(refused.contains("cannot rollback a paused deployment"), "{refused}");
    // Scaling is not held back; when it is done, the change of the image was seen too.
    cluster.ctl(&["scale", "deployment", "my-nginx", "--replicas=3"]);
    let now = cluster.ready_pods("app=my-nginx", 3, 60);
    assert!(before.iter().all(|pod| now.contains(pod)), "{before:?} {now:?}");
    cluster.kubectl(&["rollout", "resume", "deployment/my-nginx"]);
    followed(cluster, "deployment/my-nginx");
    let after = cluster.ready_pods("app=my-nginx", 3, 60);
    assert!(!after.iter().any(|pod| now.contains(pod)), "{now:?} {after:?}");
}

/// A rollout that does not get on is told, and harms nothing.
fn deadline(cluster: &Cluster) {
    let before = cluster.ready_pods("app=my-nginx", 3, 60);
    // No node is that large.
    let large = json!({"name": "my-nginx", "resources": {"requests": {"cpu": "1000"}}});
    let spec = json!({"progressDeadlineSeconds": 3, "template": {"spec": {"containers": [large]}}});
    cluster.ctl(&["patch", "deployment", "my-nginx", "-p", &json!({"spec": spec}).to_string()]);
    for said in [
        cluster.try_ctl(&["rollout", "status", "deployment/my-nginx", "--timeout=60s"]),
        cluster.try_kubectl(&["rollout", "status", "deployment/my-nginx", "--timeout=60s"]),
    ] {
        assert!(said.unwrap_err().contains("deployment \"my-nginx\" exceeded its progress deadline"));
    }
    let conditions = cluster.get(&["deployment", "my-nginx"])["status"]["conditions"].clone();
    let overdue = |one: &Value| one["type"] == "Progressing" && one["reason"] == "ProgressDeadlineExceeded";
    assert!(conditions.as_array().unwrap().iter().any(overdue), "{conditions}");
    let serving = cluster.get(&["pods", "-l", "app=my-nginx"]);
    let ready: Vec<String> = serving["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pod| skiff_tests::is_ready(pod))
        .map(skiff_tests::name)
        .collect();
    assert!(before.iter().all(|pod| ready.contains(pod)), "{before:?} {ready:?}");
    cluster.ctl(&["rollout", "undo", "deployment/my-nginx"]);
    followed(cluster, "deployment/my-nginx");
    assert_eq!(cluster.ready_pods("app=my-nginx", 3, 60).len(), 3);
    cluster.ctl(&["delete", "deployment", "my-nginx"]);
}

/// The strategy Recreate: no new pod before the last old one is gone.
fn recreate(cluster: &Cluster) {
    cluster.apply(&deployment("once", 2, json!({"strategy": {"type": "Recreate"}})));
    let before = cluster.ready_pods("app=once", 2, 60);
    let history = History::start(cluster, "app=once");
    cluster.ctl(&["set", "image", "deployment/once", "nginx=nginx:2"]);
    followed(cluster, "deployment/once");
    let after = cluster.ready_pods("app=once", 2, 60);
    assert!(before.iter().all(|pod| !after.contains(pod)), "{before:?} {after:?}");
    let events = history.end(2);
    assert!(events.iter().all(|pods| pods.templates() <= 1), "{events:?}");
    assert!(events.iter().any(|pods| pods.present() == 0), "{events:?}");
}
