//! Probes of each kind by each means, hooks, and how a pod is asked to end.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skiff_tests::pods::{import_busybox, pod, restarts, shell, status};
use skiff_tests::{Cluster, Engine, Registry, eventually, registry};

fn cluster() -> (Cluster, Registry) {
    let hub = Registry::start();
    let engine = Engine::start(Some(&hub));
    import_busybox(&engine);
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    engine.import(&registry::nginx_root(dir.path()), &["CMD [\"/usr/sbin/nginx\"]"], "nginx:1");
    (Cluster::start(engine), hub)
}

/// Asks every second, and believes the first failure; but an answer may take its time, as on a machine with much to do.
fn hasty(mut probe: Value) -> Value {
    for (field, number) in [("periodSeconds", 1), ("failureThreshold", 1), ("timeoutSeconds", 20)] {
        probe[field] = json!(number);
    }
    probe
}

/// The three means, each as a container's name, its command, and the probe that asks it. Each is well while the
/// file `/w/NAME` is there (the one that is asked for a connection looks for it itself).
fn asked_in_three_ways(ready_at_once: bool) -> [(&'static str, String, Value); 3] {
    let touch = |name: &str| if ready_at_once { format!("touch /w/{name};") } else { String::new() };
    [
        (
            "http",
            format!("{} httpd -f -p 8080 -h /w", touch("http")),
            json!({ "httpGet": { "path": "/http", "port": "web" } }),
        ),
        (
            "tcp",
            format!(
                "{} while true; do until [ -f /w/tcp ]; do usleep 100000; done; httpd -f -p 9000 & while [ -f /w/tcp ]; do \
                 usleep 100000; done; kill $!; wait $!; done",
                touch("tcp")
            ),
            json!({ "tcpSocket": { "port": 9000 } }),
        ),
        (
            "exec",
            format!("{} sleep 1000", touch("exec")),
            json!({ "exec": { "command": ["sh", "-c", "test -f /w/exec || { echo no file; exit 1; }"] } }),
        ),
    ]
    .map(|(name, script, asked)| (name, script, hasty(asked)))
}

/// A pod with a container for each means, probed in one way.
fn probed(name: &str, probe: &str, ready_at_once: bool, change: impl Fn(&mut Value)) -> Value {
    let containers = asked_in_three_ways(ready_at_once).map(|(name, script, asked)| {
        let mut container = json!({
            "name": name, "command": shell(&script), "volumeMounts": [{ "name": "w", "mountPath": "/w" }],
        });
        if name == "http" {
            container["ports"] = json!([{ "name": "web", "containerPort": 8080 }]);
        }
        container[probe] = asked;
        change(&mut container);
        container
    });
    pod(name, json!({ "containers": containers, "volumes": [{ "name": "w", "emptyDir": {} }] }))
}

const WAYS: [&str; 3] = ["http", "tcp", "exec"];

/// What an event says of each means when it is not well.
const FOUND: [(&str, &str); 3] = [
    ("http", "HTTP probe failed with statuscode: 404"),
    ("tcp", "connect: connection refused"),
    ("exec", "no file"),
];

#[test]
fn each_probe_asks_by_http_tcp_and_command() {
    let (cluster, _hub) = cluster();
    cluster.apply_all(&[
        probed("ready", "readinessProbe", false, |_| {}),
        // The command takes a moment to be well.
        probed("live", "livenessProbe", true, |container| {
            container["livenessProbe"]["failureThreshold"] = json!(8);
        }),
        // A liveness probe that would fail at once, were it not held back.
        probed("start", "startupProbe", false, |container| {
            container["startupProbe"]["failureThreshold"] = json!(600);
            let name = container["name"].as_str().unwrap().to_owned();
            container["livenessProbe"] =
                hasty(json!({ "exec": { "command": ["test", "-f", format!("/w/{name}")] } }));
        }),
        probed("start-late", "startupProbe", false, |_| {}),
    ]);

    // Readiness: not before it is well, and not after.
    for (way, found) in FOUND {
        let told = cluster.until_told("ready", "Warning", "Unhealthy", "Readiness probe failed: ", 30);
        assert!(told.field_path.starts_with("spec.containers{"), "{told:?}");
        eventually(&format!("{found} of {way}"), 20, || {
            let all = cluster.told("ready");
            let path = format!("spec.containers{{{way}}}");
            let one = all.iter().find(|e| e.field_path == path && e.message.contains(found));
            one.map(drop).ok_or_else(|| format!("{all:#?}"))
        });
    }
    let seen = cluster
        .until_pod("ready", "running", 10, |pod| (pod["status"]["phase"] == "Running").then(|| pod.clone()));
    for way in WAYS {
        assert_eq!(
            (&status(&seen, way)["ready"], &status(&seen, way)["started"]),
            (&json!(false), &json!(true))
        );
    }
    cluster.sh("ready", "exec", "touch /w/http /w/tcp /w/exec");
    cluster.until_ready("ready", 20);
    assert!(cluster.ctl(&["get", "pod", "ready"]).contains("3/3"));
    cluster.sh("ready", "exec", "rm /w/http /w/tcp /w/exec");
    let seen = cluster.until_pod("ready", "unready", 20, |pod| {
        WAYS.iter().all(|way| status(pod, way)["ready"] == false).then(|| pod.clone())
    });
    for way in WAYS {
        assert_eq!(restarts(&seen, way), 0, "readiness restarts nothing");
    }

    // Startup: the others wait for it, and a container that never starts is restarted.
    let seen = cluster.until_pod("start", "running and not started", 20, |pod| {
        let begun = |way| {
            let status = status(pod, way);
            status["state"]["running"].is_object() && status["started"] == false
        };
        WAYS.into_iter().all(begun).then(|| pod.clone())
    });
    for way in WAYS {
        assert_eq!(restarts(&seen, way), 0, "{way}");
    }
    cluster.sh("start", "exec", "touch /w/http /w/tcp /w/exec");
    let seen = cluster.until_ready("start", 20);
    for way in WAYS {
        assert_eq!((restarts(&seen, way), &status(&seen, way)["started"]), (0, &json!(true)), "{way}");
    }
    cluster.until_pod("start-late", "restarted", 30, |pod| {
        WAYS.iter().all(|way| restarts(pod, way) >= 1).then_some(())
    });
    for way in WAYS {
        let text = format!("Container {way} failed startup probe, will be restarted");
        cluster.until_told("start-late", "Normal", "Killing", &text, 10);
    }

    // Liveness: well so far; then the container is restarted, and is well again.
    let seen = cluster.until_ready("live", 20);
    for way in WAYS {
        assert_eq!(restarts(&seen, way), 0, "{way}");
    }
    cluster.sh("live", "exec", "rm /w/http /w/tcp /w/exec");
    for (way, found) in FOUND {
        cluster.until_pod("live", &format!("{way} restarted"), 30, |pod| {
            (restarts(pod, way) >= 1 && status(pod, way)["ready"] == true).then_some(())
        });
        let text = format!("Container {way} failed liveness probe, will be restarted");
        cluster.until_told("live", "Normal", "Killing", &text, 10);
        cluster.until_told("live", "Warning", "Unhealthy", found, 10);
    }
}

/// What a pod with this folder of the host wrote into it.
fn written(dir: &std::path::Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn hooks_run_and_pods_get_their_time_to_end() {
    let (cluster, _hub) = cluster();
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    // A container that does this when it is told to end, and says when it has got that far.
    let ending = |name: &str, grace: u64, at_end: &str, lifecycle: Value| {
        let script =
            format!("trap '{at_end}' TERM; touch /h/{name}.listens; while true; do usleep 100000; done");
        let mut spec = json!({
            "terminationGracePeriodSeconds": grace,
            "containers": [{
                "name": "c", "command": shell(&script), "volumeMounts": [{ "name": "h", "mountPath": "/h" }],
            }],
            "volumes": [{ "name": "h", "hostPath": { "path": dir.path(), "type": "Directory" } }],
        });
        if !lifecycle.is_null() {
            spec["containers"][0]["lifecycle"] = lifecycle;
        }
        pod(name, spec)
    };
    let exec = |script: &str| json!({ "exec": { "command": shell(script) } });
    cluster.apply_all(&[pod("receiver", json!({ "containers": [{ "name": "c", "image": "nginx:1" }] }))]);
    let receiver = cluster.until_ready("receiver", 60);
    let address = receiver["status"]["podIP"].as_str().unwrap().to_owned();
    let get = |path: &str| json!({ "httpGet": { "host": address, "port": 80, "path": path } });
    cluster.apply_all(&[
        ending(
            "polite",
            30,
            "echo term >> /h/polite; exit 0",
            json!({ "postStart": exec("echo post-start >> /h/polite"), "preStop": exec("echo pre-stop >> /h/polite") }),
        ),
        ending("stubborn", 4, "", Value::Null),
        // What the hook takes is taken from the time to end.
        ending("long-hook", 4, "", json!({ "preStop": exec("sleep 1000") })),
        ending(
            "by-http",
            5,
            "exit 0",
            json!({ "postStart": get("/post-start"), "preStop": get("/pre-stop") }),
        ),
        ending(
            "ill-hook",
            5,
            "echo term >> /h/ill-hook; exit 0",
            json!({ "postStart": exec(
                "until [ -f /h/ill-hook.listens ]; do usleep 100000; done; echo a secret; exit 1",
            ) }),
        ),
        ending(
            "sleeper",
            5,
            "exit 0",
            json!({ "preStop": { "sleep": { "seconds": 1 } } }),
        ),
        // Its end begins when the test says so.
        ending(
            "serving",
            60,
            "exit 0",
            json!({ "preStop": exec("until [ -f /h/enough ]; do usleep 100000; done") }),
        ),
    ]);
    for name in ["polite", "stubborn", "long-hook", "by-http", "sleeper", "serving"] {
        cluster.until_ready(name, 30);
        let listens = dir.path().join(format!("{name}.listens"));
        eventually(&format!("{name} to listen"), 20, || {
            if listens.exists() { Ok(()) } else { Err("not yet".to_owned()) }
        });
    }
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "serving" },
        "spec": { "selector": { "app": "serving" }, "ports": [{ "port": 80 }] } }));
    assert_eq!(written(dir.path(), "polite"), ["post-start"]);
    cluster.until_printed(&["logs", "receiver"], &["GET /post-start "]);

    // A start whose hook fails is undone, and tried again.
    let told = cluster.until_told("ill-hook", "Warning", "FailedPostStartHook", "PostStartHook failed", 20);
    assert!(!told.message.contains("secret"));
    cluster.until_pod("ill-hook", "restarted", 30, |pod| (restarts(pod, "c") >= 1).then_some(()));
    assert_eq!(written(dir.path(), "ill-hook")[0], "term", "it was asked to end");

    // The one that listens ends at once, the others when their time is up.
    let begun = Instant::now();
    let mut ends = Vec::new();
    cluster.ctl(&[
        "delete",
        "pod",
        "--wait=false",
        "polite",
        "stubborn",
        "long-hook",
        "by-http",
        "sleeper",
        "serving",
    ]);
    eventually("one that ends serves those who find nobody else", 20, || {
        let slices = cluster.get(&["endpointslices", "-l", "kubernetes.io/service-name=serving"]);
        let conditions = slices["items"][0]["endpoints"][0]["conditions"].clone();
        let wanted = json!({ "ready": false, "serving": true, "terminating": true });
        if conditions == wanted { Ok(()) } else { Err(slices.to_string()) }
    });
    std::fs::write(dir.path().join("enough"), "").unwrap();
    for name in ["polite", "by-http", "sleeper", "stubborn", "long-hook", "serving"] {
        cluster.until_gone(name, 30);
        ends.push((name, begun.elapsed()));
    }
    assert_eq!(written(dir.path(), "polite"), ["post-start", "pre-stop", "term"]);
    cluster.until_printed(&["logs", "receiver"], &["GET /pre-stop "]);
    let end = |wanted: &str| ends.iter().find(|(name, _)| *name == wanted).unwrap().1;
    assert!(end("stubborn") >= Duration::from_secs(4), "{ends:?}");
    assert!(end("long-hook") >= Duration::from_secs(4), "{ends:?}");
    assert!(end("long-hook") < Duration::from_secs(60), "its hook would take a thousand: {ends:?}");
    cluster.until_told("stubborn", "Normal", "Killing", "Stopping container c", 10);

    // And one can be told not to wait.
    cluster.ctl(&["delete", "pod", "ill-hook", "--grace-period=0", "--force"]);
    cluster.until_gone("ill-hook", 10);
}
