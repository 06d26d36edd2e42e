//! Lists: of which moment, of which objects, in which form.

use std::io::Read;

use serde_json::{Value, json};
use skiff_storage::embedded::Options;

use crate::server::{CONFIG_MAPS, Client, PODS, Server, config_map, make_account, names, pod, version};

async fn fill(admin: &Client, all: &[&str]) {
    for name in all {
        admin.post(CONFIG_MAPS, &config_map(name)).await.expect(201);
    }
}

#[tokio::test]
async fn a_list_shows_the_moment_that_is_asked_for() {
    let server = Server::start().await;
    let admin = server.admin();
    fill(&admin, &["a", "b"]).await;
    let before = admin.get(CONFIG_MAPS).await.expect(200);
    let then = version(&before);
    fill(&admin, &["c"]).await;
    admin.delete(&format!("{CONFIG_MAPS}/a")).await.expect(200);
    let at = |query: String| {
        let admin = admin.clone();
        async move { admin.get(&format!("{CONFIG_MAPS}?{query}")).await.expect(200) }
    };
    assert_eq!(names(&at(String::new()).await), ["b", "c"], "unset is the newest");
    assert_eq!(names(&at("resourceVersion=0".into()).await), ["b", "c"]);
    let exact = at(format!("resourceVersion={then}&resourceVersionMatch=Exact")).await;
    assert_eq!((names(&exact), version(&exact)), (vec!["a", "b"], then));
    let newer = at(format!("resourceVersion={then}&resourceVersionMatch=NotOlderThan")).await;
    assert_eq!(names(&newer), ["b", "c"]);
    let page = at(format!("resourceVersion={then}&limit=1")).await;
    assert_eq!((names(&page), version(&page)), (vec!["a"], then), "a page of a version is of that version");

    let future: u64 = version(&newer).parse::<u64>().unwrap() + 1000;
    for way in ["&resourceVersionMatch=Exact", "&resourceVersionMatch=NotOlderThan", ""] {
        let answer = admin.get(&format!("{CONFIG_MAPS}?resourceVersion={future}{way}")).await;
        let status = answer.expect(504);
        assert_eq!(
            (&status["reason"], &status["details"]["retryAfterSeconds"]),
            (&json!("Timeout"), &json!(1))
        );
        assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
        let message = status["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("Timeout: Too large resource version: {future}, current: ")));
    }
    let one = admin.get(&format!("{CONFIG_MAPS}/b?resourceVersion=0")).await.expect(200);
    assert_eq!(one["metadata"]["name"], "b");
}

#[tokio::test]
async fn pages_are_of_one_moment_while_objects_change() {
    let server = Server::start().await;
    let admin = server.admin();
    fill(&admin, &["a", "b", "c", "d", "e"]).await;
    let first = admin.get(&format!("{CONFIG_MAPS}?limit=2")).await.expect(200);
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    admin.delete(&format!("{CONFIG_MAPS}/d")).await.expect(200);
    fill(&admin, &["cc", "f"]).await;
    admin.patch(&format!("{CONFIG_MAPS}/c"), "merge-patch", &json!({"data": {"a": "2"}})).await.expect(200);
    let next = |page: &Value| {
        let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
        let admin = admin.clone();
        async move { admin.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.expect(200) }
    };
    let second = next(&first).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["items"][0]["data"]["a"], "1");
    assert_eq!(second["metadata"]["remainingItemCount"], 1);
    let third = next(&second).await;
    assert_eq!(names(&third), ["e"]);
    assert!(third["metadata"].get("continue").is_none());
    assert_eq!((version(&second), version(&third)), (version(&first), version(&first)));

    // With selectors no one knows how many are left.
    let mut labelled = config_map("z");
    labelled["metadata"]["labels"] = json!({"x": "y"});
    admin.post(CONFIG_MAPS, &labelled).await.expect(201);
    labelled["metadata"]["name"] = "zz".into();
    admin.post(CONFIG_MAPS, &labelled).await.expect(201);
    let selected = admin.get(&format!("{CONFIG_MAPS}?limit=1&labelSelector=x%3Dy")).await.expect(200);
    assert_eq!(names(&selected), ["z"]);
    assert!(selected["metadata"].get("remainingItemCount").is_none());
    let token = selected["metadata"]["continue"].as_str().unwrap();
    let rest =
        admin.get(&format!("{CONFIG_MAPS}?limit=1&labelSelector=x%3Dy&continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["zz"]);

    // A token of a list of everything goes on across namespaces.
    let all = admin.get("/api/v1/configmaps?limit=6").await.expect(200);
    let token = all["metadata"]["continue"].as_str().unwrap();
    let rest = admin.get(&format!("/api/v1/configmaps?continue={token}")).await.expect(200);
    let whole = admin.get("/api/v1/configmaps").await.expect(200);
    assert_eq!([names(&all), names(&rest)].concat(), names(&whole));
}

#[tokio::test]
async fn an_expired_token_comes_with_one_that_goes_on() {
    let server = Server::start().await;
    let admin = server.admin();
    fill(&admin, &["a", "b", "c"]).await;
    let first = admin.get(&format!("{CONFIG_MAPS}?limit=1")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    admin.delete(&format!("{CONFIG_MAPS}/b")).await.expect(200);
    let now = server.app.storage.revision().await.unwrap();
    server.app.storage.compact(now).await.unwrap();
    let answer = admin.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await;
    let status = answer.expect(410);
    assert_eq!(status["reason"], "Expired");
    assert!(status["message"].as_str().unwrap().starts_with("The provided continue parameter is too old"));
    let token = status["metadata"]["continue"].as_str().unwrap();
    let rest = admin.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["c"], "the rest, as things are now");
    let old = version(&first);
    let answer = admin.get(&format!("{CONFIG_MAPS}?resourceVersion={old}&resourceVersionMatch=Exact")).await;
    answer.refused(410, "Expired", "The resourceVersion for the provided list is too old.");
}

#[tokio::test]
async fn history_ends_where_the_store_forgets() {
    let options = Options { history_events: 4, ..Options::default() };
    let server = Server::with_store("", options).await;
    let admin = server.admin();
    fill(&admin, &["a", "b"]).await;
    let first = admin.get(&format!("{CONFIG_MAPS}?limit=1")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    fill(&admin, &["c", "d", "e", "f", "g"]).await;
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}?continue={token}")).await.code, 410);
}

#[tokio::test]
async fn selectors_choose_by_label_and_field() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    for (name, labels, node) in [
        ("p1", json!({"app": "web", "tier": "front"}), "n1"),
        ("p2", json!({"app": "web"}), "n2"),
        ("p3", json!({"app": "db"}), ""),
    ] {
        let mut pod = pod(name);
        pod["metadata"]["labels"] = labels;
        if !node.is_empty() {
            pod["spec"]["nodeName"] = node.into();
        }
        admin.post(PODS, &pod).await.expect(201);
    }
    for (query, expected) in [
        ("labelSelector=app%3Dweb", vec!["p1", "p2"]),
        ("labelSelector=app%3D%3Dweb,tier!%3Dfront", vec!["p2"]),
        ("labelSelector=app+in+(db,cache)", vec!["p3"]),
        ("labelSelector=tier", vec!["p1"]),
        ("labelSelector=!tier", vec!["p2", "p3"]),
        ("labelSelector=app+notin+(web)", vec!["p3"]),
        ("fieldSelector=spec.nodeName%3Dn1", vec!["p1"]),
        ("fieldSelector=spec.nodeName%3D", vec!["p3"]),
        ("fieldSelector=metadata.name!%3Dp1,status.phase%3DPending", vec!["p2", "p3"]),
        ("fieldSelector=metadata.name%3Dp2&labelSelector=app%3Dweb", vec!["p2"]),
    ] {
        let list = admin.get(&format!("{PODS}?{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{query}");
        let list = admin.get(&format!("/api/v1/pods?{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{query} everywhere");
    }
}

#[tokio::test]
async fn answers_take_the_form_that_is_asked_for() {
    let server = Server::start().await;
    let admin = server.admin();
    fill(&admin, &["a", "b"]).await;
    let one = format!("{CONFIG_MAPS}/a");
    for version in ["v1", "v1beta1"] {
        let accept = format!("application/json;as=Table;v={version};g=meta.k8s.io,application/json");
        let table = admin.get_as(CONFIG_MAPS, &accept).await.expect(200);
        assert_eq!(table["apiVersion"], format!("meta.k8s.io/{version}"));
        assert_eq!((&table["kind"], table["rows"].as_array().unwrap().len()), (&json!("Table"), 2));
        let row = &table["rows"][0];
        assert_eq!(
            (&row["cells"][0], &row["object"]["kind"]),
            (&json!("a"), &json!("PartialObjectMetadata"))
        );
        let table = admin.get_as(&format!("{one}?includeObject=Object"), &accept).await.expect(200);
        assert_eq!(table["rows"][0]["object"]["data"], json!({"a": "1"}));
        let table = admin.get_as(&format!("{one}?includeObject=None"), &accept).await.expect(200);
        assert_eq!(table["rows"][0]["object"], Value::Null);
        let answer = admin.get_as(&format!("{one}?includeObject=Half"), &accept).await;
        answer.refused(
            400,
            "BadRequest",
            "Unable to convert to Table as requested: includeObject: Invalid value: \"Half\": must be 'Metadata', 'Object', 'None', or empty",
        );

        let accept = format!("application/json;as=PartialObjectMetadataList;v={version};g=meta.k8s.io");
        let list = admin.get_as(CONFIG_MAPS, &accept).await.expect(200);
        assert_eq!(list["kind"], "PartialObjectMetadataList");
        assert_eq!(list["apiVersion"], format!("meta.k8s.io/{version}"));
        assert!(list["items"][1].get("data").is_none());
        assert_eq!(names(&list), ["a", "b"]);
        let message = "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)";
        admin.get_as(&one, &accept).await.refused(406, "NotAcceptable", message);
        let accept = format!("application/json;as=PartialObjectMetadata;v={version};g=meta.k8s.io");
        let object = admin.get_as(&one, &accept).await.expect(200);
        assert_eq!(
            (&object["kind"], &object["metadata"]["name"]),
            (&json!("PartialObjectMetadata"), &json!("a"))
        );
        let message =
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
        admin.get_as(CONFIG_MAPS, &accept).await.refused(406, "NotAcceptable", message);
    }

    let yaml = admin.get_as(&one, "application/yaml").await;
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(yaml.text().contains("\nkind: ConfigMap\n"), "{}", yaml.text());
    let sent = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yam\ndata:\n  k: 'on'\n";
    let made =
        admin.send("POST", CONFIG_MAPS, &[("content-type", "application/yaml")], sent).await.expect(201);
    assert_eq!(made["data"]["k"], "on");

    let plain = admin.get(&one).await;
    assert!(!plain.text().trim_end().contains('\n'));
    assert!(admin.get(&format!("{one}?pretty=true")).await.text().contains("\n  \"metadata\": {\n    "));
    assert!(admin.send("GET", &one, &[("user-agent", "curl/8.0")], "").await.text().contains("\n  "));
    assert_eq!(admin.get(&format!("{one}?pretty=1")).await.json(), plain.json());

    let mut large = config_map("large");
    large["data"]["a"] = "x".repeat(200 << 10).into();
    let made = admin.post(CONFIG_MAPS, &large).await.expect(201);
    let packed = admin.send("GET", &format!("{CONFIG_MAPS}/large"), &[("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), made);
    let small = admin.send("GET", &one, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(small.header("content-encoding"), "", "what is small is not compressed");
    let head = admin.send("HEAD", &one, &[], "").await;
    assert_eq!((head.code, head.body.len()), (200, 0));
}
