//! Protobuf over HTTP as upstream's own clients speak it, and objects that Kubernetes has stored.

use serde_json::json;
use skiff_api::{protobuf, schema, walk};
use skiff_storage::{Expect, Op};

use crate::server::{CONFIG_MAPS, Server, config_map, pod};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What client-go accepts by default.
const BOTH: &str = "application/vnd.kubernetes.protobuf,application/json";

fn read(bytes: &[u8]) -> serde_json::Value {
    protobuf::stored(bytes).unwrap().expect("an object")
}

#[tokio::test]
async fn objects_lists_and_refusals_are_answered_in_protobuf() {
    let server = Server::start().await;
    let admin = server.admin();
    let body = protobuf::encode(&config_map("a")).unwrap();
    let made = admin.send("POST", CONFIG_MAPS, &[("content-type", PROTOBUF), ("accept", BOTH)], body).await;
    assert_eq!((made.code, made.header("content-type")), (201, PROTOBUF));
    let made = read(&made.body);
    let one = format!("{CONFIG_MAPS}/a");
    assert_eq!(made, admin.get(&one).await.expect(200));
    assert_eq!(made, read(&admin.get_as(&one, PROTOBUF).await.body));

    let list = admin.get_as(CONFIG_MAPS, BOTH).await;
    assert_eq!(list.header("content-type"), PROTOBUF);
    let items: Vec<_> = admin.get(CONFIG_MAPS).await.expect(200)["items"].as_array().unwrap().clone();
    assert!(!items.is_empty());
    // A list is its metadata and its items, each as it would stand alone.
    let alone = protobuf::encode(&made).unwrap();
    let raw = &alone[alone.windows(2).position(|part| part == b"\x12\x09").unwrap() + 11..];
    assert!(list.body.windows(40).any(|part| raw.windows(40).any(|other| other == part)));

    let missing = admin.get_as(&format!("{CONFIG_MAPS}/none"), BOTH).await;
    assert_eq!((missing.code, missing.header("content-type")), (404, PROTOBUF));
    assert_eq!(read(&missing.body)["reason"], "NotFound");

    let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let partial = read(&admin.get_as(&one, partial).await.body);
    assert_eq!(
        (&partial["kind"], &partial["metadata"]["uid"]),
        (&json!("PartialObjectMetadata"), &made["metadata"]["uid"])
    );

    let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
    let table = admin.get_as(&one, table).await;
    assert_eq!(table.code, 406);
    assert!(read(&table.body)["message"].as_str().unwrap().contains("does not implement the protobuf"));

    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let options = protobuf::encode(&options).unwrap();
    let refused = admin.send("DELETE", &one, &[("content-type", PROTOBUF)], options).await;
    refused.expect(409);
}

#[tokio::test]
async fn what_has_no_protobuf_form_is_answered_in_json_or_not_at_all() {
    let server = Server::with(include_str!("widget.txt")).await;
    let admin = server.admin();
    let widgets = "/apis/shop.example/v1/namespaces/default/widgets";
    let widget = json!({"apiVersion": "shop.example/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"color": "red"}});
    admin.post(widgets, &widget).await.expect(201);
    let answer = admin.get_as(&format!("{widgets}/w"), BOTH).await;
    assert_eq!(answer.header("content-type"), "application/json");
    answer.expect(200);
    assert_eq!(admin.get_as(&format!("{widgets}/w"), PROTOBUF).await.code, 406);
}

#[tokio::test]
async fn a_watch_is_framed_by_length() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let path = format!(
        "{CONFIG_MAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true\
                        &resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3Da&timeoutSeconds=1"
    );
    let answer = admin.get_as(&path, BOTH).await;
    assert_eq!(answer.header("content-type"), "application/vnd.kubernetes.protobuf;stream=watch");
    let mut rest = &answer.body[..];
    let mut frames = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        frames.push(frame);
        rest = after;
    }
    assert_eq!(frames.len(), 2, "one object and the mark of the end");
    let object = |frame: &[u8]| {
        let start = frame.windows(4).position(|part| part == protobuf::MAGIC).unwrap();
        read(&frame[start..])
    };
    assert!(frames[0].starts_with(b"\x0a\x05ADDED\x12"));
    assert_eq!(object(frames[0]), admin.get(&format!("{CONFIG_MAPS}/a")).await.expect(200));
    assert!(frames[1].starts_with(b"\x0a\x08BOOKMARK\x12"));
    assert_eq!(object(frames[1])["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn what_kubernetes_stored_is_served_and_can_be_changed() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut stored = pod("p");
    stored["metadata"]["namespace"] = "default".into();
    stored["metadata"]["uid"] = "u".into();
    // A write would add the default ones.
    stored["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    let schema = schema::definition("io.k8s.api.core.v1.Pod").unwrap();
    walk::default(schema, &mut stored);
    walk::normalise(schema, &mut stored);
    let value = protobuf::encode(&stored).unwrap();
    let op = Op::Put { value: value.into(), ttl_s: None };
    server.app.storage.write("/registry/pods/default/p", Expect::Absent, op).await.unwrap();

    let path = "/api/v1/namespaces/default/pods/p";
    let mut seen = admin.get(path).await.expect(200);
    seen["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(seen, stored);
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    let changed = admin.patch(path, "merge-patch", &patch).await.expect(200);
    assert_eq!(changed["metadata"]["labels"]["a"], "b");
    assert_eq!(changed["spec"], stored["spec"]);
}
