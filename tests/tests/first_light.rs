//! A manifest becomes running containers that answer.

use std::collections::BTreeSet;

use skiff_tests::{Cluster, Engine, Registry, eventually, http_get, output, registry, repository};

/// A cluster whose engine pulls `nginx` from a registry that stands in for Docker Hub.
fn cluster() -> (Cluster, Registry) {
    let hub = Registry::start();
    let engine = Engine::start(Some(&hub));
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let root = registry::nginx_root(dir.path());
    engine.import(&root, &["CMD [\"/usr/sbin/nginx\"]"], "nginx:latest");
    hub.push(&engine, "nginx:latest");
    (Cluster::start(engine), hub)
}

#[test]
fn the_seed_manifest_runs_and_answers_by_address_and_by_name() {
    let (cluster, _hub) = cluster();
    let manifest = repository("manifests/web.yaml");
    let applied = cluster.ctl(&["apply", "-f", manifest.to_str().unwrap()]);
    assert!(applied.contains("deployment.apps/my-web-app created"), "{applied}");
    assert!(applied.contains("service/my-web-app-service created"), "{applied}");
    let pods = cluster.ready_pods("app=my-web-app", 3, 60);

    // By address, spread over all.
    let ip = cluster.ctl(&["get", "service", "my-web-app-service", "-o", "jsonpath={.spec.clusterIP}"]);
    let mut seen = BTreeSet::new();
    eventually("an answer of every pod", 20, || {
        seen.insert(http_get(&format!("http://{ip}/"))?.trim().to_owned());
        if seen.len() == 3 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    assert_eq!(seen, pods.iter().cloned().collect());

    // By name, from inside a pod.
    let full = |name: &str| format!("{name}.default.svc.cluster.local");
    for name in ["my-web-app-service", &full("my-web-app-service"), &full("kubernetes")] {
        // Busybox asks for the name under every suffix, and fails if one of them is not there.
        let expected = if name.starts_with("kubernetes") { "10.96.0.1" } else { ip.as_str() };
        eventually(&format!("an answer to {name}"), 10, || {
            let answer =
                cluster.try_ctl(&["exec", &pods[0], "--", "nslookup", name]).unwrap_or_else(|said| said);
            if answer.contains(&format!("Address: {expected}\n")) { Ok(()) } else { Err(answer) }
        });
    }

    // Where they are.
    let table = cluster.ctl(&["get", "pods", "-o", "wide"]);
    let objects = cluster.get(&["pods"]);
    for pod in objects["items"].as_array().unwrap() {
        let line = table.lines().find(|line| line.starts_with(pod["metadata"]["name"].as_str().unwrap()));
        let cells: Vec<&str> = line.unwrap().split_whitespace().collect();
        for path in ["/status/podIP", "/spec/nodeName"] {
            assert!(cells.contains(&pod.pointer(path).unwrap().as_str().unwrap()), "{path}: {table}");
        }
    }

    // A pod that is deleted is replaced.
    cluster.ctl(&["delete", "pod", &pods[0]]);
    let now = cluster.ready_pods("app=my-web-app", 3, 60);
    assert!(!now.contains(&pods[0]));

    // An unmodified kubectl sees the same.
    let table = cluster.kubectl(&["get", "pods", "-o", "wide"]);
    assert!(now.iter().all(|pod| table.contains(pod.as_str())), "{table}");
    cluster.kubectl(&["scale", "deployment/my-web-app", "--replicas=1"]);
    cluster.ready_pods("app=my-web-app", 1, 60);

    cluster.ctl(&["delete", "-f", manifest.to_str().unwrap()]);
    eventually("the pods to be gone", 60, || {
        let pods = cluster.get(&["pods"]);
        if pods["items"].as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(pods.to_string()) }
    });
}

#[test]
fn containers_outlive_a_killed_skiff() {
    let (mut cluster, _hub) = cluster();
    cluster.ctl(&["run", "my-nginx", "--image=nginx", "--replicas=2"]);
    cluster.ready_pods("app=my-nginx", 2, 60);
    let running = |cluster: &Cluster| {
        let listing = output(cluster.engine().docker().args(["ps", "-q", "--no-trunc"]));
        listing.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let before = running(&cluster);
    assert_eq!(before.len(), 4, "a sandbox and a container for each pod");
    for number in 0..50 {
        cluster.ctl(&["create", "configmap", &format!("kept-{number}"), "--from-literal=a=b"]);
    }
    cluster.kill();
    assert_eq!(running(&cluster), before, "pods run without skiff");
    cluster.launch();
    cluster.ready_pods("app=my-nginx", 2, 60);
    assert_eq!(running(&cluster), before, "the same containers are still there");
    let kept = cluster.ctl(&["get", "configmaps", "-o", "name"]);
    assert_eq!(kept.lines().filter(|line| line.contains("kept-")).count(), 50);
}
