//! Watches: where they begin, what they deliver, how they end.

use serde_json::{Value, json};

use crate::server::{CONFIG_MAPS, Client, Server, Watch, config_map, version};

async fn make(admin: &Client, name: &str) -> Value {
    admin.post(CONFIG_MAPS, &config_map(name)).await.expect(201)
}

async fn label(admin: &Client, name: &str, value: Value) {
    let patch = json!({"metadata": {"labels": {"x": value}}});
    admin.patch(&format!("{CONFIG_MAPS}/{name}"), "merge-patch", &patch).await.expect(200);
}

#[track_caller]
fn same((kind, name): (String, String), expected: (&str, &str)) {
    assert_eq!((kind.as_str(), name.as_str()), expected);
}

#[tokio::test]
async fn a_watch_begins_where_it_is_told_to() {
    let server = Server::start().await;
    let admin = server.admin();
    let a = make(&admin, "a").await;
    make(&admin, "b").await;
    let watch = |query: &str| {
        let (admin, path) = (admin.clone(), format!("{CONFIG_MAPS}?watch=true{query}"));
        async move { admin.watch(&path).await }
    };
    let mut after = watch(&format!("&resourceVersion={}", version(&a))).await;
    let mut zero = watch("&resourceVersion=0").await;
    let mut unset = watch("").await;
    let mut now = watch("&sendInitialEvents=false&resourceVersionMatch=NotOlderThan").await;
    let mut one = admin.watch(&format!("{CONFIG_MAPS}/b?watch=true")).await;
    let mut old_path = admin.watch("/api/v1/watch/namespaces/default/configmaps/b").await;
    for watch in [&mut zero, &mut unset] {
        same(watch.event().await, ("ADDED", "a"));
        same(watch.event().await, ("ADDED", "b"));
    }
    same(after.event().await, ("ADDED", "b"));
    same(one.event().await, ("ADDED", "b"));
    same(old_path.event().await, ("ADDED", "b"));
    make(&admin, "c").await;
    admin.delete(&format!("{CONFIG_MAPS}/b")).await.expect(200);
    for watch in [&mut after, &mut zero, &mut unset, &mut now] {
        same(watch.event().await, ("ADDED", "c"));
        same(watch.event().await, ("DELETED", "b"));
    }
    for watch in [&mut one, &mut old_path] {
        same(watch.event().await, ("DELETED", "b"));
    }
}

#[tokio::test]
async fn bookmarks_say_that_the_beginning_is_over() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = make(&admin, "a").await;
    let query =
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    for query in [query.to_owned(), format!("{query}&resourceVersion={}", version(&made))] {
        let mut watch = admin.watch(&format!("{CONFIG_MAPS}?{query}")).await;
        same(watch.event().await, ("ADDED", "a"));
        let bookmark = watch.next().await.unwrap();
        assert_eq!(bookmark["type"], "BOOKMARK");
        let metadata = &bookmark["object"]["metadata"];
        assert_eq!(metadata["annotations"], json!({"k8s.io/initial-events-end": "true"}));
        assert_eq!(
            (&bookmark["object"]["kind"], &bookmark["object"]["apiVersion"]),
            (&json!("ConfigMap"), &json!("v1"))
        );
        assert!(
            version(&bookmark["object"]).parse::<u64>().unwrap() >= version(&made).parse::<u64>().unwrap()
        );
    }
    // Who did not allow bookmarks gets none.
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    same(watch.event().await, ("ADDED", "a"));
    make(&admin, "b").await;
    same(watch.event().await, ("ADDED", "b"));
    let answer = admin.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).await;
    answer.refused(
        422,
        "Invalid",
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    );
}

#[tokio::test]
async fn objects_enter_and_leave_a_selector() {
    let server = Server::start().await;
    let admin = server.admin();
    make(&admin, "a").await;
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=x%3D1")).await;
    label(&admin, "a", "1".into()).await;
    same(watch.event().await, ("ADDED", "a"));
    admin.patch(&format!("{CONFIG_MAPS}/a"), "merge-patch", &json!({"data": {"b": "2"}})).await.expect(200);
    same(watch.event().await, ("MODIFIED", "a"));
    label(&admin, "a", "2".into()).await;
    let left = watch.next().await.unwrap();
    assert_eq!((&left["type"], &left["object"]["metadata"]["labels"]["x"]), (&json!("DELETED"), &json!("1")));
    let live = admin.get(&format!("{CONFIG_MAPS}/a")).await.expect(200);
    assert_eq!(version(&left["object"]), version(&live), "it left at the version that took it away");
    label(&admin, "a", "1".into()).await;
    same(watch.event().await, ("ADDED", "a"));
    admin.delete(&format!("{CONFIG_MAPS}/a")).await.expect(200);
    let gone = watch.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert!(version(&gone["object"]).parse::<u64>().unwrap() > version(&live).parse::<u64>().unwrap());
}

#[tokio::test]
async fn watches_take_the_form_that_is_asked_for() {
    let server = Server::start().await;
    let admin = server.admin();
    make(&admin, "a").await;
    let path = format!("{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true");
    let mut table = admin.watch_as(&path, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let event = table.next().await.unwrap();
    assert_eq!(event["object"]["kind"], "Table");
    assert_eq!(event["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(event["object"]["rows"][0]["cells"][0], "a");
    let bookmark = table.next().await.unwrap();
    let metadata = &bookmark["object"]["rows"][0]["object"]["metadata"];
    assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
    make(&admin, "b").await;
    let event = table.next().await.unwrap();
    assert_eq!(event["object"]["columnDefinitions"], Value::Null, "columns are sent once");
    let accept = "application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io";
    let mut partial = admin.watch_as(&path, accept).await;
    let event = partial.next().await.unwrap();
    assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(event["object"]["apiVersion"], "meta.k8s.io/v1beta1");
    assert!(event["object"].get("data").is_none());
}

async fn drain(watch: &mut Watch) -> Vec<Value> {
    let mut events = Vec::new();
    while let Some(event) = watch.next().await {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn a_watch_ends_in_time_or_with_an_error_that_says_why() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = make(&admin, "a").await;
    let begun = std::time::Instant::now();
    let mut short = admin.watch(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1")).await;
    assert_eq!(drain(&mut short).await.len(), 1);
    assert!(begun.elapsed().as_secs_f64() >= 1.0);

    // More changes than a kind keeps for watches: whoever asks from before is told to list again.
    for round in 0..40 {
        let patch = json!({"data": {"a": format!("{round}{}", "x".repeat(500_000))}});
        admin.patch(&format!("{CONFIG_MAPS}/a"), "merge-patch", &patch).await.expect(200);
    }
    let mut late = admin.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&made))).await;
    let events = drain(&mut late).await;
    assert_eq!((events.len(), &events[0]["type"]), (1, &json!("ERROR")));
    let status = &events[0]["object"];
    assert_eq!(
        (&status["kind"], &status["code"], &status["reason"]),
        (&json!("Status"), &json!(410), &json!("Expired"))
    );
    assert!(status["message"].as_str().unwrap().starts_with("too old resource version: "));
}

#[tokio::test]
async fn many_watchers_see_every_change_once_and_in_order() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut watchers = Vec::new();
    for _ in 0..10 {
        watchers.push(admin.watch(&format!("{CONFIG_MAPS}?watch=1")).await);
    }
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let admin = admin.clone();
            tokio::spawn(async move {
                for turn in 0..10 {
                    make(&admin, &format!("w{writer}-{turn}")).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut histories = Vec::new();
    for watch in &mut watchers {
        let mut history = Vec::new();
        for _ in 0..40 {
            let event = watch.next().await.unwrap();
            assert_eq!(event["type"], "ADDED");
            history.push(version(&event["object"]).parse::<u64>().unwrap());
        }
        assert!(history.is_sorted_by(|a, b| a < b), "in order, none twice: {history:?}");
        histories.push(history);
    }
    histories.dedup();
    assert_eq!(histories.len(), 1, "all saw the same");
}
