//! Who is let in, and what the others are told.

use http::Method;
use serde_json::json;
use skiff_apiserver::security::User;

use crate::server::{CONFIG_MAPS, Server, config_map};

#[tokio::test]
async fn without_credentials_only_health_and_version_answer() {
    let server = Server::start().await;
    let nobody = server.nobody();
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(nobody.get(path).await.code, 200, "{path}");
    }
    let message = r#"forbidden: User "system:anonymous" cannot get path "/livez/ping""#;
    nobody.get("/livez/ping").await.refused(403, "Forbidden", message);
    for path in ["/", "/api", "/apis", "/api/v1/pods", "/openapi/v3", "/metrics", "/api/v1/nope", "/nope"] {
        nobody.get(path).await.refused(401, "Unauthorized", "Unauthorized");
    }
    nobody.post(CONFIG_MAPS, &config_map("a")).await.refused(401, "Unauthorized", "Unauthorized");
    for token in ["nonsense", "a.b.c", ""] {
        server.bearer(token).get("/api/v1/pods").await.refused(401, "Unauthorized", "Unauthorized");
    }
    assert_eq!(server.admin().get(CONFIG_MAPS).await.expect(200)["items"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn without_rights_one_is_told_what_one_may_not() {
    let server = Server::start().await;
    let jane = server.user("jane", &["dev"]);
    for (method, path, message) in [
        (
            "GET",
            "/api/v1/nodes",
            r#"nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope"#,
        ),
        (
            "GET",
            "/apis/apps/v1/namespaces/default/deployments/web",
            r#"deployments.apps "web" is forbidden: User "jane" cannot get resource "deployments" in API group "apps" in the namespace "default""#,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods?watch=true",
            r#"pods is forbidden: User "jane" cannot watch resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            "DELETE",
            "/api/v1/namespaces/default/secrets",
            r#"secrets is forbidden: User "jane" cannot deletecollection resource "secrets" in API group "" in the namespace "default""#,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/p/log",
            r#"pods "p" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "default""#,
        ),
        ("GET", "/metrics", r#"forbidden: User "jane" cannot get path "/metrics""#),
    ] {
        jane.send(method, path, &[], "").await.refused(403, "Forbidden", message);
    }
    assert_eq!(jane.get("/api").await.code, 200, "whoever is known may discover");

    // A right that is given counts at once, in its namespace only.
    let admin = server.admin();
    let role = json!({"metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
    admin.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &role).await.expect(201);
    let binding = json!({"metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "dev"}]});
    admin
        .post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding)
        .await
        .expect(201);
    let mut answer = jane.get(CONFIG_MAPS).await;
    while answer.code == 403 {
        tokio::task::yield_now().await;
        answer = jane.get(CONFIG_MAPS).await;
    }
    answer.expect(200);
    assert_eq!(jane.get("/api/v1/namespaces/kube-system/configmaps").await.code, 403);
    assert_eq!(jane.post(CONFIG_MAPS, &config_map("a")).await.code, 403);
}

#[tokio::test]
async fn components_in_this_process_have_the_rights_of_their_role_and_no_more() {
    let server = Server::start().await;
    let scheduler = User::new("system:kube-scheduler", &["system:authenticated"]);
    let ask = |method: Method, path: &'static str| {
        let user = scheduler.clone();
        let server = &server;
        async move { server.in_process(user, method, path, &config_map("a")).await }
    };
    assert_eq!(ask(Method::GET, "/api/v1/pods").await.0, 200);
    let (code, status) = ask(Method::POST, CONFIG_MAPS).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        r#"configmaps is forbidden: User "system:kube-scheduler" cannot create resource "configmaps" in API group "" in the namespace "default""#
    );
    assert_eq!(ask(Method::DELETE, "/api/v1/namespaces/default").await.0, 403);
    assert_eq!(ask(Method::GET, "/api/v1/namespaces/kube-system/secrets").await.0, 403);
    let controller =
        User::new("system:serviceaccount:kube-system:endpointslice-controller", &["system:authenticated"]);
    let (code, _) =
        server.in_process(controller, Method::POST, "/api/v1/namespaces/default/secrets", &json!({})).await;
    assert_eq!(code, 403, "a controller's identity ends at its role");
}

#[tokio::test]
async fn a_service_account_token_is_worth_what_its_account_is() {
    let server = Server::start().await;
    let admin = server.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let made = admin.post(accounts, &json!({"metadata": {"name": "robot"}})).await.expect(201);
    let wish = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600}});
    let answer = admin.post(&format!("{accounts}/robot/token"), &wish).await.expect(201);
    let token = answer["status"]["token"].as_str().unwrap();
    let robot = server.bearer(token);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = robot.post(path, &review).await.expect(201);
    let user = &who["status"]["userInfo"];
    assert_eq!(
        (&user["username"], &user["uid"]),
        (&json!("system:serviceaccount:default:robot"), &made["metadata"]["uid"])
    );
    robot.get("/api/v1/nodes").await.refused(
        403,
        "Forbidden",
        r#"nodes is forbidden: User "system:serviceaccount:default:robot" cannot list resource "nodes" in API group "" at the cluster scope"#,
    );
    for broken in [&token[..token.len() / 2], &token[1..], &format!("{token}x")] {
        server.bearer(broken).get("/api").await.refused(401, "Unauthorized", "Unauthorized");
    }
    let odd = json!({"spec": {"expirationSeconds": 5}});
    assert_eq!(
        admin.post(&format!("{accounts}/robot/token"), &odd).await.code,
        422,
        "a token lives for ten minutes at least"
    );
    assert_eq!(admin.post(&format!("{accounts}/nobody/token"), &wish).await.code, 404);
    admin.delete(&format!("{accounts}/robot")).await.expect(200);
    let mut code = robot.get("/api").await.code;
    while code != 401 {
        tokio::task::yield_now().await;
        code = robot.get("/api").await.code;
    }
}
