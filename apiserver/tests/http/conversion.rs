//! Custom kinds whose versions differ in structure: a webhook converts between them.

use serde_json::{Value, json};

use crate::hook::{Act, Asked, Hook};
use crate::server::{Client, Server, names};

const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sites.example.com";
const V1: &str = "/apis/example.com/v1/namespaces/default/sites";
const V2: &str = "/apis/example.com/v2/namespaces/default/sites";

/// v1 has `host:port` as one text, v2 has both apart.
fn definition(client: Value, storage: &str) -> Value {
    let version = |name: &str, properties: Value| {
        json!({"name": name, "served": true, "storage": name == storage, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}}})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "sites.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "sites", "kind": "Site"},
        "versions": [
            version("v1", json!({"hostPort": {"type": "string"}, "note": {"type": "string"}})),
            version("v2", json!({"host": {"type": "string"}, "port": {"type": "string"}, "note": {"type": "string"}})),
        ],
        "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}}}})
}

fn converted(object: &Value, wanted: &str) -> Value {
    let mut object = object.clone();
    let spec = object["spec"].as_object_mut().unwrap();
    if wanted.ends_with("v2") {
        if let Some(text) = spec.remove("hostPort") {
            let (host, port) = text.as_str().unwrap().split_once(':').unwrap();
            spec.insert("host".into(), host.into());
            spec.insert("port".into(), port.into());
        }
    } else {
        let mut part = |key: &str| {
            spec.remove(key).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let text = format!("{}:{}", part("host"), part("port"));
        spec.insert("hostPort".into(), text.into());
    }
    object["apiVersion"] = wanted.into();
    object
}

fn convert(asked: &Asked) -> Act {
    let request = &asked.body["request"];
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let objects: Vec<Value> =
        request["objects"].as_array().unwrap().iter().map(|object| converted(object, wanted)).collect();
    let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": {
        "uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}});
    Act::Raw(200, "application/json", review.to_string())
}

fn site(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Site", "metadata": {"name": name}, "spec": spec})
}

async fn begin(storage: &str) -> (Server, Client, Hook) {
    let server = Server::start().await;
    let admin = server.admin();
    let hook = Hook::serve(&["127.0.0.1"], convert).await;
    crate::custom::define(&admin, &definition(hook.client("/convert"), storage)).await;
    (server, admin, hook)
}

#[tokio::test]
async fn objects_are_shown_and_written_in_each_version() {
    let (_server, admin, hook) = begin("v1").await;
    admin.post(V1, &site("v1", "a", json!({"hostPort": "h:1"}))).await.expect(201);
    assert!(hook.asked().is_empty(), "what is stored needs no one");
    let shown = admin.get(&format!("{V2}/a")).await.expect(200);
    assert_eq!(
        (&shown["apiVersion"], &shown["spec"]),
        (&json!("example.com/v2"), &json!({"host": "h", "port": "1"}))
    );
    let [asked] = hook.asked().try_into().unwrap();
    assert_eq!(asked.path, "/convert?timeout=30s");

    // Written in the other version, it is stored in its own.
    let mut watch = admin.watch(&format!("{V2}?watch=true")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["spec"]["host"], "h");
    let made = admin.post(V2, &site("v2", "b", json!({"host": "g", "port": "2"}))).await.expect(201);
    assert_eq!((&made["apiVersion"], &made["spec"]["host"]), (&json!("example.com/v2"), &json!("g")));
    assert_eq!(admin.get(&format!("{V1}/b")).await.expect(200)["spec"], json!({"hostPort": "g:2"}));
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["spec"]["port"]), (&json!("ADDED"), &json!("2")));
    let patch = json!({"spec": {"port": "3"}});
    let patched = admin.patch(&format!("{V2}/a"), "merge-patch", &patch).await.expect(200);
    assert_eq!(patched["spec"], json!({"host": "h", "port": "3"}));
    assert_eq!(admin.get(&format!("{V1}/a")).await.expect(200)["spec"]["hostPort"], "h:3");
    assert_eq!(watch.next().await.unwrap()["object"]["spec"]["port"], "3");

    // Many are asked for at once, and once.
    for index in 0..20 {
        admin.post(V1, &site("v1", &format!("n{index}"), json!({"hostPort": "h:1"}))).await.expect(201);
        watch.next().await.unwrap();
    }
    hook.forget();
    let other = admin.get(V2).await.expect(200);
    assert_eq!(names(&other).len(), 22);
    assert!(other["items"].as_array().unwrap().iter().all(|item| item["spec"]["host"].is_string()));
    admin.get(V2).await.expect(200);
    assert!(hook.asked().len() <= 1, "what the watch had converted is not asked for again");

    admin.delete(&format!("{V2}/b")).await.expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["spec"]["host"]), (&json!("DELETED"), &json!("g")));
}

#[tokio::test]
async fn who_owns_a_field_is_told_in_each_managers_version() {
    let (_server, admin, _hook) = begin("v1").await;
    let apply = |path: String, manager: &'static str, object: Value| {
        let admin = admin.clone();
        async move {
            let path = format!("{path}?fieldManager={manager}");
            let headers = [("content-type", "application/apply-patch+yaml")];
            admin.send("PATCH", &path, &headers, object.to_string()).await
        }
    };
    let first = site("v1", "a", json!({"hostPort": "h:1"}));
    apply(format!("{V1}/a"), "one", first).await.expect(201);
    // The other version's field is the same one, under another name.
    let other = site("v2", "a", json!({"host": "g"}));
    let refused = apply(format!("{V2}/a"), "two", other.clone()).await.expect(409);
    assert!(refused["message"].as_str().unwrap().contains("conflict with \"one\""), "{refused}");
    let note = site("v2", "a", json!({"note": "n"}));
    let noted = apply(format!("{V2}/a"), "two", note).await.expect(200);
    let entries = noted["metadata"]["managedFields"].as_array().unwrap();
    let versions: Vec<_> = entries
        .iter()
        .map(|entry| (entry["manager"].as_str().unwrap(), entry["apiVersion"].as_str().unwrap()))
        .collect();
    assert_eq!(versions, [("one", "example.com/v1"), ("two", "example.com/v2")]);
}

#[tokio::test]
async fn a_converter_that_fails_is_named_with_the_reason() {
    let server = Server::start().await;
    let admin = server.admin();
    let hook = Hook::serve(&["127.0.0.1"], |asked| {
        let request = &asked.body["request"];
        let name = request["objects"][0]["metadata"]["name"].as_str().unwrap().to_owned();
        let response = |response: Value| {
            let mut review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
            review["response"]["uid"] = request["uid"].clone();
            Act::Raw(200, "application/json", review.to_string())
        };
        let mut other = converted(&request["objects"][0], request["desiredAPIVersion"].as_str().unwrap());
        match name.as_str() {
            "refused" => response(json!({"result": {"status": "Failed", "message": "not that one"}})),
            "short" => response(json!({"result": {"status": "Success"}, "convertedObjects": []})),
            "renamed" => {
                other["metadata"]["name"] = "else".into();
                response(json!({"result": {"status": "Success"}, "convertedObjects": [other]}))
            }
            "old" => {
                other["apiVersion"] = "example.com/v1".into();
                response(json!({"result": {"status": "Success"}, "convertedObjects": [other]}))
            }
            _ => Act::Raw(500, "text/plain", "boom".into()),
        }
    })
    .await;
    crate::custom::define(&admin, &definition(hook.client("/"), "v1")).await;
    let about = "conversion webhook for example.com/v1, Kind=Site";
    for (name, why) in [
        ("refused", "failed: not that one"),
        ("short", "returned 0 objects, expected 1"),
        ("renamed", "returned invalid converted object at index 0: must have the same name: renamed != else"),
        (
            "old",
            "returned invalid converted object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v1)",
        ),
        ("broken", "failed: an error on the server (\"boom\") has prevented the request from succeeding"),
    ] {
        admin.post(V1, &site("v1", name, json!({"hostPort": "h:1"}))).await.expect(201);
        admin.get(&format!("{V2}/{name}")).await.refused(500, "", &format!("{about} {why}"));
        assert_eq!(admin.get(&format!("{V1}/{name}")).await.code, 200);
    }
    let written = admin.post(V2, &site("v2", "new", json!({"host": "h", "port": "1"}))).await.expect(500);
    assert!(
        written["message"]
            .as_str()
            .unwrap()
            .starts_with("conversion webhook for example.com/v2, Kind=Site failed")
    );
    assert_eq!(admin.get(&format!("{V1}/new")).await.code, 404, "nothing is half written");
    let mut bad = definition(json!({}), "v1");
    bad["metadata"]["name"] = "others.example.com".into();
    bad["spec"]["names"] = json!({"plural": "others", "kind": "Other"});
    let refused = admin.post(DEFINITION.rsplit_once('/').unwrap().0, &bad).await.expect(422);
    assert_eq!(
        refused["details"]["causes"][0],
        json!({"reason": "FieldValueRequired", "field": "spec.conversion.webhookClientConfig",
            "message": "Required value: exactly one of url or service is required"})
    );
}

#[tokio::test]
async fn what_was_stored_in_an_older_version_is_read_and_moves_when_it_is_written() {
    let (_server, admin, hook) = begin("v1").await;
    admin.post(V1, &site("v1", "a", json!({"hostPort": "h:1"}))).await.expect(201);
    // From now on the other version is stored.
    let mut live = admin.get(DEFINITION).await.expect(200);
    live["spec"]["versions"][0]["storage"] = false.into();
    live["spec"]["versions"][1]["storage"] = true.into();
    let live = admin.put(DEFINITION, &live).await.expect(200);
    assert_eq!(live["status"]["storedVersions"], json!(["v1", "v2"]));
    let shown = loop {
        hook.forget();
        let shown = admin.get(&format!("{V1}/a")).await.expect(200);
        if hook.asked().is_empty() && admin.get(&format!("{V2}/a")).await.expect(200)["spec"]["host"] == "h" {
            break shown;
        }
    };
    assert_eq!(shown["spec"]["hostPort"], "h:1");
    let gone = json!([{"op": "remove", "path": "/spec/versions/0"}]);
    let refused = admin.patch(DEFINITION, "json-patch", &gone).await.expect(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "status.storedVersions[0]");
    // A write that changes nothing stores it anew.
    let same = admin.get(&format!("{V2}/a")).await.expect(200);
    let moved = admin.put(&format!("{V2}/a"), &same).await.expect(200);
    assert_ne!(moved["metadata"]["resourceVersion"], same["metadata"]["resourceVersion"]);
    let again = admin.put(&format!("{V2}/a"), &moved).await.expect(200);
    assert_eq!(moved["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"]);
    let stored = json!({"status": {"storedVersions": ["v2"]}});
    admin.patch(&format!("{DEFINITION}/status"), "merge-patch", &stored).await.expect(200);
    admin.patch(DEFINITION, "json-patch", &gone).await.expect(200);
    hook.forget();
    assert_eq!(admin.get(&format!("{V2}/a")).await.expect(200)["spec"]["host"], "h");
    assert!(hook.asked().is_empty());
}
