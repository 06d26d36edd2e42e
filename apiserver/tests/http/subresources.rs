//! What hangs off an object: views that change their part only, evictions, bindings, and the proxy.

use axum::Router;
use axum::routing::any;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::server::{Client, PODS, Server, make_account, pod, version};

async fn running(admin: &Client, name: &str, labels: Value, ready: bool) -> Value {
    let mut object = pod(name);
    object["metadata"]["labels"] = labels;
    object["spec"]["nodeName"] = "n".into();
    admin.post(PODS, &object).await.expect(201);
    let status = if ready { "True" } else { "False" };
    let patch = json!({"status": {"phase": "Running", "podIP": "127.0.0.1",
        "conditions": [{"type": "Ready", "status": status}]}});
    admin.patch(&format!("{PODS}/{name}/status"), "merge-patch", &patch).await.expect(200)
}

#[tokio::test]
async fn an_ephemeral_container_is_added_and_stays() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let before = running(&admin, "p", json!({}), true).await;
    let view = format!("{PODS}/p/ephemeralcontainers");
    let patch = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"nodeName": "other",
        "ephemeralContainers": [{"name": "debug", "image": "busybox", "targetContainerName": "c"}]}});
    let after = admin.patch(&view, "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(after["spec"]["ephemeralContainers"][0]["name"], "debug");
    assert_eq!(after["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File");
    assert_eq!((&after["spec"]["nodeName"], &after["metadata"].get("labels")), (&json!("n"), &None));
    assert_ne!(version(&after), version(&before));
    let direct = json!({"spec": {"ephemeralContainers": null}});
    assert_eq!(admin.patch(&format!("{PODS}/p"), "merge-patch", &direct).await.code, 422);
    for (list, why) in [(json!([]), "removed"), (json!([{"name": "debug", "image": "other"}]), "changed")] {
        let answer = admin.patch(&view, "merge-patch", &json!({"spec": {"ephemeralContainers": list}})).await;
        let message = answer.expect(422)["message"].as_str().unwrap().to_owned();
        let expected = format!(
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be {why}"
        );
        assert!(message.contains(&expected), "{message}");
    }
    let mut stale = before;
    stale["spec"]["ephemeralContainers"] = json!([]);
    assert_eq!(admin.put(&view, &stale).await.code, 409);
}

#[tokio::test]
async fn a_resize_changes_resources_and_nothing_else() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let mut object = pod("p");
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    admin.post(PODS, &object).await.expect(201);
    let patch = json!({"spec": {"containers": [{"name": "c", "image": "other", "resources": {"requests": {"cpu": "200m"}}}]}});
    let answer = admin.patch(&format!("{PODS}/p"), "strategic-merge-patch", &patch).await;
    assert_eq!(answer.code, 422, "a pod's own update changes no resources");
    let resized = admin.patch(&format!("{PODS}/p/resize"), "strategic-merge-patch", &patch).await.expect(200);
    let container = &resized["spec"]["containers"][0];
    assert_eq!(
        (&container["resources"]["requests"]["cpu"], &container["image"]),
        (&json!("200m"), &json!("nginx"))
    );
}

#[tokio::test]
async fn an_eviction_asks_the_disruption_budget() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    admin.post(budgets, &budget).await.expect(201);
    let evict = |name: &'static str| {
        let admin = admin.clone();
        async move {
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
            admin.post(&format!("{PODS}/{name}/eviction"), &eviction).await
        }
    };
    for name in ["p1", "p2"] {
        running(&admin, name, json!({"a": "b"}), true).await;
    }
    running(&admin, "sick", json!({"a": "b"}), false).await;
    running(&admin, "free", json!({}), true).await;
    assert_eq!(evict("free").await.code, 201, "no budget guards it");

    let violated = "Cannot evict pod as it would violate the pod's disruption budget.";
    let answer = evict("p1").await;
    answer.refused(429, "TooManyRequests", violated);
    assert_eq!(answer.header("retry-after"), "10");
    let cause = &answer.json()["details"]["causes"][0];
    assert_eq!(cause["message"], "The disruption budget b is still being processed by the server.");

    let status = |allowed: i64, healthy: i64| {
        json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": healthy,
            "desiredHealthy": 1, "expectedPods": 2}})
    };
    let view = format!("{budgets}/b/status");
    admin.patch(&view, "merge-patch", &status(0, 1)).await.expect(200);
    let answer = evict("p1").await;
    answer.refused(429, "TooManyRequests", violated);
    let cause = &answer.json()["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(cause["message"], "The disruption budget b needs 1 healthy pods and has 1 currently");
    assert_eq!(evict("sick").await.code, 201, "one that is not ready disrupts nothing");

    admin.patch(&view, "merge-patch", &status(1, 2)).await.expect(200);
    let dry = json!({"metadata": {"name": "p1"}, "deleteOptions": {"dryRun": ["All"]}});
    admin.post(&format!("{PODS}/p1/eviction"), &dry).await.expect(201);
    assert_eq!(admin.get(&format!("{budgets}/b")).await.expect(200)["status"]["disruptionsAllowed"], 1);
    assert_eq!(evict("p1").await.code, 201);
    let going = admin.get(&format!("{PODS}/p1")).await.expect(200);
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let left = admin.get(&format!("{budgets}/b")).await.expect(200);
    assert_eq!(left["status"]["disruptionsAllowed"], 0);
    assert!(left["status"]["disruptedPods"]["p1"].is_string());
    evict("p2").await.refused(429, "TooManyRequests", violated);
    evict("none").await.refused(404, "NotFound", "pods \"none\" not found");
    let other = json!({"metadata": {"name": "other"}});
    admin.post(&format!("{PODS}/p2/eviction"), &other).await.refused(
        400,
        "BadRequest",
        "name in URL does not match name in Eviction object",
    );
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let made = admin.post(PODS, &pod("p")).await.expect(201);
    let bind = |node: &str, uid: &str| json!({"metadata": {"name": "p", "uid": uid}, "target": {"kind": "Node", "name": node}});
    let binding = format!("{PODS}/p/binding");
    assert_eq!(admin.post(&binding, &bind("n", "other")).await.code, 409);
    let answer = admin.post(&binding, &bind("n", made["metadata"]["uid"].as_str().unwrap())).await;
    assert_eq!(answer.expect(201)["status"], "Success");
    let bound = admin.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "n");
    assert_eq!(bound["metadata"]["generation"], 1);
    assert!(
        bound["status"]["conditions"].as_array().unwrap().iter().any(|one| one["type"] == "PodScheduled")
    );
    admin.post(&binding, &bind("m", "")).await.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\"",
    );
}

#[tokio::test]
async fn an_approval_changes_conditions_and_needs_a_right_to_the_signer() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = crate::certificates::request("r", "example.com/own", "jane", &[]);
    admin.post(path, &request).await.expect(201);
    let approval = json!({"status": {"certificate": "LQ==", "conditions": [
        {"type": "Approved", "status": "True", "reason": "Why", "message": "not"}]}});
    let view = format!("{path}/r/approval");
    let approved = admin.patch(&view, "merge-patch", &approval).await.expect(200);
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(approved["status"].get("certificate"), None, "only a signer gives certificates");

    let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests/approval"], "verbs": ["patch"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    admin.post(&format!("{rbac}/clusterroles"), &role).await.expect(201);
    let binding = json!({"metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    admin.post(&format!("{rbac}/clusterrolebindings"), &binding).await.expect(201);
    let jane = server.user("jane", &[]);
    let change = json!({"metadata": {"labels": {"a": "b"}}});
    loop {
        let answer = jane.patch(&view, "merge-patch", &change).await;
        // The right to the subresource arrives when the binding is seen.
        if answer.code == 403 && answer.text().contains("cannot patch") {
            continue;
        }
        let message = "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: user not permitted to approve requests with signerName \"example.com/own\"";
        answer.refused(403, "Forbidden", message);
        break;
    }
}

#[tokio::test]
async fn a_namespace_is_finalized_by_its_own_view() {
    let server = Server::start().await;
    let admin = server.admin();
    let namespaces = "/api/v1/namespaces";
    let made = admin.post(namespaces, &json!({"metadata": {"name": "x"}})).await.expect(201);
    let going = admin.delete(&format!("{namespaces}/x")).await.expect(200);
    assert_eq!(
        (&going["status"]["phase"], &going["spec"]["finalizers"]),
        (&json!("Terminating"), &json!(["kubernetes"]))
    );
    let answer = admin.post(&format!("{namespaces}/x/configmaps"), &json!({"metadata": {"name": "a"}})).await;
    let status = answer.expect(403);
    assert_eq!(status["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut last = going.clone();
    last["spec"]["finalizers"] = json!([]);
    admin.put(&format!("{namespaces}/x/finalize"), &last).await.expect(200);
    assert_eq!(admin.get(&format!("{namespaces}/x")).await.code, 404, "{made}");
}

#[tokio::test]
async fn requests_go_on_to_pods_and_services() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = |request: axum::extract::Request| async move {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let authorization = head.headers.contains_key("authorization");
        let text = format!("{} {} {} {authorization}", head.method, head.uri, String::from_utf8_lossy(&body));
        match head.uri.path() {
            "/away" => (http::StatusCode::FOUND, [("location", "/there"), ("x-own", "1")], text),
            _ => (http::StatusCode::IM_A_TEAPOT, [("location", ""), ("x-own", "1")], text),
        }
    };
    let routes = Router::new().fallback(any(echo));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });

    running(&admin, "p", json!({"app": "web"}), true).await;
    let base = format!("{PODS}/p:{port}/proxy");
    for (method, rest, body) in [
        ("GET", "/a/b?x=1", ""),
        ("POST", "/", "sent"),
        ("PUT", "/a", "x"),
        ("PATCH", "/a", "y"),
        ("DELETE", "/a", ""),
    ] {
        let answer = admin.send(method, &format!("{base}{rest}"), &[("accept", "text/csv")], body).await;
        assert_eq!((answer.code, answer.header("x-own")), (418, "1"), "{}", answer.text());
        assert_eq!(answer.text(), format!("{method} {rest} {body} false"));
    }
    let answer = admin.get(&base).await;
    assert_eq!((answer.code, answer.header("location")), (301, format!("{base}/").as_str()));
    let answer = admin.get(&format!("{base}/away")).await;
    assert_eq!((answer.code, answer.header("location")), (302, format!("{base}/there").as_str()));
    assert_eq!(admin.get(&format!("{PODS}/none:1/proxy/")).await.code, 404);
    assert_eq!(admin.get(&format!("{PODS}/ftp:p:1/proxy/")).await.code, 400);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert_eq!(admin.get(&format!("{PODS}/p:{closed}/proxy/")).await.code, 503);

    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": port}]}});
    admin.post(services, &service).await.expect(201);
    assert_eq!(admin.get(&format!("{services}/web/proxy/")).await.code, 503, "no endpoints yet");
    let slice = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]});
    // Loopback is not an address for an endpoint that a client may make, so the pod's stands for it.
    let made = admin.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    if made.code == 201 {
        for name in ["web", "web:http", "web:80", "http:web:http"] {
            let answer = admin.get(&format!("{services}/{name}/proxy/q")).await;
            assert_eq!((answer.code, answer.text().as_str()), (418, "GET /q  false"), "{name}");
        }
        assert_eq!(admin.get(&format!("{services}/web:81/proxy/q")).await.code, 503);
    } else {
        panic!("{}", made.text());
    }
    let jane = server.user("jane", &[]);
    jane.get(&format!("{base}/a")).await.refused(
        403,
        "Forbidden",
        &format!(r#"pods "p:{port}" is forbidden: User "jane" cannot get resource "pods/proxy" in API group "" in the namespace "default""#),
    );
}
