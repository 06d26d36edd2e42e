//! What a container finds around it: environment, files, limits, rights.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use skiff_tests::pods::{container_id, import_busybox, pod, shell, status, waiting};
use skiff_tests::{Cluster, Engine, eventually, output};

fn cluster() -> Cluster {
    let engine = Engine::start(None);
    import_busybox(&engine);
    Cluster::start(engine)
}

/// ConfigMaps and Secrets of the test.
fn sources() -> Vec<Value> {
    let config_map = |name: &str, data: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data });
    vec![
        config_map("settings", json!({ "colour": "blue", "size": "large" })),
        config_map("page", json!({ "index": "one", "other": "two" })),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "key" }, "stringData": { "word": "hush", "pin": "1234" } }),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "back-end" },
            "spec": { "clusterIP": "10.96.77.77", "ports": [{ "port": 81 }] } }),
    ]
}

fn environment_pod() -> Value {
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let resource = |name: &str, of: &str, divisor: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": of, "divisor": divisor } } });
    let mut made = pod(
        "environment",
        json!({
            "containers": [{
                "name": "c",
                "command": ["sh", "-c", "echo $0 $1; exec sleep 1000", "$(BOTH)", "$$(BOTH)"],
                "resources": { "limits": { "cpu": "500m", "memory": "64Mi" }, "requests": { "cpu": "250m" } },
                "envFrom": [
                    { "configMapRef": { "name": "settings" } },
                    { "prefix": "S_", "secretRef": { "name": "key" } },
                    { "configMapRef": { "name": "absent", "optional": true } },
                    { "secretRef": { "name": "absent", "optional": true } },
                ],
                "env": [
                    { "name": "PLAIN", "value": "a value" },
                    { "name": "colour", "value": "red" },
                    { "name": "ONE", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "size" } } },
                    { "name": "TWO", "valueFrom": { "secretKeyRef": { "name": "key", "key": "word" } } },
                    { "name": "NONE", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "absent", "optional": true } } },
                    { "name": "BOTH", "value": "$(ONE)-$(TWO)" },
                    { "name": "KEPT", "value": "$(UNKNOWN) $$(ONE)" },
                    field("NAME", "metadata.name"), field("SPACE", "metadata.namespace"), field("UID", "metadata.uid"),
                    field("LABEL", "metadata.labels['app']"), field("NOTE", "metadata.annotations['note']"),
                    field("IP", "status.podIP"), field("HOST", "status.hostIP"),
                    field("NODE", "spec.nodeName"), field("ACCOUNT", "spec.serviceAccountName"),
                    resource("CPU", "limits.cpu", "1m"), resource("CPU_ASKED", "requests.cpu", "1m"),
                    resource("MEMORY", "limits.memory", "1Mi"),
                ],
            }],
        }),
    );
    made["metadata"]["annotations"] = json!({ "note": "for people" });
    made
}

#[test]
fn a_container_finds_the_environment_and_files_that_its_pod_names() {
    let cluster = cluster();
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    cluster.apply_all(&sources());
    cluster.apply_all(&[
        environment_pod(),
        lacking("lacking", json!({
            "env": [{ "name": "IT", "valueFrom": { "configMapKeyRef": { "name": "later", "key": "it" } } }],
        })),
        lacking("lacking-file", json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] })),
        files_pod(),
        host_pod(host.path()),
        wrong_host_pod(host.path()),
    ]);
    environment(&cluster);
    files(&cluster);
    host_paths(&cluster, host.path());
    lacks(&cluster);
}

fn environment(cluster: &Cluster) {
    let seen = cluster.until_ready("environment", 60);
    let text = |path: &str| seen.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let env = cluster.sh("environment", "c", "env");
    let node = text("/spec/nodeName");
    for (name, value) in [
        ("FROM_IMAGE", "yes"),
        ("PLAIN", "a value"),
        ("colour", "red"),
        ("size", "large"),
        ("S_word", "hush"),
        ("S_pin", "1234"),
        ("ONE", "large"),
        ("TWO", "hush"),
        ("BOTH", "large-hush"),
        ("KEPT", "$(UNKNOWN) $(ONE)"),
        ("NAME", "environment"),
        ("SPACE", "default"),
        ("UID", &text("/metadata/uid")),
        ("LABEL", "environment"),
        ("NOTE", "for people"),
        ("IP", &text("/status/podIP")),
        ("HOST", &text("/status/hostIP")),
        ("NODE", &node),
        ("ACCOUNT", "default"),
        ("CPU", "500"),
        ("CPU_ASKED", "250"),
        ("MEMORY", "64"),
        ("HOSTNAME", "environment"),
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("BACK_END_SERVICE_HOST", "10.96.77.77"),
        ("BACK_END_SERVICE_PORT", "81"),
    ] {
        assert!(env.lines().any(|line| line == format!("{name}={value}")), "{name}={value} in {env}");
    }
    assert!(!env.contains("NONE="), "{env}");
    cluster.until_logged(&["environment"], "large-hush $(BOTH)\n");
}

/// A pod that names what is not there yet.
fn lacking(name: &str, more: Value) -> Value {
    let mut spec = json!({ "containers": [{ "name": "c", "command": shell("echo $IT $(cat /v/it 2> /dev/null); sleep 1000") }] });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec["containers"][0][key] = value.clone();
    }
    if name == "lacking-file" {
        spec["volumes"] = json!([{ "name": "v", "configMap": { "name": "later" } }]);
    }
    pod(name, spec)
}

fn lacks(cluster: &Cluster) {
    cluster.until_pod("lacking", "told", 20, |pod| {
        (waiting(pod, "c") == "CreateContainerConfigError").then_some(())
    });
    cluster.until_told("lacking", "Warning", "Failed", "configmap \"later\" not found", 10);
    assert!(cluster.ctl(&["get", "pod", "lacking"]).contains("CreateContainerConfigError"));
    let told = "MountVolume.SetUp failed for volume \"v\" : configmap \"later\" not found";
    cluster.until_told("lacking-file", "Warning", "FailedMount", told, 10);
    cluster.ctl(&["create", "configmap", "later", "--from-literal=it=came"]);
    for name in ["lacking", "lacking-file"] {
        cluster.until_ready(name, 20);
        cluster.until_logged(&[name], "came\n");
    }
}

fn files_pod() -> Value {
    let mounts = json!([
        { "name": "map", "mountPath": "/map" }, { "name": "picked", "mountPath": "/picked" },
        { "name": "secret", "mountPath": "/secret" }, { "name": "down", "mountPath": "/down" },
        { "name": "all", "mountPath": "/all" }, { "name": "empty", "mountPath": "/empty" },
        { "name": "memory", "mountPath": "/memory" },
        { "name": "empty", "mountPath": "/below", "subPath": "deep/er" },
        { "name": "empty", "mountPath": "/mine", "subPathExpr": "of-$(NAME)" },
        { "name": "map", "mountPath": "/etc/one-file", "subPath": "index" },
        { "name": "nothing", "mountPath": "/nothing" },
    ]);
    let name = json!([{ "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }]);
    let container = |name_of: &str| json!({ "name": name_of, "command": shell("sleep 1000"), "env": name, "volumeMounts": mounts });
    pod(
        "files",
        json!({
            "containers": [container("c"), container("d")],
            "volumes": [
                { "name": "map", "configMap": { "name": "page" } },
                { "name": "picked", "configMap": { "name": "page", "defaultMode": 0o440, "items": [
                    { "key": "index", "path": "sub/folder/first" }, { "key": "other", "path": "second", "mode": 0o600 },
                ] } },
                { "name": "secret", "secret": { "secretName": "key", "defaultMode": 0o400 } },
                { "name": "down", "downwardAPI": { "items": [
                    { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
                    { "path": "name", "fieldRef": { "fieldPath": "metadata.name" }, "mode": 0o400 },
                    { "path": "cpu", "resourceFieldRef": { "containerName": "c", "resource": "requests.cpu", "divisor": "1m" } },
                ] } },
                { "name": "all", "projected": { "defaultMode": 0o444, "sources": [
                    { "configMap": { "name": "page", "items": [{ "key": "index", "path": "page" }] } },
                    { "secret": { "name": "key", "items": [{ "key": "word", "path": "word", "mode": 0o400 }] } },
                    { "downwardAPI": { "items": [{ "path": "space", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
                    { "serviceAccountToken": { "path": "token", "expirationSeconds": 3600, "audience": "somebody" } },
                ] } },
                { "name": "empty", "emptyDir": {} },
                { "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "4Mi" } },
                { "name": "nothing", "secret": { "secretName": "absent", "optional": true } },
            ],
        }),
    )
}

fn files(cluster: &Cluster) {
    cluster.until_ready("files", 60);
    let sh = |script: &str| cluster.sh("files", "c", script);
    let mode = |path: &str| sh(&format!("stat -L -c %a {path}")).trim().to_owned();
    assert_eq!(sh("cat /map/index /map/other /etc/one-file"), "onetwoone");
    assert_eq!(
        (sh("cat /picked/sub/folder/first /picked/second"), sh("ls /picked")),
        ("onetwo".into(), "second\nsub\n".into())
    );
    assert_eq!(
        (mode("/map/index"), mode("/picked/sub/folder/first"), mode("/picked/second")),
        ("644".into(), "440".into(), "600".into())
    );
    assert_eq!((sh("cat /secret/word /secret/pin"), mode("/secret/word")), ("hush1234".into(), "400".into()));
    assert_eq!((sh("cat /down/name /down/cpu"), mode("/down/name")), ("files0".into(), "400".into()));
    assert_eq!(sh("cat /down/labels").trim(), "app=\"files\"");
    assert_eq!(
        (sh("cat /all/page /all/word /all/space"), mode("/all/word"), mode("/all/page")),
        ("onehushdefault".into(), "400".into(), "444".into())
    );
    assert_eq!(sh("cat /all/token").split('.').count(), 3, "a token has three parts");
    assert_eq!(sh("ls /nothing"), "");
    assert!(
        cluster
            .try_ctl(&["exec", "files", "-c", "c", "--", "touch", "/map/more"])
            .unwrap_err()
            .contains("Read-only")
    );

    // Folders that containers share.
    sh("echo here > /empty/deep/er/file; echo own > /mine/file");
    assert_eq!(cluster.sh("files", "d", "cat /below/file /empty/of-files/file"), "here\nown\n");
    assert_eq!(mode("/empty"), "777");
    assert_eq!(sh("stat -f -c %T /memory; df -k /memory | tail -1 | awk '{print $2}'"), "tmpfs\n4096\n");

    // A running pod sees what changed; what is mounted alone stays as it was.
    cluster.ctl(&[
        "patch",
        "configmap",
        "page",
        "--type=merge",
        "-p",
        r#"{"data":{"index":"three","new":"four"}}"#,
    ]);
    cluster.ctl(&["patch", "secret", "key", "--type=merge", "-p", r#"{"stringData":{"word":"speak"}}"#]);
    cluster.ctl(&["label", "pod", "files", "more=yes"]);
    cluster.ctl(&["create", "secret", "generic", "absent", "--from-literal=at=last"]);
    let shown = "cat /map/index /map/new /secret/word /all/page /all/word /picked/sub/folder/first /etc/one-file /nothing/at; grep -c more /down/labels";
    eventually("the changes to be seen", 30, || {
        let seen = cluster
            .try_ctl(&["exec", "files", "-c", "c", "--", "sh", "-c", shown])
            .unwrap_or_else(|said| said);
        if seen == "threefourspeakthreespeakthreeonelast1\n" { Ok(()) } else { Err(seen) }
    });
}

fn host_pod(dir: &Path) -> Value {
    let at = |name: &str| dir.join(name).display().to_string();
    std::fs::create_dir(dir.join("folder")).unwrap();
    std::fs::write(dir.join("file"), "of the host").unwrap();
    // No device has this number; that it is one of blocks can be seen without opening it.
    output(Command::new("mknod").args([&at("block"), "b", "240", "0"]));
    // Its file stays when nobody listens any more.
    drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap());
    let mut volumes = Vec::new();
    let mut mounts = Vec::new();
    for (name, path, kind) in [
        ("plain", at("folder"), ""),
        ("made", at("made"), "DirectoryOrCreate"),
        ("touched", at("touched"), "FileOrCreate"),
        ("dir", at("folder"), "Directory"),
        ("file", at("file"), "File"),
        ("device", "/dev/null".to_owned(), "CharDevice"),
        ("block", at("block"), "BlockDevice"),
        ("socket", at("socket"), "Socket"),
    ] {
        volumes.push(json!({ "name": name, "hostPath": { "path": path, "type": kind } }));
        mounts.push(json!({ "name": name, "mountPath": format!("/h/{name}"), "readOnly": name == "dir" }));
    }
    pod(
        "host",
        json!({ "containers": [{ "name": "c", "command": shell("sleep 1000"), "volumeMounts": mounts }], "volumes": volumes }),
    )
}

fn wrong_host_pod(dir: &Path) -> Value {
    let volume = json!({ "name": "v", "hostPath": { "path": dir.join("file"), "type": "Directory" } });
    let container = json!({ "name": "c", "command": shell("sleep 1000"), "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    pod("wrong-host", json!({ "containers": [container], "volumes": [volume] }))
}

fn host_paths(cluster: &Cluster, dir: &Path) {
    cluster.until_ready("host", 30);
    cluster.sh(
        "host",
        "c",
        "echo 1 > /h/plain/one; echo 2 > /h/made/two; echo 3 > /h/touched; echo 4 > /h/device",
    );
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    assert_eq!(
        (read("folder/one"), read("made/two"), read("touched")),
        ("1\n".into(), "2\n".into(), "3\n".into())
    );
    assert_eq!(
        cluster.sh("host", "c", "cat /h/file; test -b /h/block && echo ' and blocks'"),
        "of the host and blocks\n"
    );
    assert!(
        cluster.try_ctl(&["exec", "host", "--", "touch", "/h/dir/no"]).unwrap_err().contains("Read-only")
    );
    cluster.until_told("wrong-host", "Warning", "FailedMount", "is not a directory", 20);
    cluster
        .until_pod("wrong-host", "waits", 10, |pod| (waiting(pod, "c") == "ContainerCreating").then_some(()));
}

#[test]
fn limits_and_rights_reach_the_kernel() {
    let cluster = cluster();
    let secured = |name: &str, of_pod: Value, of_container: Value| {
        pod(
            name,
            json!({ "securityContext": of_pod, "containers": [{ "name": "c", "command": shell("sleep 1000"), "securityContext": of_container }] }),
        )
    };
    let sized = |name: &str, resources: Value| {
        pod(
            name,
            json!({ "containers": [{ "name": "c", "command": shell("sleep 1000"), "resources": resources }] }),
        )
    };
    cluster.apply_all(&[
        sized("guaranteed", json!({ "limits": { "cpu": "500m", "memory": "64Mi" } })),
        sized("burstable", json!({ "requests": { "cpu": "250m", "memory": "32Mi" } })),
        sized("best-effort", json!({})),
        pod("greedy", json!({ "restartPolicy": "Never", "containers": [{
            "name": "c", "command": shell("head -c 64m /dev/zero | tail > /dev/null"), "resources": { "limits": { "memory": "16Mi" } },
        }] })),
        secured("user", json!({ "runAsUser": 1234, "runAsGroup": 4321, "fsGroup": 2000, "supplementalGroups": [3000] }), json!({ "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false })),
        secured("own-user", json!({ "runAsUser": 1234 }), json!({ "runAsUser": 1000, "capabilities": { "drop": ["ALL"] } })),
        secured("capable", json!({}), json!({ "capabilities": { "add": ["NET_ADMIN"], "drop": ["CHOWN"] } })),
        secured("privileged", json!({}), json!({ "privileged": true })),
        pod("on-host", json!({ "hostNetwork": true, "containers": [{ "name": "c", "command": shell("sleep 1000") }] })),
        pod("shared", json!({ "shareProcessNamespace": true, "containers": [
            { "name": "c", "command": shell("sleep 1000") }, { "name": "d", "command": shell("sleep 4321") },
        ] })),
        secured("root", json!({ "runAsNonRoot": true }), json!({})),
    ]);
    for name in ["guaranteed", "burstable", "best-effort", "user", "own-user", "capable"] {
        cluster.until_ready(name, 60);
    }

    // The kernel's own files, whichever version of cgroups it has.
    for (name, qos, limits) in [
        ("guaranteed", "Guaranteed", Limits { shares: 512, quota: Some(50_000), memory: Some(64 << 20) }),
        ("burstable", "Burstable", Limits { shares: 256, quota: None, memory: None }),
        ("best-effort", "BestEffort", Limits { shares: 2, quota: None, memory: None }),
    ] {
        let seen = cluster.pod(name);
        assert_eq!(seen["status"]["qosClass"], qos);
        let id = container_id(&seen, "c");
        let process = output(cluster.engine().docker().args(["inspect", "-f", "{{.State.Pid}}", &id]));
        assert_eq!(Limits::of(process.trim()), limits, "{name}");
    }
    let killed = cluster.until_phase("greedy", "Failed", 30);
    let end = &status(&killed, "c")["state"]["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{end}");

    // Rights.
    assert_eq!(cluster.sh("user", "c", "id -u; id -g; id -G"), "1234\n4321\n4321 2000 3000\n");
    let said = cluster.sh("user", "c", "touch /no 2>&1; grep NoNewPrivs /proc/self/status");
    assert!(said.contains("Read-only file system") && said.contains("NoNewPrivs:\t1"), "{said}");
    assert_eq!(
        cluster.sh("own-user", "c", "id -u; grep CapBnd /proc/self/status"),
        "1000\nCapBnd:\t0000000000000000\n"
    );
    const CHOWN: u64 = 1 << 0;
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    let held = |pod: &str| capabilities(&cluster.sh(pod, "c", "grep CapEff /proc/1/status"));
    assert_eq!(held("best-effort") & (CHOWN | NET_ADMIN), CHOWN);
    assert_eq!(held("capable") & (CHOWN | NET_ADMIN), NET_ADMIN);
    let asked = cluster
        .until_pod("privileged", "made", 20, |pod| Some(container_id(pod, "c")).filter(|id| !id.is_empty()));
    let shown =
        output(cluster.engine().docker().args(["inspect", "-f", "{{.HostConfig.Privileged}}", &asked]));
    assert_eq!(shown.trim(), "true");
    // Nobody can give rights that this machine does not have itself.
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    let ours = std::fs::read_to_string("/proc/self/status").unwrap();
    let ours = capabilities(ours.lines().find(|line| line.starts_with("CapEff:")).unwrap());
    if ours == (2 << last) - 1 {
        cluster.until_ready("privileged", 30);
        assert_eq!(held("privileged") & SYS_ADMIN, SYS_ADMIN);
    }
    // Namespaces of others.
    let seen = cluster.until_ready("on-host", 20);
    assert_eq!(seen["status"]["podIP"], seen["status"]["hostIP"]);
    assert!(cluster.sh("on-host", "c", "ip link").contains("eth0"), "the machine's own interfaces");
    cluster.until_ready("shared", 20);
    eventually("the other container's processes", 10, || {
        let seen = cluster.sh("shared", "c", "ps");
        if seen.contains("sleep 4321") { Ok(()) } else { Err(seen) }
    });

    cluster.until_told(
        "root",
        "Warning",
        "Failed",
        "container has runAsNonRoot and image will run as root",
        20,
    );
    cluster.until_pod("root", "waits", 10, |pod| {
        (waiting(pod, "c") == "CreateContainerConfigError").then_some(())
    });
}

/// The set in a line such as `CapEff: 000001ffffffffff`.
fn capabilities(line: &str) -> u64 {
    let digits = line.trim().rsplit(['\t', ' ']).next().unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// What the kernel holds a container to.
#[derive(Debug, PartialEq, Eq)]
struct Limits {
    /// In the scale of version 1.
    shares: i64,
    quota: Option<i64>,
    memory: Option<i64>,
}

impl Limits {
    /// Read from the files of the control groups of a process, whichever version they have.
    fn of(process: &str) -> Self {
        let groups = std::fs::read_to_string(format!("/proc/{process}/cgroup")).expect("the process runs");
        let group = |controller: &str| {
            let mut lines = groups.lines().map(|line| line.splitn(3, ':').skip(1));
            lines.find_map(|mut line| {
                let (controllers, path) = (line.next()?, line.next()?);
                controllers.split(',').any(|one| one == controller).then(|| path.to_owned())
            })
        };
        let number = |path: String| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            text.split_whitespace().next().and_then(|word| word.parse::<i64>().ok())
        };
        if let (Some(cpu), Some(memory)) = (group("cpu"), group("memory")) {
            let (cpu, memory) =
                (format!("/sys/fs/cgroup/cpu{cpu}"), format!("/sys/fs/cgroup/memory{memory}"));
            return Self {
                shares: number(format!("{cpu}/cpu.shares")).expect("there always are some"),
                quota: number(format!("{cpu}/cpu.cfs_quota_us")).filter(|quota| *quota > 0),
                // A number that no machine has stands for none.
                memory: number(format!("{memory}/memory.limit_in_bytes")).filter(|bytes| *bytes < 1 << 50),
            };
        }
        let dir = format!("/sys/fs/cgroup{}", group("").expect("version 2 has one group"));
        let weight = number(format!("{dir}/cpu.weight")).expect("there always is one");
        // The inverse of how a runtime makes a weight of shares; it rounds down.
        let shares = [2, 256, 512].into_iter().find(|shares| 1 + ((shares - 2) * 9999) / 262_142 == weight);
        Self {
            shares: shares.unwrap_or_default(),
            quota: number(format!("{dir}/cpu.max")),
            memory: number(format!("{dir}/memory.max")),
        }
    }
}
