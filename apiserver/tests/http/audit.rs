//! Auditing: what the policy names is in the log, in upstream's form, before the answer is there.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use skiff_apiserver::audit::{LogOptions, Options, Policy, WebhookOptions};

use crate::hook::{Act, Hook};
use crate::identity_servers::kubeconfig;
use crate::server::{Server, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn audited(dir: &Path, rules: &str) -> Server {
    let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
    let policy = Policy::read(&text).unwrap();
    let log = LogOptions { path: dir.join("audit.log"), ..LogOptions::default() };
    Server::configured(|config| {
        config.audit = Options { policy: Some(policy), log: Some(log), webhook: None }
    })
    .await
}

/// A server, configured as `change` says, whose log tells of every request once, when it has ended.
pub async fn audited_as(dir: &Path, change: impl FnOnce(&mut skiff_apiserver::Config)) -> Server {
    let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";
    let policy = Policy::read(text).unwrap();
    let log = LogOptions { path: dir.join("audit.log"), ..LogOptions::default() };
    Server::configured(|config| {
        config.audit = Options { policy: Some(policy), log: Some(log), webhook: None };
        change(config);
    })
    .await
}

/// All events that are in the log.
pub fn events(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of requests for one path.
fn of(dir: &Path, path: &str) -> Vec<Value> {
    let mut all = events(dir);
    all.retain(|event| event["requestURI"].as_str().unwrap().starts_with(path));
    all
}

#[tokio::test]
async fn a_write_is_recorded_at_each_stage_with_who_what_and_how_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "rules:\n- level: RequestResponse\n  omitManagedFields: true\n  resources: [{resources: [configmaps]}]\n- level: None\n";
    let server = audited(dir.path(), rules).await;
    let jane = server.user("jane", &["system:masters"]);
    let made = jane.post(MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await.expect(201);
    let seen = of(dir.path(), MAPS);
    assert_eq!(seen.len(), 2, "{seen:#?}");
    assert_eq!(seen[0]["stage"], "RequestReceived");
    assert!(seen[0].get("responseStatus").is_none() && seen[0].get("requestObject").is_none());
    let event = &seen[1];
    assert_eq!((&event["kind"], &event["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
    assert_eq!((&event["level"], &event["stage"]), (&json!("RequestResponse"), &json!("ResponseComplete")));
    assert_eq!((&event["verb"], &event["user"]["username"]), (&json!("create"), &json!("jane")));
    assert_eq!(event["user"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(event["sourceIPs"], json!(["127.0.0.1"]));
    let about = json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"});
    assert_eq!(event["objectRef"], about);
    assert_eq!(event["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(event["requestObject"]["data"], json!({"k": "v"}));
    assert_eq!(event["responseObject"]["metadata"]["uid"], made["metadata"]["uid"]);
    assert!(event["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(event["auditID"], seen[0]["auditID"]);
    assert_eq!(
        event["requestReceivedTimestamp"].as_str().unwrap().len(),
        "2026-01-01T00:00:00.000000Z".len()
    );

    jane.patch(&format!("{MAPS}/a"), "merge-patch", &json!({"data": {"k": "w"}})).await.expect(200);
    jane.delete(&format!("{MAPS}/a")).await.expect(200);
    jane.delete(&format!("{MAPS}/a")).await.expect(404);
    let seen = of(dir.path(), &format!("{MAPS}/a"));
    let ends: Vec<&Value> = seen.iter().filter(|event| event["stage"] == "ResponseComplete").collect();
    assert_eq!(ends[0]["requestObject"], json!({"data": {"k": "w"}}));
    assert_eq!(
        (&ends[1]["responseStatus"]["status"], &ends[1]["responseStatus"]["code"]),
        (&json!("Success"), &json!(200))
    );
    let refused = &ends[2]["responseStatus"];
    assert_eq!((&refused["reason"], &refused["code"]), (&json!("NotFound"), &json!(404)));
    // Nothing else was asked for.
    assert!(events(dir.path()).iter().all(|event| event["objectRef"]["resource"] == "configmaps"));
}

#[tokio::test]
async fn refusals_strangers_and_impersonation_are_recorded_and_no_secret_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = audited(dir.path(), "omitStages: [RequestReceived]\nrules:\n- level: Metadata\n").await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "correct-horse"}});
    server.admin().post(secrets, &secret).await.expect(201);
    server.user("joe", &[]).get(&format!("{secrets}/s")).await.expect(403);
    server.bearer("not-a-token").get(secrets).await.expect(401);
    let as_jim = [("impersonate-user", "jim")];
    server.admin().send("GET", &format!("{secrets}/s"), &as_jim, "").await.expect(403);
    let seen = of(dir.path(), secrets);
    let told: Vec<Value> = seen
        .iter()
        .map(|event| {
            let decision = &event["annotations"]["authorization.k8s.io/decision"];
            let impersonated = &event["impersonatedUser"]["username"];
            json!([
                event["user"]["username"],
                impersonated,
                event["responseStatus"]["code"],
                decision,
                event["stage"]
            ])
        })
        .collect();
    let complete = "ResponseComplete";
    assert_eq!(
        told,
        [
            json!(["admin", null, 201, "allow", complete]),
            json!(["joe", null, 403, "forbid", complete]),
            json!([null, null, 401, null, "ResponseStarted"]),
            json!(["admin", "jim", 403, "forbid", complete]),
        ]
    );
    let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
    assert!(!text.contains("correct-horse") && !text.contains("not-a-token"));
}

#[tokio::test]
async fn a_watch_is_recorded_when_it_starts_and_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "rules:\n- level: Metadata\n  verbs: [watch]\n  users: [admin]\n";
    let server = audited(dir.path(), rules).await;
    let watch = server.admin().watch(&format!("{MAPS}?watch=1")).await;
    let stages = || -> Vec<String> {
        of(dir.path(), MAPS).iter().map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(stages(), ["RequestReceived", "ResponseStarted"]);
    drop(watch);
    let ended = async {
        while stages().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert_eq!(stages()[2], "ResponseComplete");
}

#[tokio::test]
async fn every_answer_names_the_id_of_its_request_and_a_client_may_choose_it() {
    let server = Server::start().await;
    let admin = server.admin();
    let (first, second) = (admin.get("/version").await, admin.get("/version").await);
    assert_eq!(first.header("audit-id").len(), 36);
    assert_ne!(first.header("audit-id"), second.header("audit-id"));
    let chosen = admin.send("GET", "/version", &[("audit-id", "mine-1")], "").await;
    assert_eq!(chosen.header("audit-id"), "mine-1");
}

#[tokio::test]
async fn events_reach_a_server_outside_though_it_was_away() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let hook = Hook::serve(&["127.0.0.1"], move |_| {
        let first = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        Act::Raw(if first { 503 } else { 200 }, "text/plain", String::new())
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let rules = "rules: [{level: Request, users: [jane], verbs: [create]}]\nomitStages: [RequestReceived]\n";
    let policy = Policy::read(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")).unwrap();
    let webhook = WebhookOptions {
        config_file: kubeconfig(dir.path(), &hook),
        buffer: 10,
        batch: 2,
        wait: Duration::from_secs(20),
        backoff: Duration::from_millis(10),
    };
    let audit = Options { policy: Some(policy), log: None, webhook: Some(webhook) };
    let server = Server::configured(|config| config.audit = audit).await;
    let jane = server.user("jane", &["system:masters"]);
    for name in ["a", "b"] {
        jane.post(MAPS, &config_map(name)).await.expect(201);
    }
    let told = async {
        while hook.asked().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
    let asked = hook.asked();
    assert_eq!(asked[0].body, asked[1].body, "what was not taken is sent again");
    assert_eq!(asked[0].headers["authorization"], "Bearer ours");
    let list = &asked[1].body;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
    let names: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["objectRef"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(list["items"][0]["requestObject"]["data"], json!({"a": "1"}));
}
