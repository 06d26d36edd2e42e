//! What a client can find out before it knows anything.

use serde_json::{Value, json};

use crate::server::Server;

#[tokio::test]
async fn discovery_is_answered_in_both_forms() {
    let server = Server::start().await;
    let admin = server.admin();
    let root = admin.get("/").await.expect(200);
    let paths: Vec<&str> =
        root["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    for path in [
        "/api",
        "/api/v1",
        "/apis/apps",
        "/apis/apps/v1",
        "/healthz/ping",
        "/openapi/v3/apis/apps/v1",
        "/version",
    ] {
        assert!(paths.contains(&path), "{path}");
    }
    for path in paths {
        assert_eq!(admin.get(path).await.code, 200, "{path}");
    }
    let versions = admin.get("/api").await.expect(200);
    assert_eq!((&versions["kind"], &versions["versions"]), (&json!("APIVersions"), &json!(["v1"])));
    let groups = admin.get("/apis").await.expect(200);
    assert_eq!(groups["kind"], "APIGroupList");
    let apps = admin.get("/apis/apps").await.expect(200);
    assert_eq!(apps["preferredVersion"], json!({"groupVersion": "apps/v1", "version": "v1"}));
    let resources = admin.get("/api/v1").await.expect(200);
    let find = |name: &str| {
        let list = resources["resources"].as_array().unwrap();
        list.iter().find(|resource| resource["name"] == name).unwrap().clone()
    };
    let pods = find("pods");
    assert_eq!(pods["shortNames"], json!(["po"]));
    assert_eq!(pods["storageVersionHash"], "xPOwRZ+Yhw8=");
    assert_eq!(
        pods["verbs"],
        json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"])
    );
    assert_eq!(find("pods/eviction")["kind"], "Eviction");
    assert_eq!(find("replicationcontrollers/scale")["group"], "autoscaling");

    for version in ["v2", "v2beta1"] {
        let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
        for path in ["/api", "/apis"] {
            let answer = admin.get_as(path, &format!("{media},application/json")).await;
            assert_eq!(answer.header("content-type"), media);
            let tag = answer.header("etag").to_owned();
            let list = answer.expect(200);
            assert_eq!(list["apiVersion"], format!("apidiscovery.k8s.io/{version}"));
            assert_eq!(list["items"][0]["versions"][0]["freshness"], "Current");
            let headers = [("accept", media.as_str()), ("if-none-match", tag.as_str())];
            let again = admin.send("GET", path, &headers, "").await;
            assert_eq!((again.code, again.body.len()), (304, 0));
            let headers = [("accept", media.as_str()), ("if-none-match", "\"other\"")];
            assert_eq!(admin.send("GET", path, &headers, "").await.code, 200);
        }
    }
    // A group that is there answers for its versions.
    let text = "the server could not find the requested resource";
    admin.get("/apis/apps/v7").await.refused(404, "NotFound", text);
    for path in ["/nope", "/apis/nope", "/apis/nope/v1/pods", "/api/v7"] {
        let answer = admin.get(path).await;
        assert_eq!((answer.code, answer.text().as_str()), (404, "404 page not found\n"), "{path}");
    }
    let version = server.nobody().get("/version").await.expect(200);
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.36"));
}

#[tokio::test]
async fn health_is_told_whole_and_check_by_check() {
    let server = Server::start().await;
    let admin = server.admin();
    for name in ["healthz", "livez", "readyz"] {
        let answer = server.nobody().get(&format!("/{name}")).await;
        assert_eq!((answer.code, answer.text().as_str()), (200, "ok"));
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        let verbose = server.nobody().get(&format!("/{name}?verbose")).await.text();
        assert!(verbose.starts_with("[+]ping ok\n[+]etcd ok\n"), "{verbose}");
        assert!(verbose.ends_with(&format!("{name} check passed\n")), "{verbose}");
        let answer = admin.get(&format!("/{name}?verbose&exclude=etcd&exclude=nope")).await.text();
        assert!(answer.contains("[+]etcd excluded: ok\n"), "{answer}");
        assert!(
            answer.contains("warn: some health checks cannot be excluded: no matches for \"nope\"\n"),
            "{answer}"
        );
        assert_eq!(admin.get(&format!("/{name}/etcd")).await.text(), "ok");
        assert_eq!(admin.get(&format!("/{name}/nope")).await.code, 404);
    }
    assert!(admin.get("/readyz?verbose").await.text().contains("[+]informer-sync ok\n"));
    assert!(!admin.get("/livez?verbose").await.text().contains("informer-sync"));
}

#[tokio::test]
async fn metrics_count_what_was_asked() {
    const SECRETS: &str = "/api/v1/namespaces/default/secrets";
    let secret = |name: &str| json!({"metadata": {"name": name}});
    let server = Server::start().await;
    let admin = server.admin();
    admin.post(SECRETS, &secret("counted")).await.expect(201);
    admin.post(&format!("{SECRETS}?dryRun=All"), &secret("dry")).await.expect(201);
    admin.get(&format!("{SECRETS}/none")).await.expect(404);
    admin.get("/api/v1/strange").await.expect(404);
    let mut watch = admin.watch(&format!("{SECRETS}?watch=1")).await;
    watch.event().await;
    let answer = admin.get("/metrics").await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = answer.text();
    let line = |name: &str, labels: &[&str]| {
        let found = text
            .lines()
            .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        found.unwrap_or_else(|| panic!("{name} {labels:?} in {text}")).rsplit(' ').next().unwrap().to_owned()
    };
    let maps = [r#"resource="secrets""#, r#"scope="resource""#, r#"component="apiserver""#];
    let counted = |verb: &str, code: &str| {
        line("apiserver_request_total", &[&[verb, code, r#"dry_run="""#][..], &maps[..1]].concat())
    };
    assert_eq!(counted(r#"verb="GET""#, r#"code="404""#), "1");
    assert_eq!(counted(r#"verb="POST""#, r#"code="201""#), "1");
    assert_eq!(line("apiserver_request_total", &[r#"dry_run="All""#, maps[0]]), "1");
    assert_eq!(
        line("apiserver_request_duration_seconds_count", &[r#"verb="GET""#, maps[0], maps[1], maps[2]]),
        "1"
    );
    assert_eq!(line("apiserver_longrunning_requests", &[r#"verb="WATCH""#, maps[0]]), "1");
    assert_eq!(line("apiserver_watch_events_total", &[maps[0]]), "1");
    assert_eq!(line("apiserver_resource_objects", &[maps[0]]), "1");
    assert!(!text.contains("strange"), "what is not served makes no series of its own");
    drop(watch);
}

#[tokio::test]
async fn openapi_3_is_kept_by_its_hash() {
    let server = Server::start().await;
    let admin = server.admin();
    let index = admin.get("/openapi/v3").await;
    let tag = index.header("etag").to_owned();
    let index = index.expect(200);
    assert_eq!(admin.send("GET", "/openapi/v3", &[("if-none-match", tag.as_str())], "").await.code, 304);
    let address = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let answer = admin.get(address).await;
    assert_eq!(answer.header("cache-control"), "public, immutable");
    assert!(answer.header("expires").ends_with("GMT"));
    let tag = answer.header("etag").to_owned();
    assert!(address.ends_with(&format!("hash={}", tag.trim_matches('"'))));
    let document = answer.expect(200);
    assert_eq!(document["openapi"], "3.0.0");
    assert!(document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    assert_eq!(admin.send("GET", address, &[("if-none-match", tag.as_str())], "").await.code, 304);
    let wrong = admin.get("/openapi/v3/apis/apps/v1?hash=0").await;
    assert_eq!((wrong.code, wrong.header("location")), (301, address));
    let plain = admin.get("/openapi/v3/apis/apps/v1").await;
    assert_eq!((plain.code, plain.header("cache-control")), (200, "no-cache, private"));
    assert_eq!(admin.get("/openapi/v3/apis/nope/v1").await.code, 404);
}

/// The fields of a protobuf message that hold bytes.
fn fields(bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let (mut at, mut found) = (0, Vec::new());
    let varint = |at: &mut usize| {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = bytes[*at];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    };
    while at < bytes.len() {
        let key = varint(&mut at);
        let value = varint(&mut at);
        if key & 7 == 2 {
            let end = at + usize::try_from(value).unwrap();
            found.push((key >> 3, &bytes[at..end]));
            at = end;
        }
    }
    found
}

#[tokio::test]
async fn openapi_2_comes_as_json_and_as_protobuf() {
    let server = Server::start().await;
    let admin = server.admin();
    let answer = admin.get("/openapi/v2").await;
    let tag = answer.header("etag").to_owned();
    let json = answer.expect(200);
    assert_eq!(json["swagger"], "2.0");
    assert_eq!(admin.send("GET", "/openapi/v2", &[("if-none-match", tag.as_str())], "").await.code, 304);
    for media in [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    ] {
        let answer = admin.get_as("/openapi/v2", media).await;
        assert_eq!(
            answer.header("content-type"),
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        );
        let document = fields(&answer.body);
        assert_eq!(document[0], (1, &b"2.0"[..]));
        let (_, definitions) = document.iter().find(|(number, _)| *number == 9).unwrap();
        let names: Vec<String> = fields(definitions)
            .iter()
            .map(|(_, entry)| String::from_utf8(fields(entry)[0].1.to_vec()).unwrap())
            .collect();
        let expected: Vec<&String> = json["definitions"].as_object().unwrap().keys().collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), expected);
        let (_, paths) = document.iter().find(|(number, _)| *number == 8).unwrap();
        assert_eq!(fields(paths).len(), json["paths"].as_object().unwrap().len());
    }
    assert_eq!(admin.get_as("/openapi/v2", "text/csv").await.code, 406);
    assert_ne!(json["definitions"], Value::Null);
}
