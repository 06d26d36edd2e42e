//! `skiff` killed in the middle of writes, and the engine restarted under it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use skiff_tests::{Cluster, Engine, Etcd, eventually, http_get, ip, output};

/// Writers at once.
const WRITERS: usize = 4;
/// Acknowledged writes before the process is killed.
const ENOUGH: usize = 150;

fn cluster(words: &[&str]) -> Cluster {
    let engine = Engine::start(None);
    engine.import_nginx("web:1");
    let cluster = Cluster::start_with(engine, words);
    cluster.ctl(&["run", "web", "--image=web:1", "--replicas=2", "--port=80"]);
    cluster.ctl(&["expose", "deployment", "web", "--port=80"]);
    cluster.ready_pods("app=web", 2, 60);
    cluster
}

/// Ids of the containers, and when they were started.
fn running(cluster: &Cluster) -> BTreeSet<String> {
    let ids = output(cluster.engine().docker().args(["ps", "-q", "--no-trunc"]));
    if ids.is_empty() {
        return BTreeSet::new();
    }
    let mut inspect = cluster.engine().docker();
    inspect.args(["inspect", "--format", "{{.Id}} {{.State.StartedAt}}"]).args(ids.split_whitespace());
    output(&mut inspect).lines().map(str::to_owned).collect()
}

/// Kills the process while several writers create objects, and answers with the names that were acknowledged.
fn kill_under_writes(cluster: &mut Cluster, round: usize) -> BTreeSet<String> {
    let (acknowledged, next, stop) =
        (Mutex::new(BTreeSet::new()), AtomicUsize::new(0), AtomicBool::new(false));
    let api = cluster.api();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("kept-{round}-{}", next.fetch_add(1, Ordering::Relaxed));
                    let body = format!(
                        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"{name}\"}},\"data\":{{\"a\":\"b\"}}}}"
                    );
                    // What was not answered may or may not be there.
                    if api.post("/api/v1/namespaces/default/configmaps", &body).is_ok() {
                        acknowledged.lock().unwrap().insert(name);
                    }
                }
            });
        }
        eventually("enough writes", 60, || {
            let count = acknowledged.lock().unwrap().len();
            if count >= ENOUGH { Ok(()) } else { Err(count.to_string()) }
        });
        cluster.kill();
        stop.store(true, Ordering::Relaxed);
    });
    acknowledged.into_inner().unwrap()
}

fn survives(mut cluster: Cluster) -> Cluster {
    let before = running(&cluster);
    assert_eq!(before.len(), 4, "a sandbox and a container for each pod");
    let mut acknowledged = BTreeSet::new();
    for round in 0..2 {
        acknowledged.extend(kill_under_writes(&mut cluster, round));
        assert_eq!(running(&cluster), before, "pods run without skiff");
        cluster.launch();
        let held = cluster.ctl(&["get", "configmaps", "-o", "name"]);
        let held: BTreeSet<String> =
            held.lines().filter_map(|line| line.strip_prefix("configmap/")).map(str::to_owned).collect();
        let lost: Vec<_> = acknowledged.difference(&held).collect();
        assert!(
            lost.is_empty(),
            "{} of {} acknowledged writes are lost: {lost:?}",
            lost.len(),
            acknowledged.len()
        );
    }
    cluster.ready_pods("app=web", 2, 60);
    assert_eq!(running(&cluster), before, "the same containers, never started again");
    cluster
}

#[test]
fn a_kill_under_writes_loses_nothing_and_restarts_of_engine_and_machine_are_recovered_from() {
    let mut cluster = survives(cluster(&[]));

    // The engine goes with all containers, and comes back: the same pods, new containers.
    let pods: BTreeSet<String> = cluster.ready_pods("app=web", 2, 30).into_iter().collect();
    let before = running(&cluster);
    cluster.restart_engine();
    recovered(&cluster, &before, &pods);

    // The machine is switched off and on: nothing runs, and the kernel has forgotten rules and interfaces.
    let before = running(&cluster);
    cluster.kill();
    cluster.engine_mut().stop();
    output(Command::new("/usr/sbin/nft").args(["flush", "ruleset"]));
    for line in ip("-o link show").lines().filter(|line| line.contains("skiff")) {
        let name = line.split([':', '@', ' ']).filter(|word| !word.is_empty()).nth(1).unwrap();
        ip(&format!("link delete {name}"));
    }
    cluster.engine_mut().launch();
    cluster.launch();
    recovered(&cluster, &before, &pods);
    let service = cluster.ctl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let answer = eventually("the Service to answer", 20, || http_get(&format!("http://{service}/")));
    assert!(pods.contains(answer.trim()), "{answer}");
}

/// Waits until the same pods run in new containers, and answer.
fn recovered(cluster: &Cluster, before: &BTreeSet<String>, pods: &BTreeSet<String>) {
    eventually("new containers", 60, || {
        let now = running(cluster);
        if now.len() == 4 && now.is_disjoint(before) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let now: BTreeSet<String> = cluster.ready_pods("app=web", 2, 60).into_iter().collect();
    assert_eq!(&now, pods);
    for pod in pods {
        eventually("the pod to answer", 20, || {
            let address = cluster.ctl(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"]);
            let answer = http_get(&format!("http://{address}/"))?;
            if answer.trim() == pod { Ok(()) } else { Err(answer) }
        });
    }
}

#[test]
fn a_kill_under_writes_loses_nothing_on_etcd() {
    let etcd = Etcd::start();
    survives(cluster(&["--etcd-servers", etcd.url()]));
}
