//! Events: two presentations of the same objects, which end by themselves.

use serde_json::{Value, json};

use crate::server::{Server, names, version};

const CORE: &str = "/api/v1/namespaces/default/events";
const OWN: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn core_event(name: &str) -> Value {
    json!({"metadata": {"name": name}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "Pulled", "message": "it is here", "source": {"component": "agent", "host": "n"}, "type": "Normal",
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:05Z", "count": 3})
}

#[tokio::test]
async fn both_groups_show_the_same_events() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = admin.post(CORE, &core_event("a")).await.expect(201);
    let shown = admin.get(&format!("{OWN}/a")).await.expect(200);
    assert_eq!((&shown["apiVersion"], &shown["kind"]), (&json!("events.k8s.io/v1"), &json!("Event")));
    assert_eq!(shown["regarding"], made["involvedObject"]);
    assert_eq!((&shown["note"], &shown["deprecatedCount"]), (&json!("it is here"), &json!(3)));
    assert_eq!(shown["deprecatedSource"], json!({"component": "agent", "host": "n"}));
    assert_eq!(shown["deprecatedLastTimestamp"], "2026-01-01T00:00:05Z");
    assert!(shown.get("message").is_none() && shown.get("involvedObject").is_none());
    assert_eq!(shown["metadata"], made["metadata"]);

    let event = json!({"metadata": {"name": "b"}, "regarding": {"kind": "Pod", "namespace": "default", "name": "q"},
        "reason": "Started", "action": "Start", "note": "go", "type": "Normal", "eventTime": "2026-01-01T00:00:00.000001Z",
        "reportingController": "example.com/agent", "reportingInstance": "agent-1",
        "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
    let mut watch = admin.watch(&format!("{OWN}?watch=1&resourceVersion={}", version(&made))).await;
    let mine = admin.post(OWN, &event).await.expect(201);
    let seen = watch.next().await.unwrap();
    assert_eq!((&seen["type"], &seen["object"]), (&json!("ADDED"), &mine));
    let theirs = admin.get(&format!("{CORE}/b")).await.expect(200);
    assert_eq!((&theirs["apiVersion"], &theirs["message"]), (&json!("v1"), &json!("go")));
    assert_eq!(theirs["reportingComponent"], "example.com/agent");
    assert_eq!(theirs["series"], event["series"]);
    assert_eq!(version(&theirs), version(&mine));

    // Changes of either are changes of both.
    let patch = json!({"series": {"count": 9, "lastObservedTime": "2026-01-01T00:00:02.000000Z"}});
    let patched = admin.patch(&format!("{OWN}/b"), "merge-patch", &patch).await.expect(200);
    assert_eq!(admin.get(&format!("{CORE}/b")).await.expect(200)["series"]["count"], 9);
    assert_eq!(admin.get(&format!("{OWN}/b")).await.expect(200), patched);
    assert_eq!(admin.post(CORE, &core_event("b")).await.code, 409);

    for (path, query, expected) in [
        (CORE, "", vec!["a", "b"]),
        (OWN, "", vec!["a", "b"]),
        (OWN, "?limit=1&resourceVersion=0", vec!["a"]),
        (CORE, "?fieldSelector=involvedObject.name%3Dq", vec!["b"]),
        (OWN, "?fieldSelector=regarding.name%3Dq", vec!["b"]),
        (OWN, "?fieldSelector=reportingController%3Dexample.com/agent", vec!["b"]),
        (CORE, "?fieldSelector=reason%3DPulled", vec!["a"]),
        (CORE, "?fieldSelector=source%3Dagent", vec!["a"]),
        (CORE, "?fieldSelector=source%3Dexample.com/agent", vec!["b"]),
    ] {
        let list = admin.get(&format!("{path}{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{path}{query}");
        assert_eq!(list["kind"], "EventList");
    }
    let page = admin.get(&format!("{OWN}?limit=1")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().unwrap();
    let rest = admin.get(&format!("{OWN}?limit=1&continue={token}")).await.expect(200);
    assert_eq!((names(&rest), &rest["items"][0]["note"]), (vec!["b"], &json!("go")));
    for path in [CORE, OWN] {
        let table = admin.get_as(path, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
        let cells: Vec<&Value> = table["rows"].as_array().unwrap().iter().map(|row| &row["cells"]).collect();
        assert_eq!((&cells[0][3], &cells[0][6]), (&json!("pod/p"), &json!("it is here")));
        assert_eq!(&cells[1][3], "pod/q");
    }
    admin.delete(&format!("{OWN}/a")).await.expect(200);
    assert_eq!(names(&admin.get(CORE).await.expect(200)), ["b"]);
    admin.delete(OWN).await.expect(200);
    assert_eq!(admin.get(CORE).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn what_has_a_time_to_live_ends_by_itself() {
    let registry = skiff_api::builtin::registry();
    for group in ["", "events.k8s.io"] {
        assert_eq!(
            registry.resource(group, "v1", "events").unwrap().ttl_s,
            Some(3600),
            "an event lives for an hour"
        );
    }
    let kind = include_str!("widget.txt").replace("gen short=wd", "gen ttl=1 short=wd");
    let server = Server::with(&kind).await;
    let admin = server.admin();
    let widgets = "/apis/shop.example/v1/namespaces/default/widgets";
    let made =
        admin.post(widgets, &json!({"metadata": {"name": "w"}, "spec": {"color": "red"}})).await.expect(201);
    let mut watch = admin.watch(&format!("{widgets}?watch=1&resourceVersion={}", version(&made))).await;
    assert_eq!(watch.event().await, ("DELETED".to_owned(), "w".to_owned()));
    assert_eq!(admin.get(&format!("{widgets}/w")).await.code, 404);
}
