//! Under load: every request has a flow, the objects say which, and no flow keeps the others from being served.

use std::time::Duration;

use serde_json::{Value, json};
use skiff_apiserver::flow::Limits;

use crate::server::{CONFIG_MAPS, Server, config_map, names};

const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

fn level(shares: i64) -> Value {
    json!({"metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": shares,
        "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Queue", "queuing": {
            "queues": 1, "handSize": 1, "queueLengthLimit": 1}}}}})
}

fn schema(user: &str) -> Value {
    json!({"metadata": {"name": "slow"}, "spec": {"priorityLevelConfiguration": {"name": "narrow"}, "matchingPrecedence": 3,
        "rules": [{"subjects": [{"kind": "User", "user": {"name": user}}], "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}})
}

#[tokio::test]
async fn a_new_cluster_has_upstreams_flows_and_keeps_those_it_cannot_do_without() {
    let server = Server::start().await;
    let admin = server.admin();
    let levels = admin.get(&format!("{FLOWS}/prioritylevelconfigurations")).await.expect(200);
    let expected = [
        "catch-all",
        "exempt",
        "global-default",
        "leader-election",
        "node-high",
        "system",
        "workload-high",
        "workload-low",
    ];
    assert_eq!(names(&levels), expected);
    let dangling = until("every schema is told that its level is there", async || {
        let schemas = admin.get(&format!("{FLOWS}/flowschemas")).await.expect(200);
        let all = schemas["items"].as_array().unwrap().clone();
        all.iter().all(|one| one["status"]["conditions"][0]["reason"] == "Found").then_some(all.len())
    })
    .await;
    assert_eq!(dangling, 11);
    admin.delete(&format!("{FLOWS}/prioritylevelconfigurations/exempt")).await.expect(200);
    let spoilt = json!({"spec": {"limited": {"nominalConcurrencyShares": 77}}});
    for name in ["catch-all", "system"] {
        let path = format!("{FLOWS}/prioritylevelconfigurations/{name}");
        let mine = json!({"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}});
        admin.patch(&path, "merge-patch", &mine).await.expect(200);
        admin.patch(&path, "merge-patch", &spoilt).await.expect(200);
    }
    until("what is mandatory is as it was", async || {
        let exempt = admin.get(&format!("{FLOWS}/prioritylevelconfigurations/exempt")).await;
        let rest = admin.get(&format!("{FLOWS}/prioritylevelconfigurations/catch-all")).await.expect(200);
        (exempt.code == 200 && rest["spec"]["limited"]["nominalConcurrencyShares"] == 5).then_some(())
    })
    .await;
    let system = admin.get(&format!("{FLOWS}/prioritylevelconfigurations/system")).await.expect(200);
    assert_eq!(system["spec"]["limited"]["nominalConcurrencyShares"], 77);
}

#[tokio::test]
async fn answers_name_the_flow_and_the_newest_objects_decide() {
    let server = Server::start().await;
    let admin = server.admin();
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
    let exempt = admin.get(&format!("{FLOWS}/flowschemas/exempt")).await;
    assert_eq!(exempt.header("x-kubernetes-pf-flowschema-uid"), uid(&exempt.json()));
    let lost = admin.post(&format!("{FLOWS}/flowschemas"), &schema("joe")).await.expect(201);
    until("its level is missed", async || {
        let told = admin.get(&format!("{FLOWS}/flowschemas/slow")).await.expect(200);
        (told["status"]["conditions"][0]["status"] == "True").then_some(())
    })
    .await;
    let made = admin.post(&format!("{FLOWS}/prioritylevelconfigurations"), &level(1)).await.expect(201);
    let joe = server.user("joe", &["system:masters"]);
    assert_ne!(uid(&exempt.json()), uid(&lost));
    // The exempt schema comes first for masters.
    assert_eq!(joe.get(CONFIG_MAPS).await.header("x-kubernetes-pf-flowschema-uid"), uid(&exempt.json()));
    let joe = server.user("joe", &[]);
    until("requests are of the new flow", async || {
        let answer = joe.get(CONFIG_MAPS).await;
        assert_eq!(answer.code, 403);
        let level = answer.header("x-kubernetes-pf-prioritylevel-uid");
        (level == uid(&made) && answer.header("x-kubernetes-pf-flowschema-uid") == uid(&lost)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_floods_is_held_up_and_others_are_not() {
    let limits = Limits { seats: 20, request_timeout: Duration::from_secs(2), ..Limits::default() };
    let server = Server::configured(|config| config.limits = limits).await;
    let admin = server.admin();
    admin.post(&format!("{FLOWS}/prioritylevelconfigurations"), &level(1)).await.expect(201);
    admin.post(&format!("{FLOWS}/flowschemas"), &schema("greedy")).await.expect(201);
    let role = json!({"metadata": {"name": "all"}, "subjects": [{"kind": "Group", "name": "system:authenticated",
        "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &role).await.expect(201);
    let greedy = server.user("greedy", &[]);
    let narrow = admin.get(&format!("{FLOWS}/prioritylevelconfigurations/narrow")).await.expect(200);
    until("greedy's requests are of the narrow level", async || {
        let level = greedy.get(CONFIG_MAPS).await.header("x-kubernetes-pf-prioritylevel-uid").to_owned();
        (level == narrow["metadata"]["uid"]).then_some(())
    })
    .await;
    // Bodies that never end hold the seat and the place in the queue.
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(greedy.begin("POST", CONFIG_MAPS, 100).await);
    }
    let (sat, waits) = until("one sits and one waits", async || {
        let text = admin.get("/metrics").await.text();
        let number = |name: &str| {
            let start = format!("apiserver_flowcontrol_{name}{{priority_level=\"narrow\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&start)).and_then(|rest| rest.parse::<u64>().ok())
        };
        let now = (number("current_executing_seats")?, number("current_inqueue_requests")?);
        (now.1 > 0).then_some(now)
    })
    .await;
    assert_eq!((sat, waits), (1, 1));
    let refused = greedy.get(CONFIG_MAPS).await;
    refused.refused(429, "TooManyRequests", "too many requests, please try again later");
    assert_eq!(refused.header("retry-after"), "1");
    // All others are served meanwhile.
    server.user("modest", &[]).post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    assert_eq!(server.nobody().get("/healthz").await.code, 200);
    // Who sends nothing is cut off in the end, and the next has its turn.
    until("greedy is served again", async || (greedy.get(CONFIG_MAPS).await.code == 200).then_some(())).await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_told_so() {
    let limits = Limits { request_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = Server::configured(|config| config.limits = limits).await;
    let answer = server.admin().begin("POST", CONFIG_MAPS, 100).await.answer().await;
    answer.refused(504, "Timeout", "Timeout: request did not complete within the allotted timeout");
}
