//! Quotas over the wire. No controller runs here: a quota's first count is written by hand.

use std::sync::Arc;

use serde_json::{Value, json};
use skiff_storage::Storage;
use skiff_storage::embedded::{Embedded, Options};

use crate::server::{Client, PODS, Server, make_account, pod};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

/// A quota that was counted once.
async fn counted(admin: &Client, name: &str, spec: Value, used: Value) {
    let made = admin.post(QUOTAS, &json!({"metadata": {"name": name}, "spec": spec})).await;
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let mut quota = made.expect(201);
    quota["status"] = json!({"hard": spec["hard"], "used": used});
    admin.put(&format!("{QUOTAS}/{name}/status"), &quota).await.expect(200);
}

async fn used(admin: &Client, name: &str) -> Value {
    admin.get(&format!("{QUOTAS}/{name}")).await.expect(200)["status"]["used"].clone()
}

#[tokio::test]
async fn what_is_made_is_charged_or_refused() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let hard = json!({"pods": "2", "requests.cpu": "1", "count/deployments.apps": "1", "configmaps": "2"});
    let zero = json!({"pods": "0", "requests.cpu": "0", "count/deployments.apps": "0", "configmaps": "1"});
    counted(&admin, "q", json!({"hard": hard}), zero).await;
    let asks = |name: &str, cpu: &str| {
        let mut object = pod(name);
        object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
        object
    };
    admin.post(PODS, &asks("a", "600m")).await.expect(201);
    let seen = used(&admin, "q").await;
    assert_eq!((&seen["pods"], &seen["requests.cpu"]), (&json!("1"), &json!("600m")));
    admin.post(PODS, &asks("b", "500m")).await.refused(
        403,
        "Forbidden",
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: \
         requests.cpu=1",
    );
    admin.post(PODS, &pod("b")).await.refused(
        403,
        "Forbidden",
        "pods \"b\" is forbidden: failed quota: q: must specify requests.cpu for: c",
    );
    // What is only tried out is not charged.
    admin.post(&format!("{PODS}?dryRun=All"), &asks("b", "100m")).await.expect(201);
    assert_eq!(used(&admin, "q").await["pods"], "1");
    admin.post(PODS, &asks("b", "100m")).await.expect(201);
    admin.post(PODS, &asks("c", "0")).await.refused(
        403,
        "Forbidden",
        "pods \"c\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
    );
    // An update of what is there costs nothing, a resize what it adds.
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    admin.patch(&format!("{PODS}/a"), "merge-patch", &label).await.expect(200);
    let grow =
        |cpu: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    admin.patch(&format!("{PODS}/b/resize"), "strategic-merge-patch", &grow("400m")).await.expect(200);
    assert_eq!(used(&admin, "q").await["requests.cpu"], "1");
    let answer = admin.patch(&format!("{PODS}/b/resize"), "strategic-merge-patch", &grow("500m")).await;
    assert_eq!(answer.code, 403, "{}", answer.text());
    let map = |name: &str| json!({"metadata": {"name": name}});
    let maps = "/api/v1/namespaces/default/configmaps";
    admin.post(maps, &map("a")).await.expect(201);
    assert_eq!(
        admin.post(maps, &map("b")).await.expect(403)["message"],
        "configmaps \"b\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2"
    );
    // Another namespace has no quota.
    admin.post("/api/v1/namespaces/kube-public/configmaps", &map("b")).await.expect(201);
}

#[tokio::test]
async fn objects_of_a_custom_kind_are_counted() {
    let server = Server::start().await;
    let admin = server.admin();
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object"}}}],
    }});
    admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await.expect(201);
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget =
        |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}});
    let made = tokio::time::timeout(crate::server::PATIENCE, async {
        // Established by a task of the server's own: asked for until it is served.
        while admin.get(widgets).await.code != 200 {
            tokio::task::yield_now().await;
        }
    });
    made.await.expect("the kind is served");
    let name = "count/widgets.example.com";
    counted(&admin, "q", json!({"hard": {name: "1"}}), json!({name: "0"})).await;
    admin.post(widgets, &widget("a")).await.expect(201);
    admin.post(widgets, &widget("b")).await.refused(
        403,
        "Forbidden",
        &format!(
            "widgets.example.com \"b\" is forbidden: exceeded quota: q, requested: {name}=1, used: {name}=1, limited: {name}=1"
        ),
    );
}

#[tokio::test]
async fn a_quota_that_was_not_counted_yet_lets_nothing_through_that_it_limits() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}});
    let mut made = admin.post(QUOTAS, &quota).await.expect(201);
    // Without a status it limits nothing, as upstream.
    admin.post(PODS, &pod("a")).await.expect(201);
    made["status"] = json!({"hard": {"pods": "5"}});
    admin.put(&format!("{QUOTAS}/q/status"), &made).await.expect(200);
    admin.post(PODS, &pod("b")).await.refused(
        403,
        "Forbidden",
        "pods \"b\" is forbidden: status unknown for quota: q, resources: pods",
    );
}

#[tokio::test]
async fn what_is_made_at_once_never_exceeds_a_quota_on_any_number_of_servers() {
    let dir = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> =
        Arc::new(Embedded::open(&dir.path().join("store"), Options::default()).unwrap());
    let servers = [Server::on(storage.clone(), "", |_| {}).await, Server::on(storage, "", |_| {}).await];
    let admins = [servers[0].admin(), servers[1].admin()];
    make_account(&admins[0]).await;
    counted(&admins[0], "few", json!({"hard": {"pods": "10"}}), json!({"pods": "0"})).await;
    counted(
        &admins[0],
        "scoped",
        json!({"hard": {"pods": "20"}, "scopes": ["BestEffort"]}),
        json!({"pods": "0"}),
    )
    .await;
    let all = (0..50).map(|number| {
        let admin = &admins[number % 2];
        async move { admin.post(PODS, &pod(&format!("p{number}"))).await }
    });
    let answers = futures::future::join_all(all).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    for answer in answers.iter().filter(|answer| answer.code != 201) {
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        let known = message
            .contains("exceeded quota: few, requested: pods=1, used: pods=10, limited: pods=10")
            || (answer.code == 409 && message.contains("the object has been modified"));
        assert!(known, "{} {message}", answer.code);
    }
    assert!((1..=10).contains(&made), "{made}");
    let pods = admins[0].get(PODS).await.expect(200)["items"].as_array().unwrap().len();
    assert_eq!(pods, made);
    // Each that was made is charged.
    for name in ["few", "scoped"] {
        let count: usize = used(&admins[0], name).await["pods"].as_str().unwrap().parse().unwrap();
        assert!(count >= made, "{name}: {count} of {made}");
    }
}

#[tokio::test]
async fn fifty_at_once_on_one_server_use_up_a_quota_and_no_more() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    counted(&admin, "q", json!({"hard": {"pods": "17"}}), json!({"pods": "0"})).await;
    let all = (0..50).map(|number| {
        let admin = admin.clone();
        async move { admin.post(PODS, &pod(&format!("p{number}"))).await.code }
    });
    let codes = futures::future::join_all(all).await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 17, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 403).count(), 33, "{codes:?}");
    assert_eq!(used(&admin, "q").await["pods"], "17");
}
