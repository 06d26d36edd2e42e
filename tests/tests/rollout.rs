//! Deployments that change while they are used.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::{Value, json};
use skiff_tests::history::History;
use skiff_tests::load::Load;
use skiff_tests::{Cluster, Engine, Registry, eventually, http_get, registry};

fn cluster() -> (Cluster, Registry) {
    let hub = Registry::start();
    let engine = Engine::start(Some(&hub));
    let dir = tempfile::tempdir().unwrap();
    let root = registry::nginx_root(dir.path());
    for image in ["nginx:latest", "nginx:1", "nginx:2"] {
        std::fs::write(root.join("version"), image).unwrap();
        engine.import(&root, &["CMD [\"/usr/sbin/nginx\"]"], image);
        hub.push(&engine, image);
    }
    (Cluster::start(engine), hub)
}

#[test]
fn a_rolling_update_keeps_its_bounds_and_loses_no_connection() {
    let (cluster, _hub) = cluster();
    cluster.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:1", "ports": [{"containerPort": 80}]}]},
            },
        },
    }));
    cluster.ctl(&["expose", "deployment", "web", "--port=80"]);
    cluster.ready_pods("app=web", 4, 60);
    let ip = cluster.ctl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    eventually("an answer", 10, || http_get(&format!("http://{ip}/")));
    let history = History::start(&cluster, "app=web");
    let load = Load::start(&format!("{ip}:80"), 4, 250);
    eventually("the load to begin", 10, || if load.answered() > 100 { Ok(()) } else { Err("slow".into()) });
    for image in ["nginx:2", "nginx:1", "nginx:2"] {
        eprintln!("{:?} {image}", load.elapsed());
        cluster.ctl(&["set", "image", "deployment/web", &format!("nginx={image}")]);
        let said = cluster.ctl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
        eprintln!("{:?} {said}", load.elapsed());
    }
    eventually("10,000 connections", 60, || {
        let answered = load.answered();
        if answered >= 10_000 { Ok(()) } else { Err(answered.to_string()) }
    });
    let (answered, failed) = load.end();
    eprintln!("{answered} {}", failed.len());
    let counts = history.end(4);
    assert!(counts.iter().all(|count| count.present <= 5 && count.ready >= 3), "{counts:?}");
    assert!(counts.iter().any(|count| count.present == 5), "{counts:?}");
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), answered + failed.len());
}
