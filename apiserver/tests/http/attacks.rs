//! What people try who may not: each is refused, in upstream's words.

use serde_json::{Value, json};

use crate::impersonation::grant;
use crate::server::{CONFIG_MAPS, Client, PODS, Server, make_account, pod};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Waits until a right that was given is seen.
async fn until_allowed(client: &Client, path: &str) {
    while client.get(path).await.code == 403 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn paths_that_look_like_others_lead_nowhere_else() {
    let server = Server::start().await;
    let admin = server.admin();
    let reads = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
        {"nonResourceURLs": ["/open/*"], "verbs": ["*"]},
    ]);
    grant(&admin, "reader", "mallory", reads).await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "precious"}});
    admin.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    let mallory = server.user("mallory", &[]);
    until_allowed(&mallory, CONFIG_MAPS).await;
    for path in [
        "/api/v1/namespaces/default/configmaps/../secrets/s",
        "/api/v1/namespaces/default/configmaps/%2e%2e/secrets/s",
        "/api/v1/namespaces/default/configmaps%2f..%2fsecrets/s",
        "/open/../api/v1/namespaces/default/secrets/s",
        "/open/..%2fapi/v1/namespaces/default/secrets/s",
        "//api/v1/namespaces/default/secrets/s",
        "/api//v1/namespaces/default/secrets/s",
        "/api/v1/namespaces/default//secrets/s",
        "/api/v1/namespaces/default/secrets/s/",
        "/API/v1/namespaces/default/secrets/s",
        "/api/v1/namespaces/default/secrets;configmaps/s",
        "/api/v1/watch/namespaces/default/secrets/s",
        "/api/v1/namespaces/default/secrets/s?resource=configmaps",
        "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name=s",
        "/apis//v1/namespaces/default/secrets/s",
    ] {
        for method in ["GET", "HEAD"] {
            let answer = mallory
                .send(method, path, &[("x-original-url", CONFIG_MAPS), ("x-http-method-override", "GET")], "")
                .await;
            assert!(answer.code >= 400, "{method} {path}: {} {}", answer.code, answer.text());
            assert!(!answer.text().contains("cHJlY2lvdXM"), "{method} {path}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn no_one_gives_themselves_more() {
    let server = Server::start().await;
    let admin = server.admin();
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["create", "update", "patch", "get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    ]);
    grant(&admin, "roles", "mallory", rules).await;
    let mallory = server.user("mallory", &[]);
    until_allowed(&mallory, &format!("{RBAC}/clusterroles/view")).await;
    let more = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]);
    let not_held = "user \"mallory\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}";
    let role = json!({"metadata": {"name": "mine"}, "rules": more});
    mallory.post(&format!("{RBAC}/clusterroles"), &role).await.refused(
        403,
        "Forbidden",
        &format!("clusterroles.rbac.authorization.k8s.io \"mine\" is forbidden: {not_held}"),
    );
    mallory.post(&format!("{RBAC}/namespaces/default/roles"), &role).await.refused(
        403,
        "Forbidden",
        &format!("roles.rbac.authorization.k8s.io \"mine\" is forbidden: {not_held}"),
    );
    mallory
        .patch(&format!("{RBAC}/clusterroles/roles"), "merge-patch", &json!({"rules": more}))
        .await
        .refused(
            403,
            "Forbidden",
            &format!("clusterroles.rbac.authorization.k8s.io \"roles\" is forbidden: {not_held}"),
        );
    let whole = json!({"metadata": {"name": "mine"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    let refused = mallory.post(&format!("{RBAC}/clusterroles"), &whole).await;
    assert_eq!(refused.code, 403, "a selector may gather anything: {}", refused.text());
    let binding = |role: &str| {
        json!({"metadata": {"name": "mine"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}]})
    };
    for path in [format!("{RBAC}/clusterrolebindings"), format!("{RBAC}/namespaces/default/rolebindings")] {
        let refused = mallory.post(&path, &binding("cluster-admin")).await;
        let message = refused.expect(403)["message"].as_str().unwrap().to_owned();
        assert!(message.contains("is attempting to grant RBAC permissions not currently held"), "{message}");
    }
    // What one holds one may pass on.
    let held = json!({"metadata": {"name": "held"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]});
    mallory.post(&format!("{RBAC}/clusterroles"), &held).await.expect(201);
}

#[tokio::test]
async fn who_reads_pods_opens_no_streams_into_them() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    admin.post(PODS, &pod("p")).await.expect(201);
    let binding = json!({"metadata": {"name": "view"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}]});
    admin.post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await.expect(201);
    let reader = server.user("reader", &[]);
    until_allowed(&reader, PODS).await;
    for (method, verb, sub) in [
        ("GET", "get", "exec"),
        ("POST", "create", "exec"),
        ("GET", "get", "attach"),
        ("POST", "create", "portforward"),
        ("GET", "get", "proxy"),
    ] {
        let message = format!(
            r#"pods "p" is forbidden: User "reader" cannot {verb} resource "pods/{sub}" in API group "" in the namespace "default""#
        );
        let refused = reader.send(method, &format!("{PODS}/p/{sub}?command=sh"), &[], "").await;
        refused.refused(403, "Forbidden", &message);
    }
    let secrets = reader.get("/api/v1/namespaces/default/secrets").await;
    assert_eq!(secrets.code, 403, "view shows no Secrets");
}

#[tokio::test]
async fn a_node_reads_what_its_pods_refer_to_and_is_no_other_node() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    for name in ["mine", "others"] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"k": "v"}});
        admin.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    }
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "n1".into();
    bound["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "mine"}}]);
    admin.post(PODS, &bound).await.expect(201);
    let node = server.user("system:node:n1", &["system:nodes"]);
    let secrets = "/api/v1/namespaces/default/secrets";
    until_allowed(&node, &format!("{secrets}/mine")).await;
    node.get(&format!("{secrets}/mine")).await.expect(200);
    node.get(&format!("{secrets}/others")).await.refused(
        403,
        "Forbidden",
        r#"secrets "others" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace "default": no relationship found between node 'n1' and this object"#,
    );
    // Mounting another's Secret by a pod of its own is not for a node to do: only mirror pods, and these refer to nothing.
    let mut own = pod("own");
    own["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    own["spec"]["nodeName"] = "n1".into();
    own["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "others"}}]);
    let refused = node.post(PODS, &own).await;
    assert_eq!(refused.code, 403, "{}", refused.text());
    assert_eq!(node.post(PODS, &pod("plain")).await.code, 403);
    let other = json!({"metadata": {"name": "n2"}});
    node.post("/api/v1/nodes", &other).await.refused(
        403,
        "Forbidden",
        r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#,
    );
    let token = json!({"spec": {}});
    let refused = node.post("/api/v1/namespaces/default/serviceaccounts/default/token", &token).await;
    assert_eq!(refused.code, 403, "only for a pod of its own: {}", refused.text());
    let nameless = server.user("jane", &["system:nodes"]);
    assert_eq!(nameless.get(&format!("{secrets}/mine")).await.code, 403, "the group alone is no node");
    let alone = server.user("system:node:n1", &[]);
    assert_eq!(alone.get(&format!("{secrets}/mine")).await.code, 403, "nor is the name");
}

#[tokio::test]
async fn credentials_go_no_further_than_the_door() {
    let server = Server::start().await;
    let admin = server.admin();
    // Whatever a client says of itself in headers is not seen behind authentication.
    let said =
        [("x-remote-user", "root"), ("x-remote-group", "system:masters"), ("x-forwarded-user", "root")];
    let mallory = server.user("mallory", &[]);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(said);
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = mallory.send("POST", path, &headers, review.to_string()).await.expect(201);
    assert_eq!(who["status"]["userInfo"]["username"], "mallory");
    assert_eq!(who["status"]["userInfo"]["groups"], json!(["system:authenticated"]));
    // A member of the privileged group by certificate is one; by impersonation only who may be that.
    let wish = [("impersonate-user", "x"), ("impersonate-group", "system:masters")];
    let refused = mallory.send("GET", CONFIG_MAPS, &wish, "").await;
    refused.refused(
        403,
        "Forbidden",
        r#"configmaps is forbidden: User "mallory" cannot impersonate-on:user-info:list resource "configmaps" in API group "" in the namespace "default""#,
    );
    assert_eq!(admin.send("GET", CONFIG_MAPS, &wish, "").await.code, 200);
    let deep: Value = admin.get("/apis").await.expect(200);
    assert!(deep["groups"].is_array());
}
