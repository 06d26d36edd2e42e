//! Servers outside that say who someone is and what they may do.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use skiff_apiserver::security::authenticate::webhook;
use skiff_apiserver::security::authorize;

use crate::hook::{Act, Hook};
use crate::identity_chain::who;
use crate::server::{CONFIG_MAPS, Server};

/// A kubeconfig that leads to a server.
pub fn kubeconfig(dir: &Path, hook: &Hook) -> std::path::PathBuf {
    let path = dir.join("webhook.kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {
            "server": format!("https://127.0.0.1:{}/ask", hook.port), "certificate-authority-data": hook.bundle}}],
        "users": [{"name": "u", "user": {"token": "ours"}}],
    });
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

fn status(status: &Value) -> Act {
    Act::Raw(200, "application/json", json!({"status": status}).to_string())
}

#[tokio::test]
async fn a_server_may_know_tokens() {
    let hook = Hook::serve(&["127.0.0.1"], |asked| match asked.body["spec"]["token"].as_str() {
        Some("known") => status(&json!({"authenticated": true,
            "user": {"username": "jane", "uid": "7", "groups": ["dev"], "extra": {"k": ["v"]}}})),
        Some("odd") => status(&json!({"authenticated": false, "error": "that is odd"})),
        _ => status(&json!({"authenticated": false})),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let options = webhook::Options {
        config_file: kubeconfig(dir.path(), &hook),
        version: "v1".into(),
        cache_ttl: Duration::from_secs(120),
    };
    let server = Server::configured(|config| config.authentication.webhook = Some(options)).await;
    let jane = server.bearer("known");
    for _ in 0..3 {
        assert_eq!(
            who(&jane, &[]).await,
            json!({"username": "jane", "uid": "7", "groups": ["dev", "system:authenticated"], "extra": {"k": ["v"]}})
        );
    }
    let asked = hook.asked();
    assert_eq!(asked.len(), 1, "what it said is believed for a while");
    assert_eq!(asked[0].headers["authorization"], "Bearer ours");
    assert_eq!(asked[0].body["apiVersion"], "authentication.k8s.io/v1");
    assert_eq!(asked[0].body["spec"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    for _ in 0..2 {
        server.bearer("unknown").get("/api").await.refused(401, "Unauthorized", "Unauthorized");
    }
    assert_eq!(hook.asked().len(), 2, "and so is what it denied");
    let review = json!({"spec": {"token": "odd"}});
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = server.admin().post(path, &review).await.expect(201);
    assert_eq!(answer["status"]["error"], "that is odd");
    drop(hook);
    assert_eq!(server.bearer("another").get("/api").await.code, 401, "the server is away");
    assert_eq!(server.bearer("known").get("/api").await.code, 200, "and yet remembered");
}

fn configuration(dir: &Path, hook: &Hook, failure: &str, conditions: &[&str]) -> std::path::PathBuf {
    let conditions: Vec<Value> = conditions.iter().map(|one| json!({"expression": one})).collect();
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
        "authorizers": [
            {"type": "Webhook", "name": "outside", "webhook": {
                "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": failure,
                "authorizedTTL": "5m", "unauthorizedTTL": "30s",
                "matchConditionSubjectAccessReviewVersion": "v1", "matchConditions": conditions,
                "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig(dir, hook)}}},
            {"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"},
        ],
    });
    let path = dir.join("authorization.yaml");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[tokio::test]
async fn a_server_may_be_asked_what_someone_may_do() {
    let hook = Hook::serve(&["127.0.0.1"], |asked| match asked.body["spec"]["user"].as_str() {
        Some("jane") => status(&json!({"allowed": true, "reason": "she may"})),
        Some("joe") => status(&json!({"allowed": false, "denied": true, "reason": "never he"})),
        _ => status(&json!({"allowed": false, "reason": "who?"})),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let only = ["has(request.resourceAttributes) && request.resourceAttributes.resource == 'configmaps'"];
    let path = configuration(dir.path(), &hook, "Deny", &only);
    let server = Server::configured(|config| {
        config.authorization = authorize::Options {
            config_file: Some(path),
            reload: Duration::from_millis(20),
            ..Default::default()
        };
    })
    .await;
    let jane = server.user("jane", &["dev"]);
    for _ in 0..3 {
        jane.get(CONFIG_MAPS).await.expect(200);
    }
    let asked = hook.asked();
    assert_eq!(asked.len(), 1, "a yes is believed for a while");
    assert_eq!(
        asked[0].body["spec"]["resourceAttributes"],
        json!({"namespace": "default", "verb": "list", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!(asked[0].body["spec"]["groups"], json!(["dev", "system:authenticated"]));
    let cannot = |user: &str| {
        format!(
            r#"configmaps is forbidden: User "{user}" cannot list resource "configmaps" in API group "" in the namespace "default""#
        )
    };
    server.user("joe", &[]).get(CONFIG_MAPS).await.refused(
        403,
        "Forbidden",
        &format!("{}: never he", cannot("joe")),
    );
    server.user("jim", &[]).get(CONFIG_MAPS).await.refused(
        403,
        "Forbidden",
        &format!("{}: who?", cannot("jim")),
    );
    hook.forget();
    assert_eq!(jane.get("/api/v1/namespaces/default/secrets").await.code, 403);
    assert_eq!(jane.get("/api").await.code, 200, "others are asked about what it is not");
    assert!(hook.asked().iter().all(|asked| asked.body["spec"]["nonResourceAttributes"].is_null()));
    let rules = json!({"spec": {"namespace": "default"}});
    let known = jane.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &rules).await.expect(201);
    assert_eq!(known["status"]["incomplete"], true);
    assert_eq!(
        known["status"]["evaluationError"],
        "webhook authorizer does not support user rule resolution"
    );
    // The file is taken in again; a broken one changes nothing.
    std::fs::write(dir.path().join("authorization.yaml"), "kind: Nonsense").unwrap();
    assert_eq!(jane.get(CONFIG_MAPS).await.code, 200);
    let all = json!({"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "AuthorizationConfiguration",
        "authorizers": [{"type": "AlwaysAllow", "name": "all"}]});
    std::fs::write(dir.path().join("authorization.yaml"), all.to_string()).unwrap();
    let joe = server.user("joe", &[]);
    while joe.get(CONFIG_MAPS).await.code != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_fails_denies_or_has_no_opinion() {
    for (failure, code) in [("Deny", 403), ("NoOpinion", 200)] {
        let hook = Hook::serve(&["127.0.0.1"], |_| Act::Raw(500, "text/plain", "no".into())).await;
        let dir = tempfile::tempdir().unwrap();
        let path = configuration(dir.path(), &hook, failure, &[]);
        let server = Server::configured(|config| config.authorization.config_file = Some(path)).await;
        assert_eq!(server.user("jane", &[]).get("/api").await.code, code, "{failure}");
        assert_eq!(server.admin().get(CONFIG_MAPS).await.code, 200, "the privileged group asks nobody");
    }
}

#[tokio::test]
async fn modes_are_what_the_flags_say() {
    let modes = |modes: &[&str]| modes.iter().map(|mode| (*mode).to_owned()).collect::<Vec<_>>();
    let allow = Server::configured(|config| config.authorization.modes = modes(&["AlwaysAllow"])).await;
    assert_eq!(allow.user("jane", &[]).get(CONFIG_MAPS).await.code, 200);
    let deny = Server::configured(|config| config.authorization.modes = modes(&["AlwaysDeny"])).await;
    deny.user("jane", &[]).get("/api").await.refused(
        403,
        "Forbidden",
        r#"forbidden: User "jane" cannot get path "/api": Everything is forbidden."#,
    );
}
