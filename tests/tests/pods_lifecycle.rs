//! What becomes of a pod's containers: starts, restarts, ends, and the phase that follows.

#![allow(clippy::unwrap_used, reason = "tests may")]

use serde_json::{Value, json};
use skiff_tests::pods::{container_id, import_busybox, pod, restarts, shell, shell_pod, status, waiting};
use skiff_tests::{Cluster, Engine, eventually, output};

fn cluster() -> Cluster {
    let engine = Engine::start(None);
    import_busybox(&engine);
    Cluster::start(engine)
}

/// A pod whose containers share the folder `/w`.
fn sharing(name: &str, mut spec: Value) -> Value {
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            container["volumeMounts"] = json!([{ "name": "w", "mountPath": "/w" }]);
        }
    }
    spec["volumes"] = json!([{ "name": "w", "emptyDir": {} }]);
    pod(name, spec)
}

/// Fails the first time it runs in its pod, and not again.
const FAILS_ONCE: &str = "test -e /w/been && exit 0; touch /w/been; exit 7";

fn restarting() -> Vec<Value> {
    let policy = |name: &str, policy: &str, script: &str| {
        pod(
            name,
            json!({ "restartPolicy": policy, "containers": [{ "name": "c", "command": shell(script) }] }),
        )
    };
    vec![
        shell_pod("killed", "sleep 1000"),
        shell_pod("crash", "echo last words > /dev/termination-log; exit 3"),
        pod(
            "wordless",
            json!({ "restartPolicy": "Never", "containers": [
                { "name": "c", "command": shell("echo what the log says; exit 1"), "terminationMessagePolicy": "FallbackToLogsOnError" },
            ] }),
        ),
        shell_pod("always", "exit 0"),
        policy("never-well", "Never", "exit 0"),
        policy("never-ill", "Never", "exit 4"),
        policy("late", "Never", "sleep 1000").tap(|pod| pod["spec"]["activeDeadlineSeconds"] = json!(2)),
        sharing(
            "on-failure",
            json!({ "restartPolicy": "OnFailure", "containers": [{ "name": "c", "command": shell(FAILS_ONCE) }] }),
        ),
        sharing(
            "init-order",
            json!({
                "initContainers": [
                    { "name": "first", "command": shell("sleep 1; echo first >> /w/log") },
                    { "name": "second", "command": shell("echo second >> /w/log") },
                ],
                "containers": [{ "name": "c", "command": shell("echo main >> /w/log; cat /w/log; sleep 1000") }],
            }),
        ),
        sharing(
            "init-heals",
            json!({
                "initContainers": [{ "name": "i", "command": shell(FAILS_ONCE) }],
                "containers": [{ "name": "c", "command": shell("sleep 1000") }],
            }),
        ),
        pod(
            "init-ill",
            json!({
                "initContainers": [{ "name": "i", "command": shell("exit 5") }],
                "containers": [{ "name": "c", "command": shell("sleep 1000") }],
            }),
        ),
        pod(
            "init-never",
            json!({
                "restartPolicy": "Never",
                "initContainers": [{ "name": "i", "command": shell("exit 5") }],
                "containers": [{ "name": "c", "command": shell("sleep 1000") }],
            }),
        ),
        pod(
            "sidecar",
            json!({
                "restartPolicy": "Never",
                "initContainers": [{ "name": "side", "command": shell("sleep 1000"), "restartPolicy": "Always" }],
                "containers": [{ "name": "c", "command": shell("exit 0") }],
            }),
        ),
    ]
}

trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for Value {}

#[test]
fn containers_restart_as_their_policy_says_and_phases_follow() {
    let mut cluster = cluster();
    cluster.apply_all(&restarting());

    // A container that is killed comes back as another, and is counted; the engine has no part in it.
    let before = container_id(&cluster.until_ready("killed", 60), "c");
    let policy = ["inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", &before];
    assert!(["", "no"].contains(&output(cluster.engine().docker().args(policy)).trim()));
    output(cluster.engine().docker().args(["kill", &before]));
    let back = cluster.until_pod("killed", "back", 20, |pod| {
        (restarts(pod, "c") == 1 && status(pod, "c")["ready"] == true).then(|| pod.clone())
    });
    assert_ne!(container_id(&back, "c"), before);
    let last = &status(&back, "c")["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("Error")), "{last}");
    assert!(cluster.ctl(&["get", "pod", "killed"]).lines().nth(1).unwrap().contains("1 ("));

    cluster.until_printed(
        &["describe", "pod", "killed"],
        &["Successfully assigned default/killed to ", "Created container: c", "Started container c"],
    );

    // One that ends again at once waits first.
    let crashed = cluster.until_pod("crash", "waits", 20, |pod| {
        (waiting(pod, "c") == "CrashLoopBackOff").then(|| pod.clone())
    });
    assert_eq!(crashed["status"]["phase"], "Running");
    let wait = match restarts(&crashed, "c") {
        1 => "10s",
        2 => "20s",
        _ => "40s",
    };
    let waits = status(&crashed, "c")["state"]["waiting"]["message"].as_str().unwrap().to_owned();
    let uid = crashed["metadata"]["uid"].as_str().unwrap();
    assert_eq!(waits, format!("back-off {wait} restarting failed container=c pod=crash_default({uid})"));
    let last = &status(&crashed, "c")["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["message"]), (&json!(3), &json!("last words\n")));
    let told =
        cluster.until_told("crash", "Warning", "BackOff", "Back-off restarting failed container c", 10);
    assert_eq!(told.field_path, "spec.containers{c}");
    // Between two waits it runs for a moment.
    cluster.until_printed(&["get", "pod", "crash"], &["CrashLoopBackOff"]);
    cluster.until_printed(
        &["describe", "pod", "crash"],
        &["Exit Code:    3", "CrashLoopBackOff", "last words", "Back-off restarting failed container"],
    );
    cluster.until_pod("always", "waits", 20, |pod| (waiting(pod, "c") == "CrashLoopBackOff").then_some(()));

    // Ends.
    let ended = cluster.until_phase("wordless", "Failed", 20);
    let message = &status(&ended, "c")["state"]["terminated"]["message"];
    assert_eq!(message, "what the log says\n");
    let well = cluster.until_phase("never-well", "Succeeded", 20);
    assert_eq!(status(&well, "c")["state"]["terminated"]["reason"], "Completed");
    assert!(cluster.ctl(&["get", "pod", "never-well"]).contains("Completed"));
    let ill = cluster.until_phase("never-ill", "Failed", 20);
    assert_eq!((restarts(&ill, "c"), &status(&ill, "c")["state"]["terminated"]["exitCode"]), (0, &json!(4)));
    let healed = cluster.until_phase("on-failure", "Succeeded", 20);
    assert_eq!(restarts(&healed, "c"), 1);
    let late = cluster.until_phase("late", "Failed", 20);
    assert_eq!(late["status"]["reason"], "DeadlineExceeded");

    // Init containers.
    cluster.until_ready("init-order", 20);
    cluster.until_logged(&["init-order"], "first\nsecond\nmain\n");
    let healed = cluster.until_ready("init-heals", 20);
    assert_eq!(restarts(&healed, "i"), 1);
    let ill = cluster.until_pod("init-ill", "waits", 20, |pod| {
        (waiting(pod, "i") == "CrashLoopBackOff").then(|| pod.clone())
    });
    assert_eq!((&ill["status"]["phase"], waiting(&ill, "c")), (&json!("Pending"), "PodInitializing"));
    cluster.until_printed(&["get", "pod", "init-ill"], &["Init:CrashLoopBackOff"]);
    let told = cluster.until_told("init-ill", "Warning", "BackOff", "failed container i", 10);
    assert_eq!(told.field_path, "spec.initContainers{i}");
    let never = cluster.until_phase("init-never", "Failed", 20);
    assert_eq!(status(&never, "c")["containerID"], Value::Null);
    assert!(cluster.ctl(&["get", "pod", "init-never"]).contains("Init:Error"));
    let done = cluster.until_phase("sidecar", "Succeeded", 20);
    assert!(status(&done, "side")["state"]["terminated"].is_object(), "{done}");

    // The engine goes and comes: what ran runs again, what ended stays as it was.
    let before = container_id(&cluster.pod("killed"), "c");
    cluster.engine_mut().stop();
    cluster.engine_mut().launch();
    for name in ["killed", "init-order", "init-heals"] {
        cluster.until_pod(name, "runs again", 60, |pod| {
            let id = container_id(pod, "c");
            let shown = cluster
                .engine()
                .docker()
                .args(["inspect", "-f", "{{.State.Running}}", &id])
                .output()
                .unwrap();
            (shown.stdout.starts_with(b"true") && status(pod, "c")["ready"] == true).then_some(())
        });
    }
    assert_ne!(container_id(&cluster.pod("killed"), "c"), before);
    eventually("the init containers to have run again, and the main one after them", 20, || {
        let seen = cluster.sh("init-order", "c", "cat /w/log");
        if seen == "first\nsecond\nmain\nfirst\nsecond\nmain\n" { Ok(()) } else { Err(seen) }
    });
    assert_eq!(cluster.pod("never-well")["status"]["phase"], "Succeeded");
}
