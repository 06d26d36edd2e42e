//! Where a container's image comes from, and what is told when it cannot be had.

#![allow(clippy::unwrap_used, reason = "tests may")]

use serde_json::{Value, json};
use skiff_tests::pods::{import_busybox, pod, shell, status, waiting};
use skiff_tests::{Cluster, Engine, Process, Registry, bin, eventually, output, registry};

fn of_image(name: &str, image: &str, policy: Option<&str>) -> Value {
    let mut container = json!({ "name": "c", "image": image, "command": shell("sleep 1000") });
    if let Some(policy) = policy {
        container["imagePullPolicy"] = json!(policy);
    }
    pod(name, json!({ "containers": [container] }))
}

fn with_secret(mut pod: Value, secret: &str) -> Value {
    pod["spec"]["imagePullSecrets"] = json!([{ "name": secret }]);
    pod
}

fn pull_secret(name: &str, host: &str, password: &str) -> Value {
    let auths = json!({ "auths": { host: { "username": registry::USER, "password": password } } });
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": auths.to_string() } })
}

#[test]
fn images_are_pulled_as_the_policy_says_and_failures_explained() {
    let (hub, guarded) = (Registry::start(), Registry::start_guarded());
    let engine = Engine::start(Some(&hub));
    import_busybox(&engine);
    // Images that only a registry has, and some that only the engine has.
    let tag = |name: &str| output(engine.docker().args(["tag", "busybox:1", name]));
    for name in ["app:latest", "app:2"] {
        tag(name);
        hub.push(&engine, name);
    }
    tag("hidden:1");
    guarded.push(&engine, "hidden:1");
    let unknown = hub.name_of("local");
    for name in ["local:latest", &format!("{unknown}:latest"), "127.0.0.1:1/local:latest"] {
        tag(name);
    }
    let cluster = Cluster::start(engine);
    let hidden = guarded.name_of("hidden:1");
    let absent = hub.name_of("absent:1");
    // What is shown on the way is seen by who watches.
    let log = cluster.dir().join("watched");
    let watch = cluster.client(std::process::Command::new(bin("ctl")), &["get", "pods", "-w"]);
    let _watching = Process::start(watch, &log);
    cluster.apply_all(&[
        pull_secret("pass", &guarded.host(), registry::PASSWORD),
        pull_secret("wrong", &guarded.host(), "guessed"),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "puller" }, "imagePullSecrets": [{ "name": "pass" }] }),
    ]);
    let mut by_account = of_image("by-account", &hidden, Some("Always"));
    by_account["spec"]["serviceAccountName"] = json!("puller");
    cluster.apply_all(&[
        of_image("untagged", "app", None),
        of_image("if-absent", "app:2", None),
        of_image("if-present", "busybox:1", Some("IfNotPresent")),
        of_image("never-present", "busybox:1", Some("Never")),
        of_image("never-absent", "busybox:none", Some("Never")),
        with_secret(of_image("allowed", &hidden, Some("Always")), "pass"),
        by_account,
        with_secret(of_image("refused", &hidden, Some("Always")), "wrong"),
        of_image("unknown-there", &unknown, None),
        of_image("unreachable", "127.0.0.1:1/local:latest", None),
        of_image("from-nowhere", "local", None),
        of_image("absent", &absent, None),
        of_image("misnamed", "Not A Name", None),
    ]);

    // Policies.
    for (name, told) in [
        ("untagged", "Successfully pulled image \"app:latest\""),
        ("if-absent", "Successfully pulled image \"app:2\""),
        ("if-present", "Container image \"busybox:1\" already present on machine"),
        ("never-present", "Container image \"busybox:1\" already present on machine"),
    ] {
        let seen = cluster.until_ready(name, 60);
        cluster.until_told(name, "Normal", "Pulled", told, 10);
        assert!(status(&seen, "c")["imageID"].as_str().unwrap().contains("sha256:"), "{seen}");
    }
    assert_eq!(cluster.pod("untagged")["spec"]["containers"][0]["imagePullPolicy"], "Always");
    cluster.until_pod("never-absent", "refused", 20, |pod| {
        (waiting(pod, "c") == "ErrImageNeverPull").then_some(())
    });
    cluster.until_told(
        "never-absent",
        "Warning",
        "ErrImageNeverPull",
        "is not present with pull policy of Never",
        10,
    );

    // A registry that asks who it is.
    cluster.until_ready("allowed", 30);
    cluster.until_ready("by-account", 30);
    cluster.until_pod("refused", "waits", 30, |pod| (waiting(pod, "c") == "ImagePullBackOff").then_some(()));
    let told = cluster.until_told("refused", "Warning", "Failed", "Failed to pull image", 10);
    let why = ["unauthorized", "no basic auth", "401 Unauthorized"];
    assert!(why.iter().any(|why| told.message.contains(why)), "{told:?}");

    // An image built here and never pushed runs, and it is told that the registry had no part in it.
    for name in ["unknown-there", "unreachable"] {
        cluster.until_ready(name, 30);
        cluster.until_told(
            name,
            "Warning",
            "PullFailed",
            "using the image that is present on the machine",
            10,
        );
    }

    // One that cannot be had: why, then when it is tried again; and it runs once it can be had.
    let seen = cluster.until_pod("absent", "waits", 30, |pod| {
        (waiting(pod, "c") == "ImagePullBackOff").then(|| pod.clone())
    });
    let message = status(&seen, "c")["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(&format!("Back-off pulling image \"{absent}\": ErrImagePull: ")),
        "{message}"
    );
    let told = cluster.until_told("absent", "Warning", "Failed", "Failed to pull image", 10);
    assert!(told.message.contains("not found") || told.message.contains("manifest unknown"), "{told:?}");
    cluster.until_told("absent", "Warning", "Failed", "Error: ErrImagePull", 10);
    cluster.until_told("absent", "Normal", "BackOff", "Back-off pulling image", 10);
    assert!(cluster.ctl(&["describe", "pod", "absent"]).contains("Back-off pulling image"));
    eventually("first the failure, then the wait", 10, || {
        let seen = std::fs::read_to_string(&log).unwrap_or_default();
        let at =
            |word: &str| seen.lines().position(|line| line.starts_with("absent ") && line.contains(word));
        match (at("ErrImagePull"), at("ImagePullBackOff")) {
            (Some(first), Some(second)) if first < second => Ok(()),
            _ => Err(seen),
        }
    });
    cluster
        .until_pod("misnamed", "refused", 20, |pod| (waiting(pod, "c") == "InvalidImageName").then_some(()));
    output(cluster.engine().docker().args(["tag", "busybox:1", "absent:1"]));
    hub.push(cluster.engine(), "absent:1");
    cluster.until_ready("absent", 60);

    // Without any network to a registry it takes a little longer.
    cluster.until_ready("from-nowhere", 90);
    cluster.until_told(
        "from-nowhere",
        "Warning",
        "PullFailed",
        "using the image that is present on the machine",
        10,
    );
}
