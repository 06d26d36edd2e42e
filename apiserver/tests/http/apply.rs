//! Server-side apply and the managers of fields, over HTTP.

use serde_json::{Value, json};

use crate::server::{Answer, Client, Server};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn apply(client: &Client, path: &str, object: &Value) -> Answer {
    let headers = [("content-type", "application/apply-patch+yaml")];
    client.send("PATCH", path, &headers, object.to_string()).await
}

fn web(replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "c", "image": "nginx:1"}]}}}})
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

/// The managers of an object: name, operation, subresource.
fn managers(object: &Value) -> Vec<(String, String, String)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .map(|entry| (text(entry, "manager"), text(entry, "operation"), text(entry, "subresource")))
        .collect()
}

fn entry<'a>(object: &'a Value, manager: &str) -> &'a Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries.iter().find(|entry| entry["manager"] == manager).unwrap_or(&Value::Null)
}

fn owned(manager: &str, operation: &str, subresource: &str) -> (String, String, String) {
    (manager.into(), operation.into(), subresource.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_creates_changes_and_leaves_alone() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = format!("{DEPLOYMENTS}/web?fieldManager=me");
    let made = apply(&admin, &path, &web(3)).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let first = made.json();
    assert_eq!(managers(&first), [owned("me", "Apply", "")]);
    assert_eq!(first["spec"]["strategy"]["type"], "RollingUpdate");
    let fields = &entry(&first, "me")["fieldsV1"];
    assert_eq!(fields["f:spec"]["f:replicas"], json!({}));
    assert!(fields["f:spec"]["f:strategy"].is_null() && fields["f:metadata"].is_null(), "{fields}");

    // The same again changes nothing, not even the version.
    let again = apply(&admin, &path, &web(3)).await;
    assert_eq!((again.code, again.json()), (200, first.clone()));

    // What is applied no more is gone.
    let path = format!("{CONFIG_MAPS}/m?fieldManager=me");
    apply(&admin, &path, &map(json!({"a": "1", "b": "2"}))).await;
    let other = format!("{CONFIG_MAPS}/m?fieldManager=other");
    let both = apply(&admin, &other, &map(json!({"b": "2", "c": "3"}))).await.json();
    assert_eq!(both["data"], json!({"a": "1", "b": "2", "c": "3"}));
    let less = apply(&admin, &path, &map(json!({}))).await.json();
    assert_eq!(less["data"], json!({"b": "2", "c": "3"}), "who shares a field keeps it");
    assert_eq!(entry(&less, "me")["fieldsV1"], json!({"f:data": {}}), "an empty map is a field, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_name_their_managers_and_can_be_forced() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = format!("{DEPLOYMENTS}/web?fieldManager=me");
    apply(&admin, &path, &web(3)).await;
    let merge = [("content-type", "application/merge-patch+json"), ("user-agent", "scaler/v1 (linux)")];
    let patch = json!({"spec": {"replicas": 5}}).to_string();
    let scaled = admin.send("PATCH", &format!("{DEPLOYMENTS}/web"), &merge, patch).await.json();
    assert_eq!(managers(&scaled), [owned("me", "Apply", ""), owned("scaler", "Update", "")]);

    let refused = apply(&admin, &path, &web(3)).await;
    let status = refused.json();
    assert_eq!((refused.code, &status["reason"]), (409, &json!("Conflict")));
    let message = r#"Apply failed with 1 conflict: conflict with "scaler" using apps/v1: .spec.replicas"#;
    assert_eq!(status["message"], message);
    let cause = json!({"reason": "FieldManagerConflict", "field": ".spec.replicas",
        "message": r#"conflict with "scaler" using apps/v1"#});
    assert_eq!(status["details"], json!({"causes": [cause]}));

    let dry = apply(&admin, &format!("{path}&force=true&dryRun=All"), &web(3)).await;
    assert_eq!((dry.code, &dry.json()["spec"]["replicas"]), (200, &json!(3)));
    let live = admin.get(&format!("{DEPLOYMENTS}/web")).await.json();
    assert_eq!(live["spec"]["replicas"], 5);
    let forced = apply(&admin, &format!("{path}&force=true"), &web(3)).await;
    assert_eq!((forced.code, managers(&forced.json())), (200, vec![owned("me", "Apply", "")]));

    // Who agrees shares.
    let shared = apply(&admin, &format!("{DEPLOYMENTS}/web?fieldManager=friend"), &web(3)).await.json();
    assert_eq!(managers(&shared).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_is_refused_in_upstreams_words() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = format!("{DEPLOYMENTS}/web?fieldManager=me");
    let check = async |path: &str, change: &dyn Fn(&mut Value), code: u16, message: &str| {
        let mut object = web(3);
        object["metadata"]["namespace"] = "default".into();
        change(&mut object);
        let answer = apply(&admin, path, &object).await;
        assert_eq!((answer.code, answer.json()["message"].as_str().unwrap()), (code, message));
    };
    let typed = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): ";
    check(
        &format!("{DEPLOYMENTS}/web"),
        &|_| {},
        422,
        r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
    )
    .await;
    let unknown = format!("{typed}.spec.foo: field not declared in schema");
    check(&path, &|object| object["spec"]["foo"] = 1.into(), 500, &unknown).await;
    let number = format!("{typed}.spec.replicas: expected numeric (int or float), got string");
    check(&path, &|object| object["spec"]["replicas"] = "3".into(), 500, &number).await;
    let list = format!("{typed}.spec.template.spec.containers: expected list, got &{{map[a:b]}}");
    let containers =
        |object: &mut Value| object["spec"]["template"]["spec"]["containers"] = json!({"a": "b"});
    check(&path, &containers, 500, &list).await;
    let twice = format!("{typed}.spec.template.spec.containers: duplicate entries for key [name=\"c\"]");
    let double = |object: &mut Value| {
        let containers = object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
        containers.push(json!({"name": "c"}));
    };
    check(&path, &double, 500, &twice).await;
    let kind = "invalid object type: apps/v1, Kind=ReplicaSet";
    check(&path, &|object| object["kind"] = "ReplicaSet".into(), 400, kind).await;
    let managed = "metadata.managedFields must be nil";
    check(&path, &|object| object["metadata"]["managedFields"] = json!([]), 400, managed).await;
    let named = "the name of the object (other) does not match the name on the URL (web)";
    check(&path, &|object| object["metadata"]["name"] = "other".into(), 400, named).await;
    let uid = r#"Operation cannot be fulfilled on deployments.apps "web": uid mismatch: the provided object specified uid u, and no existing object was found"#;
    check(&path, &|object| object["metadata"]["uid"] = "u".into(), 409, uid).await;
    let force = r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#;
    let merge = [("content-type", "application/merge-patch+json")];
    let answer = admin.send("PATCH", &format!("{path}&force=true"), &merge, "{}").await;
    assert_eq!((answer.code, answer.json()["message"].as_str().unwrap()), (422, force));

    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  a: one\n  a: two\n";
    let yaml = [("content-type", "application/apply-patch+yaml")];
    let strict = format!("{CONFIG_MAPS}/m?fieldManager=me&fieldValidation=Strict");
    let answer = admin.send("PATCH", &strict, &yaml, twice).await;
    let told = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  \
                line 6: key \"a\" already set in map";
    assert_eq!((answer.code, answer.json()["message"].as_str().unwrap()), (400, told));
    let answer = admin.send("PATCH", &format!("{CONFIG_MAPS}/m?fieldManager=me"), &yaml, twice).await;
    assert_eq!((answer.code, answer.json()["data"]["a"].as_str()), (201, Some("two")));
    assert!(
        answer.warnings().iter().any(|text| text.contains("line 6: key \\\"a\\\" already set")),
        "{:?}",
        answer.warnings()
    );

    let nobody = server.user("jane", &[]);
    assert_eq!(apply(&nobody, &path, &web(1)).await.code, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_scale_have_managers_of_their_own() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = format!("{DEPLOYMENTS}/web");
    apply(&admin, &format!("{path}?fieldManager=me"), &web(3)).await;
    let merge = [("content-type", "application/merge-patch+json")];

    let status =
        json!({"status": {"replicas": 3}, "spec": {"replicas": 9}, "metadata": {"labels": {"x": "y"}}});
    let written = admin
        .send("PATCH", &format!("{path}/status?fieldManager=controller"), &merge, status.to_string())
        .await
        .json();
    let fields = &entry(&written, "controller")["fieldsV1"];
    assert_eq!(fields, &json!({"f:status": {"f:replicas": {}}}), "spec and labels are not its to own");
    assert_eq!(managers(&written)[1], owned("controller", "Update", "status"));

    let conditions = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "status": {"conditions": [{"type": "Available", "status": "True"}]}});
    let applied = apply(&admin, &format!("{path}/status?fieldManager=checker"), &conditions).await;
    assert_eq!(applied.code, 200, "{}", applied.text());
    assert_eq!(applied.json()["status"]["replicas"], 3);
    let own = managers(&applied.json());
    assert!(own.contains(&owned("checker", "Apply", "status")), "{own:?}");

    // A Scale takes the replicas from who owned them.
    let scale = json!({"spec": {"replicas": 5}}).to_string();
    let answer = admin.send("PATCH", &format!("{path}/scale?fieldManager=scaler"), &merge, scale).await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    let live = admin.get(&path).await.json();
    let scaler = entry(&live, "scaler");
    assert_eq!((&scaler["subresource"], &scaler["apiVersion"]), (&json!("scale"), &json!("apps/v1")));
    assert_eq!(scaler["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert!(entry(&live, "me")["fieldsV1"]["f:spec"]["f:replicas"].is_null());
    let refused = apply(&admin, &format!("{path}?fieldManager=me"), &web(3)).await.json();
    let message = r#"Apply failed with 1 conflict: conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas"#;
    assert_eq!(refused["message"], message);
    let applied = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 2}});
    let forced = apply(&admin, &format!("{path}/scale?fieldManager=me&force=true"), &applied).await;
    assert_eq!((forced.code, &forced.json()["spec"]["replicas"]), (200, &json!(2)));
    let live = admin.get(&path).await.json();
    assert!(managers(&live).contains(&owned("me", "Apply", "scale")), "{:?}", managers(&live));
    assert!(entry(&live, "scaler").is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_own_what_they_change_and_time_moves_with_it() {
    let server = Server::start().await;
    let admin = server.admin();
    let json_type = [("content-type", "application/json"), ("user-agent", "maker/1")];
    let made = admin.send("POST", CONFIG_MAPS, &json_type, map(json!({"a": "1"})).to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(managers(&made), [owned("maker", "Update", "")]);
    assert_eq!(entry(&made, "maker")["fieldsV1"], json!({"f:data": {".": {}, "f:a": {}}}));

    // A whole object that says nothing of managers keeps them; what it changes is its client's.
    let path = format!("{CONFIG_MAPS}/m");
    let put = async |object: &Value, agent: &str| {
        let headers = [("content-type", "application/json"), ("user-agent", agent)];
        admin.send("PUT", &path, &headers, object.to_string()).await.json()
    };
    let changed = put(&map(json!({"a": "1", "b": "2"})), "second").await;
    assert_eq!(managers(&changed).len(), 2);
    assert_eq!(entry(&changed, "second")["fieldsV1"], json!({"f:data": {"f:b": {}}}));
    let same = put(&changed, "third").await;
    assert_eq!(same, changed, "nothing changed, so nothing is owned and nothing moves");
    let gone = put(&map(json!({"a": "1"})), "third").await;
    assert_eq!(managers(&gone), [owned("maker", "Update", "")]);

    // A client's own list counts where it can be read, and a new start can be asked for.
    let mut bad = gone.clone();
    bad["metadata"]["managedFields"][0]["operation"] = "Steal".into();
    let kept = put(&bad, "fourth").await;
    assert_eq!(managers(&kept), managers(&gone));
    for reset in [json!([]), json!([{}])] {
        let mut asked = kept.clone();
        asked["metadata"]["managedFields"] = reset;
        asked["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        assert_eq!(managers(&put(&asked, "fifth").await), []);
    }
    // What was there before is then no one's, until someone applies.
    let applied = apply(&admin, &format!("{path}?fieldManager=me"), &map(json!({"z": "1"}))).await.json();
    assert_eq!(managers(&applied), [owned("me", "Apply", ""), owned("before-first-apply", "Update", "")]);
    let refused = apply(&admin, &format!("{path}?fieldManager=me"), &map(json!({"a": "9"}))).await;
    assert_eq!(refused.code, 409, "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_applied_on_the_client_is_its_own_on_the_server() {
    let server = Server::start().await;
    let admin = server.admin();
    let last = map(json!({"a": "1", "gone": "x"})).to_string();
    let mut object = map(json!({"a": "1", "gone": "x"}));
    object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = last.into();
    let headers = [("content-type", "application/json"), ("user-agent", "kubectl/v1.36.0")];
    let client_side = format!("{CONFIG_MAPS}?fieldManager=kubectl-client-side-apply");
    admin.send("POST", &client_side, &headers, object.to_string()).await;
    let path = format!("{CONFIG_MAPS}/m");
    let other = apply(&admin, &format!("{path}?fieldManager=other"), &map(json!({"a": "2"}))).await;
    assert_eq!(other.code, 409, "only kubectl may: {}", other.text());
    let applied = apply(&admin, &format!("{path}?fieldManager=kubectl"), &map(json!({"a": "2"}))).await;
    assert_eq!(applied.code, 200, "{}", applied.text());
    let applied = applied.json();
    assert_eq!(applied["data"]["a"], "2");
    let annotation = &applied["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    let text = "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"2\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"m\"}}\n";
    assert_eq!(annotation, text, "the annotation is kept in step");
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_invented_by_a_text_are_applied_by_their_own_schema() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
            "items": {"type": "object", "properties": {"port": {"type": "integer"},
                "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
    let kinds =
        format!("Tower example.com/v1 towers registry/example.com/towers\n schema {schema}\n sub status\n");
    let server = Server::with(&kinds).await;
    let admin = server.admin();
    let path = "/apis/example.com/v1/namespaces/default/towers/t";
    let tower = |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Tower", "metadata": {"name": "t"}, "spec": spec});
    let one = tower(json!({"ports": [{"port": 80, "name": "a"}], "free": {"x": {"y": 1}, "l": [1, 2]}}));
    let made = apply(&admin, &format!("{path}?fieldManager=one"), &one).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let made = made.json();
    let fields = &entry(&made, "one")["fieldsV1"]["f:spec"];
    assert_eq!(fields["f:free"], json!({"f:x": {".": {}, "f:y": {}}, "f:l": {}}));
    assert!(fields["f:ports"]["k:{\"port\":80,\"protocol\":\"TCP\"}"].is_object(), "{fields}");
    let two = tower(json!({"ports": [{"port": 80, "protocol": "UDP"}], "free": {"x": {"z": 2}}}));
    let both = apply(&admin, &format!("{path}?fieldManager=two"), &two).await.json();
    assert_eq!(both["spec"]["ports"].as_array().unwrap().len(), 2);
    assert_eq!(both["spec"]["free"], json!({"x": {"y": 1, "z": 2}, "l": [1, 2]}));
}
