//! Asking as someone else.

use serde_json::{Value, json};

use crate::identity_chain::who;
use crate::server::{CONFIG_MAPS, Client, Server};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Gives a user these rules in the whole cluster.
pub async fn grant(admin: &Client, name: &str, user: &str, rules: Value) {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    admin.post(&format!("{RBAC}/clusterroles"), &role).await.expect(201);
    let binding = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    admin.post(&format!("{RBAC}/clusterrolebindings"), &binding).await.expect(201);
}

#[tokio::test]
async fn the_whole_of_another_is_taken_on() {
    let server = Server::start().await;
    let admin = server.admin();
    let headers = [
        ("impersonate-user", "jane"),
        ("impersonate-group", "dev"),
        ("impersonate-group", "ops"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-acme.com%2fscopes", "a"),
        ("impersonate-extra-acme.com%2fscopes", "b"),
    ];
    let user = who(&admin, &headers).await;
    assert_eq!(
        user,
        json!({"username": "jane", "uid": "7", "groups": ["dev", "ops", "system:authenticated"],
            "extra": {"acme.com/scopes": ["a", "b"]}})
    );
    let account = who(&admin, &[("impersonate-user", "system:serviceaccount:ns:sa")]).await;
    assert_eq!(
        account["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"])
    );
    let refused = admin.send("GET", CONFIG_MAPS, &[("impersonate-user", "jane")], "").await;
    refused.refused(
        403,
        "Forbidden",
        r#"configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default""#,
    );
    let anonymous = who_may_not(&admin, &[("impersonate-user", "system:anonymous")]).await;
    assert!(anonymous.contains(r#"User "system:anonymous" cannot"#), "{anonymous}");
}

async fn who_may_not(client: &Client, headers: &[(&str, &str)]) -> String {
    let answer = client.send("GET", CONFIG_MAPS, headers, "").await;
    answer.expect(403)["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn headers_without_a_user_are_refused() {
    let server = Server::start().await;
    let table = [
        (
            ("impersonate-group", "system:masters"),
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"system:masters"}, Extra:map[string][]string(nil)} without impersonating a user name"#,
        ),
        (
            ("impersonate-uid", "7"),
            r#"requested &user.DefaultInfo{Name:"", UID:"7", Groups:[]string(nil), Extra:map[string][]string(nil)} without impersonating a user name"#,
        ),
        (
            ("impersonate-extra-a", "b"),
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string(nil), Extra:map[string][]string{"a":[]string{"b"}}} without impersonating a user name"#,
        ),
    ];
    for client in [server.admin(), server.user("mallory", &[])] {
        for (header, message) in &table {
            client.send("GET", CONFIG_MAPS, &[*header], "").await.refused(400, "BadRequest", message);
        }
    }
}

#[tokio::test]
async fn each_part_needs_a_right_of_its_own() {
    let server = Server::start().await;
    let admin = server.admin();
    let rules = json!([
        {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["jane"]},
        {"apiGroups": [""], "resources": ["groups"], "verbs": ["impersonate"], "resourceNames": ["dev"]},
    ]);
    grant(&admin, "boss", "boss", rules).await;
    let boss = server.user("boss", &[]);
    let allowed = [("impersonate-user", "jane"), ("impersonate-group", "dev")];
    // Bindings count as soon as they are seen.
    while boss.send("GET", "/api", &allowed, "").await.code != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(who(&boss, &allowed).await["groups"], json!(["dev", "system:authenticated"]));
    let refusal = r#"configmaps is forbidden: User "boss" cannot impersonate-on:user-info:list resource "configmaps" in API group "" in the namespace "default""#;
    for wish in [
        &[("impersonate-user", "joe")][..],
        &[("impersonate-user", "jane"), ("impersonate-group", "system:masters")],
        &[("impersonate-user", "jane"), ("impersonate-uid", "7")],
        &[("impersonate-user", "jane"), ("impersonate-extra-scopes", "all")],
    ] {
        assert_eq!(who_may_not(&boss, wish).await, refusal, "{wish:?}");
    }
    let account = [("impersonate-user", "system:serviceaccount:kube-system:default")];
    assert_eq!(
        who_may_not(&boss, &account).await,
        refusal.replace("user-info", "serviceaccount"),
        "users are not accounts"
    );
}

#[tokio::test]
async fn being_another_may_be_limited_to_some_requests() {
    let server = Server::start().await;
    let admin = server.admin();
    let rules = json!([
        {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"], "resourceNames": ["jane"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["impersonate-on:user-info:list"]},
    ]);
    grant(&admin, "boss", "boss", rules).await;
    let reads = json!([{"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["list"]}]);
    grant(&admin, "jane", "jane", reads).await;
    let boss = server.user("boss", &[]);
    let jane = [("impersonate-user", "jane")];
    while boss.send("GET", CONFIG_MAPS, &jane, "").await.code != 200 {
        tokio::task::yield_now().await;
    }
    let refused = boss.send("GET", "/api/v1/namespaces/default/secrets", &jane, "").await;
    refused.refused(
        403,
        "Forbidden",
        r#"secrets is forbidden: User "boss" cannot impersonate-on:user-info:list resource "secrets" in API group "" in the namespace "default""#,
    );
}
