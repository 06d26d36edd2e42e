//! A whole node on a Docker engine of its own, against an API server in memory.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may")]

mod engine;
mod fake;

use engine::Engine;
use fake::{Fake, until};
use serde_json::{Value, json};
use skiff_nodeagent::{Config, RuntimeKind};
use tokio_util::sync::CancellationToken;

struct Node {
    fake: Fake,
    config: Config,
    stop: CancellationToken,
    agent: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Node {
    fn start(fake: Fake, config: Config) -> Self {
        let stop = CancellationToken::new();
        let agent = tokio::spawn(skiff_nodeagent::run(config.clone(), fake.client(), stop.clone()));
        Self { fake, config, stop, agent }
    }

    async fn end(self) -> (Fake, Config) {
        self.stop.cancel();
        self.agent.await.unwrap().unwrap();
        (self.fake, self.config)
    }
}

fn pod(fake: &Fake, name: &str, mut spec: Value) -> String {
    spec["nodeName"] = json!("n1");
    for container in spec["containers"].as_array_mut().unwrap() {
        if container["image"].is_null() {
            container["image"] = json!("skifftest/busybox:1");
        }
    }
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    fake.put(
        &path,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "labels": { "app": name } }, "spec": spec
        }),
    );
    path
}

fn shell(script: &str) -> Value {
    json!(["sh", "-c", script])
}

fn ready(fake: &Fake, path: &str) -> Option<Value> {
    let pod = fake.get(path)?;
    let ready =
        pod["status"]["conditions"].as_array()?.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    ready.then_some(pod)
}

fn waiting(fake: &Fake, path: &str) -> Option<String> {
    fake.get(path)?["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
        .as_str()
        .map(str::to_owned)
}

fn container_id(pod: &Value) -> String {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    id.trim_start_matches("docker://").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_live_on_docker() {
    let dir = std::env::temp_dir().join(format!("skiff-docker-{}", std::process::id()));
    let mut engine = Engine::start(dir.clone()).await;
    engine.make_image();
    let mut config = Config::new("n1", "127.0.0.1".parse().unwrap(), dir.join("agent"));
    config.runtime = RuntimeKind::Docker { host: Some(engine.host.clone()) };
    config.pod_cidr = Some("10.213.7.0/24".into());
    let fake = Fake::new();
    fake.tell_on_panic();
    fake.put(
        "/api/v1/namespaces/default/configmaps/settings",
        json!({ "metadata": { "name": "settings", "namespace": "default" }, "data": { "page": "one" } }),
    );
    fake.put(
        "/api/v1/namespaces/default/secrets/key",
        json!({ "metadata": { "name": "key", "namespace": "default" }, "data": { "word": "aHVzaA==" } }),
    );
    let node = Node::start(fake.clone(), config);

    // A server with volumes, environment, limits and a probe.
    let web = pod(
        &fake,
        "web",
        json!({
            "containers": [{
                "name": "c",
                "command": shell("env > /mem/env; id -u >> /mem/env; cat /etc/resolv.conf >> /mem/env; httpd -f -p 8080 -h /page"),
                "env": [
                    { "name": "WORD", "valueFrom": { "secretKeyRef": { "name": "key", "key": "word" } } },
                    { "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                    { "name": "BOTH", "value": "$(NAME)-$(WORD)" },
                ],
                "resources": { "limits": { "memory": "64Mi", "cpu": "500m" } },
                "securityContext": { "runAsUser": 1234 },
                "readinessProbe": { "httpGet": { "path": "/page", "port": 8080 }, "periodSeconds": 1 },
                "volumeMounts": [
                    { "name": "page", "mountPath": "/page" }, { "name": "mem", "mountPath": "/mem" },
                    { "name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" },
                ],
            }],
            "volumes": [
                { "name": "page", "configMap": { "name": "settings" } },
                { "name": "mem", "emptyDir": { "medium": "Memory" } },
                { "name": "token", "projected": { "sources": [{ "serviceAccountToken": { "path": "token" } }] } },
            ],
        }),
    );
    let crash = pod(
        &fake,
        "crash",
        json!({ "containers": [{ "name": "c", "command": shell("echo oh > /dev/termination-log; exit 3") }] }),
    );
    let job = pod(
        &fake,
        "job",
        json!({
            "restartPolicy": "Never", "containers": [{ "name": "c", "command": shell("test -f /w/made") , "volumeMounts": [{ "name": "w", "mountPath": "/w" }] }],
            "initContainers": [{ "name": "i", "image": "skifftest/busybox:1", "command": shell("touch /w/made"), "volumeMounts": [{ "name": "w", "mountPath": "/w" }] }],
            "volumes": [{ "name": "w", "emptyDir": {} }],
        }),
    );
    let sick = pod(
        &fake,
        "sick",
        json!({ "containers": [{ "name": "c", "command": shell("sleep 1000"),
        "livenessProbe": { "exec": { "command": ["false-command"] }, "periodSeconds": 1, "failureThreshold": 1 } }], "terminationGracePeriodSeconds": 1 }),
    );
    let never = pod(
        &fake,
        "never",
        json!({ "containers": [{ "name": "c", "image": "skifftest/absent:1", "imagePullPolicy": "Never" }] }),
    );
    let absent =
        pod(&fake, "absent", json!({ "containers": [{ "name": "c", "image": "127.0.0.1:1/absent:1" }] }));
    let latest = pod(&fake, "bad-name", json!({ "containers": [{ "name": "c", "image": "Bad Name" }] }));

    let running = until("web is ready", 30, || ready(&fake, &web)).await;
    let ip = running["status"]["podIP"].as_str().unwrap().to_owned();
    let get = || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect((ip.as_str(), 8080)).unwrap();
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(get().ends_with("one"), "{}", get());
    let id = container_id(&running);
    let seen = engine.docker(&["exec", &id, "cat", "/mem/env"]);
    for line in ["WORD=hush", "BOTH=web-hush", "1234", "nameserver 10.96.0.10", "options ndots:5"] {
        assert!(seen.lines().any(|l| l == line), "{line} in {seen}");
    }
    assert_eq!(
        engine.docker(&["exec", &id, "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"]),
        "a.token"
    );
    let limits = engine.docker(&[
        "inspect",
        "-f",
        "{{.HostConfig.Memory}} {{.HostConfig.CpuQuota}} {{.HostConfig.RestartPolicy.Name}}",
        &id,
    ]);
    assert_eq!(limits, "67108864 50000");

    // A changed ConfigMap shows without a restart.
    let mut map = fake.get("/api/v1/namespaces/default/configmaps/settings").unwrap();
    map["data"]["page"] = json!("two");
    fake.put("/api/v1/namespaces/default/configmaps/settings", map);
    until("the new page", 10, || get().ends_with("two").then_some(())).await;

    until("the crash is waited for", 20, || waiting(&fake, &crash).filter(|r| r == "CrashLoopBackOff")).await;
    let crashed = fake.get(&crash).unwrap();
    let last = &crashed["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(
        (&last["exitCode"], &last["message"], &last["reason"]),
        (&json!(3), &json!("oh\n"), &json!("Error"))
    );
    assert!(crashed["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap() >= 1);
    assert_eq!(crashed["status"]["phase"], "Running");
    until("the job has succeeded", 20, || fake.get(&job).filter(|p| p["status"]["phase"] == "Succeeded"))
        .await;
    until("the sick one is restarted", 20, || {
        fake.get(&sick)?["status"]["containerStatuses"][0]["restartCount"].as_u64().filter(|n| *n >= 1)
    })
    .await;
    until("a refusal to pull", 10, || waiting(&fake, &never).filter(|r| r == "ErrImageNeverPull")).await;
    until("a wait for the next pull", 20, || waiting(&fake, &absent).filter(|r| r == "ImagePullBackOff"))
        .await;
    until("an invalid name", 10, || waiting(&fake, &latest).filter(|r| r == "InvalidImageName")).await;

    // A killed container comes back, under another id.
    engine.docker(&["kill", &id]);
    let again = until("web is back", 20, || ready(&fake, &web).filter(|p| container_id(p) != id)).await;
    assert_eq!(again["status"]["containerStatuses"][0]["restartCount"], 1);
    let id = container_id(&again);

    // A new agent adopts what runs.
    let started = again["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].clone();
    let (fake, config) = node.end().await;
    let node = Node::start(fake.clone(), config);
    let mut late = json!({ "containers": [{ "name": "c", "command": shell("sleep 1000") }], "terminationGracePeriodSeconds": 1 });
    let other = pod(&fake, "late", late.take());
    until("a pod of the new agent", 20, || ready(&fake, &other)).await;
    let adopted = ready(&fake, &web).expect("it stayed ready");
    assert_eq!(
        (container_id(&adopted), &adopted["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]),
        (id, &started)
    );

    // The engine goes and comes: the node tells, and the pods recover.
    if engine.process.is_some() {
        engine.stop();
        let node_ready = |fake: &Fake| {
            let node = fake.get("/api/v1/nodes/n1")?;
            node["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "Ready").cloned()
        };
        let told =
            until("the node is not ready", 20, || node_ready(&fake).filter(|c| c["status"] == "False")).await;
        assert!(told["message"].as_str().unwrap().contains("container runtime is down"), "{told}");
        engine.spawn().await;
        until("the node is ready", 30, || node_ready(&fake).filter(|c| c["status"] == "True")).await;
        until("web recovers", 40, || {
            ready(&fake, &web).filter(|p| {
                engine.docker(&["inspect", "-f", "{{.State.Running}}", &container_id(p)]) == "true"
            })
        })
        .await;
    }

    for path in [&web, &crash, &job, &sick, &never, &absent, &latest, &other] {
        fake.delete_gracefully(path, 1);
    }
    for path in [&web, &crash, &job, &sick, &never, &absent, &latest, &other] {
        until(&format!("{path} is gone"), 30, || fake.get(path).is_none().then_some(())).await;
    }
    assert_eq!(engine.docker(&["ps", "-aq", "--filter", "label=skiff.dev/node=n1"]), "");
    let (_, config) = node.end().await;
    skiff_nodeagent::clean(config.clone()).await.unwrap();
    assert!(!engine.docker(&["network", "ls"]).contains("skiff-n1"));
    assert_eq!(std::fs::read_dir(config.data_dir.join("pods")).unwrap().count(), 0);
}
