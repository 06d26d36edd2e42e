//! A kind made by one data file has every verb.

use serde_json::{Value, json};

use crate::server::Server;

const KIND: &str = include_str!("widget.txt");
const WIDGETS: &str = "/apis/shop.example/v1/namespaces/default/widgets";

fn widget(name: &str, color: &str) -> Value {
    json!({"apiVersion": "shop.example/v1", "kind": "Widget", "metadata": {"name": name, "labels": {"c": color}},
        "spec": {"color": color, "parts": [{"name": "lid", "size": 1}]}})
}

#[tokio::test]
async fn an_invented_kind_has_every_verb_over_http() {
    let server = Server::with(KIND).await;
    let admin = server.admin();
    let one = format!("{WIDGETS}/a");

    let made = admin.post(WIDGETS, &widget("a", "red")).await.expect(201);
    assert_eq!(made["spec"]["replicas"], 1, "defaulted");
    assert_eq!(made["metadata"]["generation"], 1);
    assert!(made["metadata"]["uid"].is_string());
    assert_eq!(admin.get(&one).await.expect(200), made);

    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = admin.watch(&format!("{WIDGETS}?watch=1&resourceVersion={version}")).await;

    let mut changed = made.clone();
    changed["spec"]["color"] = "green".into();
    let changed = admin.put(&one, &changed).await.expect(200);
    assert_eq!(changed["metadata"]["generation"], 2);

    let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]);
    assert_eq!(admin.patch(&one, "json-patch", &patch).await.expect(200)["spec"]["replicas"], 3);
    let patch = json!({"spec": {"parts": [{"name": "box"}]}});
    let merged = admin.patch(&one, "merge-patch", &patch).await.expect(200);
    assert_eq!(merged["spec"]["parts"], json!([{"name": "box"}]), "a merge patch replaces lists");
    let patch = json!({"spec": {"parts": [{"name": "lid", "size": 2}]}});
    let merged = admin.patch(&one, "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(merged["spec"]["parts"].as_array().unwrap().len(), 2, "a strategic one merges them by key");

    let mut status = merged.clone();
    status["status"] = json!({"phase": "Shiny", "replicas": 2});
    status["spec"]["color"] = "red".into();
    let seen = admin.put(&format!("{one}/status"), &status).await.expect(200);
    assert_eq!(seen["status"]["phase"], "Shiny");
    assert_eq!(seen["spec"]["color"], "green", "a status write changes no spec");
    assert_eq!(seen["metadata"]["generation"], merged["metadata"]["generation"]);
    let patch = json!({"status": {"phase": "Dull"}});
    assert_eq!(admin.patch(&one, "merge-patch", &patch).await.expect(200)["status"]["phase"], "Shiny");

    let scale = admin.get(&format!("{one}/scale")).await.expect(200);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    assert_eq!(scale["status"]["replicas"], 2);
    let patch = json!({"spec": {"replicas": 5}});
    let scaled = admin.patch(&format!("{one}/scale"), "merge-patch", &patch).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    assert_eq!(admin.get(&one).await.expect(200)["spec"]["replicas"], 5);

    admin.post(WIDGETS, &widget("b", "red")).await.expect(201);
    let list = admin.get(WIDGETS).await.expect(200);
    assert_eq!(list["kind"], "WidgetList");
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let red = admin.get(&format!("{WIDGETS}?fieldSelector=spec.color=red")).await.expect(200);
    assert_eq!(red["items"][0]["metadata"]["name"], "b");
    let everywhere = admin.get("/apis/shop.example/v1/widgets").await.expect(200);
    assert_eq!(everywhere["items"].as_array().unwrap().len(), 2);

    let gone = admin.delete(&one).await.expect(200);
    assert_eq!((&gone["status"], &gone["details"]["name"]), (&json!("Success"), &json!("a")));
    admin.get(&one).await.refused(404, "NotFound", "widgets.shop.example \"a\" not found");
    let collection = admin.delete(&format!("{WIDGETS}?labelSelector=c%3Dred")).await.expect(200);
    assert_eq!(collection["items"].as_array().unwrap().len(), 1);
    assert_eq!(admin.get(WIDGETS).await.expect(200)["items"], json!([]));

    let mut seen = Vec::new();
    while seen.last().map(|(kind, name): &(String, String)| (kind.as_str(), name.as_str()))
        != Some(("DELETED", "b"))
    {
        seen.push(watch.event().await);
    }
    let kinds: Vec<&str> = seen.iter().map(|(kind, _)| kind.as_str()).collect();
    // Update, three patches, status, scale; b made; both deleted.
    let expected = [
        "MODIFIED", "MODIFIED", "MODIFIED", "MODIFIED", "MODIFIED", "MODIFIED", "ADDED", "DELETED", "DELETED",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn an_invented_kind_is_checked_shown_and_described() {
    let server = Server::with(KIND).await;
    let admin = server.admin();

    let answer = admin.post(WIDGETS, &widget("a", "blue")).await;
    answer.refused(
        422,
        "Invalid",
        "Widget.shop.example \"a\" is invalid: spec.color: Unsupported value: \"blue\": supported values: \"green\", \"red\"",
    );
    assert_eq!(answer.json()["details"]["causes"][0]["field"], "spec.color");
    let mut odd = widget("a", "red");
    odd["spec"]["colour"] = "red".into();
    let warned = admin.post(WIDGETS, &odd).await;
    assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"spec.colour\\\"\""]);
    assert!(warned.expect(201)["spec"].get("colour").is_none());

    let table = admin.get_as(WIDGETS, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Color", "Phase", "Age"]);
    assert_eq!(table["rows"][0]["cells"][1], "red");

    let resources = admin.get("/apis/shop.example/v1").await.expect(200);
    let found = &resources["resources"][0];
    assert_eq!((&found["name"], &found["shortNames"]), (&json!("widgets"), &json!(["wd"])));
    assert_eq!(found["categories"], json!(["all", "shop"]));
    let subresources: Vec<&str> = resources["resources"].as_array().unwrap()[1..]
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    assert_eq!(subresources, ["widgets/scale", "widgets/status"]);
    let groups = admin.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "shop.example"));

    let document = admin.get("/openapi/v3/apis/shop.example/v1").await.expect(200);
    let schema = &document["components"]["schemas"]["example.shop.v1.Widget"];
    assert_eq!(schema["properties"]["spec"]["properties"]["color"]["type"], "string");
    assert!(document["paths"]["/apis/shop.example/v1/namespaces/{namespace}/widgets/{name}"].is_object());
}
