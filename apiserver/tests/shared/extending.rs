//! What extends the API on one server extends it on every other on the same etcd, within a second.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::{Bed, EtcdBed};
use crate::hook::{Act, Hook};
use crate::server::{CONFIG_MAPS, Client, Server, config_map};

/// How long the others may take once a write is acknowledged.
const BOUND: Duration = Duration::from_secs(1);

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// Asks again and again until it is as expected; fails where that is later than [`BOUND`] after `since`.
async fn becomes<T: PartialEq + std::fmt::Debug>(
    what: &str,
    since: Instant,
    expected: T,
    ask: impl AsyncFn() -> T,
) {
    loop {
        // An answer counts by when it was asked for: what the machine takes to carry it is not agreement.
        let asked = since.elapsed();
        let found = ask().await;
        if found == expected {
            return;
        }
        assert!(asked < BOUND, "{what}: {found:?} instead of {expected:?} after {asked:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn server(bed: &EtcdBed) -> Server {
    Server::on(bed.client().await, "", |_| {}).await
}

async fn write(client: &Client, method: &str, path: &str, object: &Value) -> Instant {
    let answer = match method {
        "POST" => client.post(path, object).await,
        "PATCH" => client.patch(path, "merge-patch", object).await,
        _ => client.delete(path).await,
    };
    assert!(answer.code < 300, "{method} {path}: {}", answer.text());
    Instant::now()
}

/// Waits until the writer itself says that a definition is established.
async fn established(client: &Client) -> Instant {
    let path = format!("{DEFINITIONS}/towers.example.com");
    let begun = Instant::now();
    loop {
        let conditions = client.get(&path).await.expect(200)["status"]["conditions"].clone();
        let conditions = conditions.as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True") {
            return Instant::now();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{conditions:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_agree_within_a_second() {
    let bed = EtcdBed::start().await;
    let servers = [server(&bed).await, server(&bed).await];
    let [one, other] = &[servers[0].admin(), servers[1].admin()];
    let towers = "/apis/example.com/v1/namespaces/default/towers";
    let schema =
        |kind: &str| json!({"openAPIV3Schema": {"type": "object", "properties": {"floors": {"type": kind}}}});
    let version =
        |kind: &str| json!([{"name": "v1", "served": true, "storage": true, "schema": schema(kind)}]);
    let definition = json!({"metadata": {"name": "towers.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "towers", "kind": "Tower"}, "versions": version("integer")}});
    write(one, "POST", DEFINITIONS, &definition).await;
    let since = established(one).await;
    becomes("it is served", since, 200, async || other.get(towers).await.code).await;
    becomes("it is discovered", since, 200, async || other.get("/apis/example.com/v1").await.code).await;
    becomes("it is described", since, 200, async || other.get("/openapi/v3/apis/example.com/v1").await.code)
        .await;
    // What the schema says then holds there, and so does what it says next.
    let tower =
        json!({"apiVersion": "example.com/v1", "kind": "Tower", "metadata": {"name": "a"}, "floors": "nine"});
    assert_eq!(other.post(towers, &tower).await.code, 422);
    let patch = json!({"spec": {"versions": version("string")}});
    let since = write(one, "PATCH", &format!("{DEFINITIONS}/towers.example.com"), &patch).await;
    becomes("the new schema holds", since, 201, async || other.post(towers, &tower).await.code).await;
    let since = write(other, "DELETE", &format!("{DEFINITIONS}/towers.example.com"), &Value::Null).await;
    becomes("it is gone", since, [404, 404], async || {
        let path = format!("{DEFINITIONS}/towers.example.com");
        [one.get(&path).await.code, one.get("/apis/example.com/v1").await.code]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_and_policies_agree_within_a_second() {
    let bed = EtcdBed::start().await;
    let servers = [server(&bed).await, server(&bed).await];
    let [one, other] = &[servers[0].admin(), servers[1].admin()];
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    let tried = async || {
        let answer = other.post(&dry, &config_map("a")).await;
        if answer.code == 201 { String::new() } else { answer.json()["message"].as_str().unwrap().to_owned() }
    };
    let hook = Hook::serve(&["127.0.0.1"], |_| {
        Act::Review(json!({"allowed": false, "status": {"message": "the hook says no"}}))
    })
    .await;
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]});
    let webhook = json!({"metadata": {"name": "no"}, "webhooks": [{"name": "no.example.com", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": hook.client("/"), "rules": [rule]}]});
    let path = format!("{ADMISSION}/validatingwebhookconfigurations");
    let since = write(one, "POST", &path, &webhook).await;
    let refused = "admission webhook \"no.example.com\" denied the request: the hook says no";
    becomes("the webhook is asked", since, refused.to_owned(), tried).await;
    let since = write(one, "DELETE", &format!("{path}/no"), &Value::Null).await;
    becomes("it is not asked any more", since, String::new(), tried).await;

    let matches = json!({"resourceRules": [rule]});
    let policy = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": matches,
        "validations": [{"expression": "object.metadata.name != 'a'", "message": "not a"}]}});
    let policies = format!("{ADMISSION}/validatingadmissionpolicies");
    let bindings = format!("{ADMISSION}/validatingadmissionpolicybindings");
    write(one, "POST", &policies, &policy).await;
    let binding =
        json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    let since = write(one, "POST", &bindings, &binding).await;
    let refused = |why: &str| {
        format!(
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}"
        )
    };
    becomes("the policy is obeyed", since, refused("not a"), tried).await;
    let patch = json!({"spec": {"validations": [{"expression": "object.metadata.name != 'a'", "message": "never a"}]}});
    let since = write(one, "PATCH", &format!("{policies}/p"), &patch).await;
    becomes("its change is", since, refused("never a"), tried).await;
    let since = write(one, "DELETE", &format!("{bindings}/b"), &Value::Null).await;
    becomes("without its binding it is not", since, String::new(), tried).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extension_api_servers_agree_within_a_second() {
    let bed = EtcdBed::start().await;
    let servers = [server(&bed).await, server(&bed).await];
    let [one, other] = &[servers[0].admin(), servers[1].admin()];
    let hook = Hook::serve(&["wardle.default.svc"], |asked| {
        let resources = json!({"kind": "APIResourceList", "groupVersion": "wardle.example.com/v1", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"]}]});
        match asked.path.as_str() {
            "/apis/wardle.example.com/v1" => Act::Raw(200, "application/json", resources.to_string()),
            "/apis/wardle.example.com/v1/flunders" => Act::Raw(200, "application/json", "{}".into()),
            _ => Act::Raw(404, "text/plain", "no".into()),
        }
    })
    .await;
    let service =
        json!({"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443, "targetPort": hook.port}]}});
    write(one, "POST", "/api/v1/namespaces/default/services", &service).await;
    let slice = json!({"metadata": {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": hook.port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]});
    write(one, "POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    let name = "v1.wardle.example.com";
    let service = json!({"metadata": {"name": name}, "spec": {"group": "wardle.example.com", "version": "v1",
        "groupPriorityMinimum": 1000, "versionPriority": 15,
        "service": {"namespace": "default", "name": "wardle"}, "caBundle": hook.bundle}});
    write(one, "POST", SERVICES, &service).await;
    let served = async |client: &Client| client.get("/apis/wardle.example.com/v1/flunders").await.code;
    // As soon as one of them finds it, and says so in its status, all send requests on.
    let begun = Instant::now();
    while served(one).await != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not become available");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let since = Instant::now();
    becomes("it is served", since, 200, async || served(other).await).await;
    let discovered = async || {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let list = other.get_as("/apis", accept).await.expect(200);
        let items = list["items"].as_array().unwrap();
        let found = items.iter().find(|item| item["metadata"]["name"] == "wardle.example.com");
        found.map(|item| item["versions"][0]["resources"][0]["resource"] == "flunders")
    };
    becomes("it is discovered", since, Some(true), discovered).await;
    let since = write(one, "DELETE", &format!("{SERVICES}/{name}"), &Value::Null).await;
    becomes("it is gone", since, 404, async || served(other).await).await;
    becomes("nobody discovers it", since, None, discovered).await;
}
