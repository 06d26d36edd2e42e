//! What cannot be understood is refused in Kubernetes' words, and nothing is stored.

use base64::Engine;
use serde_json::{Value, json};

use crate::server::{CONFIG_MAPS, Client, PODS, Server, config_map, pod};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn nothing_stored(admin: &Client) {
    assert_eq!(admin.get(CONFIG_MAPS).await.expect(200)["items"], json!([]));
    assert_eq!(admin.get(PODS).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn bodies_that_do_not_decode() {
    let server = Server::start().await;
    let admin = server.admin();
    let deep = "[".repeat(10_001) + &"]".repeat(10_001);
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): \
                        couldn't get version/kind; json parse error: ";
    for (body, why) in [
        (String::new(), "unexpected end of JSON input (<empty>)".to_owned()),
        (r#"{"apiVersion":"#.to_owned(), r#"unexpected end of JSON input ({"apiVersion":)"#.into()),
        ("{a: 1}".into(), "invalid character 'a' looking for beginning of object key string ({a: 1})".into()),
        ("nope".into(), "invalid character 'o' in literal null (expecting 'u') (6e6f7065)".into()),
        (
            format!("{{\"metadata\":{deep}}}"),
            "exceeded max depth ({\"metadata\":[[[[[[[[[[[[[[[[[[ ...)".into(),
        ),
        (
            "[1]".into(),
            "json: cannot unmarshal array into Go value of type struct { APIVersion string \
             \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b315d)"
                .into(),
        ),
    ] {
        let answer = admin.send("POST", CONFIG_MAPS, &JSON, body).await;
        answer.refused(400, "BadRequest", &format!("{unrecognized}{why}"));
    }
    let yaml = admin.send("POST", CONFIG_MAPS, &[("content-type", "application/yaml")], "a: [1\nb: 2").await;
    let message = yaml.expect(400)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("error converting YAML to JSON: yaml: "), "{message}");
    assert!(message.contains("line"), "{message}");

    let huge = format!("{{\"metadata\":{{\"name\":\"a\"}},\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(3 << 20));
    let answer = admin.send("POST", CONFIG_MAPS, &JSON, huge).await;
    let message = "Request entity too large: limit is 3145728";
    answer.refused(413, "RequestEntityTooLarge", message);
    nothing_stored(&admin).await;

    // As in Go, a byte that is not UTF-8 becomes the replacement character.
    let bad = b"{\"metadata\":{\"name\":\"utf\"},\"data\":{\"a\":\"x\xff\xfe\"}}".to_vec();
    let made = admin.send("POST", CONFIG_MAPS, &JSON, bad).await.expect(201);
    assert_eq!(made["data"]["a"], "x\u{fffd}\u{fffd}");
}

#[tokio::test]
async fn bodies_of_the_wrong_sort() {
    let server = Server::start().await;
    let admin = server.admin();
    let types = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let answer = admin.send("POST", CONFIG_MAPS, &[("content-type", "text/csv")], "a,b").await;
    let text = "the body of the request was in an unknown format - accepted media types include: ";
    answer.refused(415, "UnsupportedMediaType", &format!("{text}{types}"));
    admin.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    let answer = admin.send("PATCH", &one, &JSON, "{}").await;
    let patches = "application/json-patch+json, application/merge-patch+json, \
                   application/strategic-merge-patch+json, application/apply-patch+yaml";
    answer.refused(415, "UnsupportedMediaType", &format!("{text}{patches}"));
    let answer = admin.get_as(&one, "image/png").await;
    answer.refused(406, "NotAcceptable", &format!("only the following media types are accepted: {types}"));
    let answer = admin.get_as(&format!("{CONFIG_MAPS}?watch=1"), "application/yaml").await;
    let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    assert_eq!(answer.code, 406);
    // YAML's long texts are folded.
    let text = answer.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&format!("only the following media types are accepted: {streams}")));
    assert_eq!(admin.get_as(CONFIG_MAPS, "image/png").await.code, 406);
    assert_eq!(
        admin
            .send("POST", CONFIG_MAPS, &[("accept", "image/png"), JSON[0]], config_map("b").to_string())
            .await
            .code,
        406
    );
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/b")).await.code, 404, "what cannot be answered is not done");

    for (object, message) in [
        (
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}),
            "Deployment in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Deployment) to (core.ConfigMap): unknown conversion",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Nope", "metadata": {"name": "a"}}),
            "Nope in version \"v1\" cannot be handled as a ConfigMap: no kind \"Nope\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
    ] {
        admin.post(CONFIG_MAPS, &object).await.refused(400, "BadRequest", message);
    }
}

#[tokio::test]
async fn fields_that_do_not_fit() {
    let server = Server::start().await;
    let admin = server.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);

    let mut odd = pod("p");
    odd["spec"]["nodeNmae"] = "n".into();
    odd["spec"]["containers"][0]["imgae"] = "x".into();
    let unknown = r#"unknown field "spec.containers[0].imgae", unknown field "spec.nodeNmae""#;
    admin.post(&format!("{PODS}?fieldValidation=Strict"), &odd).await.refused(
        400,
        "BadRequest",
        &format!("Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: {unknown}"),
    );
    let answer = admin.post(&format!("{PODS}?dryRun=All"), &odd).await;
    assert_eq!(
        answer.warnings(),
        [
            r#"299 - "unknown field \"spec.containers[0].imgae\"""#,
            r#"299 - "unknown field \"spec.nodeNmae\"""#
        ]
    );
    answer.expect(201);
    assert!(
        admin.post(&format!("{PODS}?dryRun=All&fieldValidation=Ignore"), &odd).await.warnings().is_empty()
    );
    // What is wrong is told in the order of the document.
    let mixed = r#"{"zzz":1,"metadata":{"name":"p","name":"q"},"aaa":2,"data":{"a":"1","a":"2"}}"#;
    let told = r#"unknown field "zzz", duplicate field "metadata.name", unknown field "aaa", duplicate field "data.a""#;
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    admin.send("POST", &strict, &[("content-type", "application/json")], mixed).await.refused(
        400,
        "BadRequest",
        &format!(
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: {told}"
        ),
    );
    let mixed = "zzz: 1\nmetadata:\n  name: p\n  name: q\naaa: 1\n";
    let told = "error converting YAML to JSON: yaml: unmarshal errors:\n  line 4: key \"name\" already set in map, \
                unknown field \"aaa\", unknown field \"zzz\"";
    admin.send("POST", &strict, &[("content-type", "application/yaml")], mixed).await.refused(
        400,
        "BadRequest",
        &format!(
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: {told}"
        ),
    );
    let twice = r#"{"metadata":{"name":"p","name":"q"},"data":{"a":"1","a":"2"}}"#;
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    admin.send("POST", &strict, &JSON, twice).await.refused(
        400,
        "BadRequest",
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \"metadata.name\", duplicate field \"data.a\"",
    );
    admin.send("POST", &format!("{CONFIG_MAPS}?fieldValidation=Maybe"), &JSON, twice).await.refused(
        422,
        "Invalid",
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Maybe\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
    );
    admin.send("POST", &format!("{CONFIG_MAPS}?dryRun=Some"), &JSON, twice).await.refused(
        422,
        "Invalid",
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"",
    );

    let with = |pointer: &str, value: Value| {
        let mut pod = pod("p");
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value;
        pod
    };
    for (object, message) in [
        (
            with("/spec/containers", "x".into()),
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            with("/spec/hostNetwork", 1.into()),
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            with("/spec/containers/0/resources", json!({"limits": {"cpu": "1x"}})),
            "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        admin.post(PODS, &object).await.refused(400, "BadRequest", message);
    }
    let answer = admin.post(PODS, &with("/spec/containers", json!([]))).await;
    answer.refused(422, "Invalid", "Pod \"p\" is invalid: spec.containers: Required value");
    assert_eq!(
        answer.json()["details"],
        json!({"name": "p", "kind": "Pod",
            "causes": [{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}]})
    );
    let name = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    admin.post(CONFIG_MAPS, &config_map("Bad_Name")).await.refused(
        422,
        "Invalid",
        &format!("ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": {name}"),
    );
    admin.post(CONFIG_MAPS, &json!({})).await.refused(
        422,
        "Invalid",
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
    );
    nothing_stored(&admin).await;
}

#[tokio::test]
async fn paths_and_queries_that_lead_nowhere() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    admin.post(CONFIG_MAPS, &config_map("b")).await.expect(201);
    let nowhere = "the server could not find the requested resource";
    let token =
        admin.get(&format!("{CONFIG_MAPS}?limit=1")).await.expect(200)["metadata"]["continue"].clone();
    let token = token.as_str().unwrap();
    let half = &token[..token.len() / 2 / 4 * 4];
    let traversal = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../../secrets/"}"#);
    for (method, path, code, reason, message) in [
        ("GET", "/api/v1/nopes", 404, "NotFound", nowhere),
        ("GET", "/api/v1/namespaces/default/pods/p/nope", 404, "NotFound", nowhere),
        ("GET", "/api/v1/namespaces/default/nodes/n", 404, "NotFound", nowhere),
        (
            "GET",
            "/api/v1/namespaces/default/configmaps/..",
            400,
            "BadRequest",
            r#"Name parameter invalid: "..": may not be '..'"#,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/configmaps/a%25b",
            400,
            "BadRequest",
            r#"Name parameter invalid: "a%b": may not contain '%'"#,
        ),
        ("GET", "/api/v1/namespaces/../configmaps", 500, "", r#"invalid key: "/configmaps/..""#),
        ("GET", "/api/v1/namespaces/%2e%2e/configmaps", 500, "", r#"invalid key: "/configmaps/..""#),
        (
            "PUT",
            "/api/v1/pods",
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (
            "DELETE",
            "/api/v1/pods",
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (
            "GET",
            "/api/v1/pods?limit=many",
            400,
            "BadRequest",
            r#"strconv.ParseInt: parsing "many": invalid syntax"#,
        ),
        (
            "GET",
            "/api/v1/pods?resourceVersion=new",
            400,
            "BadRequest",
            r#"invalid resource version: resourceVersion: Invalid value: "new": strconv.ParseUint: parsing "new": invalid syntax"#,
        ),
        (
            "GET",
            "/api/v1/pods?resourceVersion=-1",
            400,
            "BadRequest",
            r#"invalid resource version: resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": invalid syntax"#,
        ),
        (
            "GET",
            "/api/v1/pods?continue=!",
            400,
            "BadRequest",
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 0",
        ),
        (
            "GET",
            &format!("{CONFIG_MAPS}?continue={half}"),
            400,
            "BadRequest",
            "invalid continue token: continue key is not valid: unexpected end of JSON input",
        ),
        (
            "GET",
            &format!("{CONFIG_MAPS}?continue={traversal}"),
            400,
            "BadRequest",
            "invalid continue token: continue key is not valid: ../../secrets/",
        ),
        (
            "GET",
            &format!("{CONFIG_MAPS}?continue={token}&resourceVersion=1"),
            400,
            "BadRequest",
            "specifying resource version is not allowed when using continue",
        ),
        (
            "GET",
            "/api/v1/pods?resourceVersionMatch=Exact",
            422,
            "Invalid",
            r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"#,
        ),
        (
            "GET",
            "/api/v1/pods?fieldSelector=nope",
            400,
            "BadRequest",
            "invalid selector: 'nope'; can't understand 'nope'",
        ),
        (
            "GET",
            "/api/v1/pods?fieldSelector=spec.nope%3D1",
            400,
            "BadRequest",
            "field label not supported: spec.nope",
        ),
        (
            "GET",
            "/api/v1/configmaps?fieldSelector=data.a%3D1",
            400,
            "BadRequest",
            r#""data.a" is not a known field selector: only "metadata.name", "metadata.namespace""#,
        ),
        (
            "GET",
            "/api/v1/pods?labelSelector=a%3D%3D%3Db",
            400,
            "BadRequest",
            "unable to parse requirement: found '=', expected: identifier",
        ),
        (
            "GET",
            "/api/v1/pods?labelSelector=a%20in%20(b",
            400,
            "BadRequest",
            "unable to parse requirement: found '', expected: ',' or ')'",
        ),
    ] {
        let answer = admin.send(method, path, &[], "").await;
        assert_eq!(answer.code, code, "{path}: {}", answer.text());
        answer.refused(code, reason, message);
    }
    let all = admin.get(&format!("{CONFIG_MAPS}?limit=-1")).await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 2, "a negative limit is none");
}
