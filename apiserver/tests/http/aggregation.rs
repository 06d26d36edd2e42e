//! Extension API servers: APIServices, their conditions, what is sent on, and what is published of them.

use serde_json::{Value, json};

use crate::hook::{Act, Asked, Hook};
use crate::server::{Client, Server};

pub const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// Waits until an APIService says this of its availability.
pub async fn available(admin: &Client, name: &str, status: &str, reason: &str) -> Value {
    let mut watch = admin.watch(&format!("{SERVICES}?watch=true&fieldSelector=metadata.name%3D{name}")).await;
    loop {
        let event = watch.next().await.expect("the watch goes on");
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|one| one["type"] == "Available");
        if let Some(found) = found.filter(|one| one["status"] == status && one["reason"] == reason) {
            return found;
        }
    }
}

/// Leads `wardle.example.com/v1` to a server, and waits until it is there.
pub async fn lead(admin: &Client, hook: &Hook) {
    let target =
        json!({"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443, "targetPort": hook.port}]}});
    admin.post("/api/v1/namespaces/default/services", &target).await.expect(201);
    let slice = json!({"metadata": {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": hook.port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]});
    admin.post(SLICES, &slice).await.expect(201);
    let service = json!({"metadata": {"name": "v1.wardle.example.com"}, "spec": {
        "group": "wardle.example.com", "version": "v1", "groupPriorityMinimum": 17999, "versionPriority": 15,
        "service": {"namespace": "default", "name": "wardle"}, "caBundle": hook.bundle}});
    admin.post(SERVICES, &service).await.expect(201);
    available(admin, "v1.wardle.example.com", "True", "Passed").await;
}

/// An API server of one kind that keeps nothing.
pub fn extension(asked: &Asked) -> Act {
    let resources = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1", "resources": [
        {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get", "list"]},
    ]});
    let body = match asked.path.as_str() {
        "/apis/wardle.example.com/v1" => resources,
        "/openapi/v3/apis/wardle.example.com/v1" => json!({"openapi": "3.0.0", "info": {"title": "wardle"}}),
        "/openapi/v2" => {
            json!({"swagger": "2.0", "paths": {"/apis/wardle.example.com/v1/flunders": {}, "/other": {}},
            "definitions": {"com.example.wardle.Flunder": {"type": "object"}}})
        }
        path if path.starts_with("/apis/wardle.example.com/v1/namespaces/default/flunders") => {
            return Act::Raw(
                418,
                "application/json",
                json!({"kind": "Flunder", "sent": asked.body}).to_string(),
            );
        }
        _ => return Act::Raw(404, "text/plain", "no".into()),
    };
    Act::Raw(200, "application/json", body.to_string())
}

#[tokio::test]
async fn an_extension_server_is_found_asked_published_and_missed() {
    let server = Server::start().await;
    let admin = server.admin();
    let (ca_pem, ..) = server.credentials("x", &[]);
    let hook = Hook::serve_to(&["wardle.default.svc"], &ca_pem, extension).await;
    let name = "v1.wardle.example.com";
    let service = json!({"metadata": {"name": name}, "spec": {
        "group": "wardle.example.com", "version": "v1", "groupPriorityMinimum": 17999, "versionPriority": 15,
        "service": {"namespace": "default", "name": "wardle"}, "caBundle": hook.bundle}});
    let made = admin.post(SERVICES, &service).await.expect(201);
    assert_eq!(made["spec"]["service"]["port"], 443);
    let flunders = "/apis/wardle.example.com/v1/namespaces/default/flunders";

    // Step by step it comes to be there.
    let found = available(&admin, name, "False", "ServiceNotFound").await;
    assert_eq!(found["message"], "service/wardle in \"default\" is not present");
    let away = admin.get(flunders).await;
    assert_eq!((away.code, away.text().as_str()), (503, "service unavailable\n"));
    let target =
        json!({"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443, "targetPort": hook.port}]}});
    admin.post("/api/v1/namespaces/default/services", &target).await.expect(201);
    let found = available(&admin, name, "False", "EndpointsNotFound").await;
    assert_eq!(found["message"], "cannot find endpoints for service/wardle in \"default\"");
    let mut slice = json!({"metadata": {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": hook.port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": false}}]});
    admin.post(SLICES, &slice).await.expect(201);
    let found = available(&admin, name, "False", "MissingEndpoints").await;
    assert_eq!(
        found["message"],
        "endpoints for service/wardle in \"default\" have no addresses with port name \"\""
    );
    slice["endpoints"][0]["conditions"]["ready"] = true.into();
    admin.put(&format!("{SLICES}/wardle-1"), &slice).await.expect(200);
    let found = available(&admin, name, "True", "Passed").await;
    assert_eq!(found["message"], "all checks passed");

    // Requests go on, with who asks, and answers come back as they are.
    hook.forget();
    let jane =
        [("impersonate-user", "jane"), ("impersonate-group", "devs"), ("content-type", "application/json")];
    let mut headers = jane.to_vec();
    headers.push(("x-remote-user", "root"));
    let role = json!({"metadata": {"name": "flunders"}, "rules": [{"apiGroups": ["wardle.example.com"], "resources": ["flunders"], "verbs": ["create"]}]});
    let posted = || admin.send("POST", flunders, &headers, r#"{"a":1}"#);
    assert_eq!(posted().await.code, 403, "this server decides who may");
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let binding = json!({"metadata": {"name": "flunders"}, "roleRef": {"kind": "ClusterRole", "name": "flunders"},
        "subjects": [{"kind": "User", "name": "jane"}]});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    let answer = loop {
        let answer = posted().await;
        if answer.code != 403 {
            break answer;
        }
    };
    assert_eq!(answer.expect(418), json!({"kind": "Flunder", "sent": {"a": 1}}));
    let asked = hook.asked().pop().unwrap();
    let header =
        |name: &str| asked.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert!(asked.known, "the front proxy's certificate vouches for it");
    assert_eq!(header("x-remote-user"), ["jane"]);
    assert_eq!(header("x-remote-group"), ["devs", "system:authenticated"]);
    assert!(header("impersonate-user").is_empty());
    assert_eq!(header("host"), ["wardle.default.svc:443"]);
    let map = admin
        .get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
        .await
        .expect(200);
    assert_eq!(map["data"]["requestheader-client-ca-file"], ca_pem.as_str());
    assert_eq!(map["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");

    // It can be found out about, in the order of priorities.
    let groups = admin.get("/apis").await.expect(200);
    let names: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["apiregistration.k8s.io", "wardle.example.com", "apps"]);
    let group = admin.get("/apis/wardle.example.com").await.expect(200);
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1");
    let discovery = || async {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let list = admin.get_as("/apis", accept).await.expect(200);
        let items = list["items"].as_array().unwrap().iter();
        items
            .clone()
            .find(|item| item["metadata"]["name"] == "wardle.example.com")
            .map(|item| item["versions"][0].clone())
    };
    let shown = discovery().await.unwrap();
    assert_eq!(
        (&shown["freshness"], &shown["resources"][0]["resource"]),
        (&json!("Current"), &json!("flunders"))
    );
    let index = admin.get("/openapi/v3").await.expect(200);
    let address =
        index["paths"]["apis/wardle.example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    assert_eq!(admin.get(&address).await.expect(200)["info"]["title"], "wardle");
    let whole = admin.get("/openapi/v2").await.expect(200);
    assert!(whole["definitions"]["com.example.wardle.Flunder"].is_object());
    assert!(whole["paths"]["/apis/wardle.example.com/v1/flunders"].is_object());
    assert!(whole["paths"]["/api/v1/pods"].is_object() && whole["paths"].get("/other").is_none());

    // While it is away it is still shown, as it was.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    slice["ports"][0]["port"] = closed.into();
    admin.put(&format!("{SLICES}/wardle-1"), &slice).await.expect(200);
    let found = available(&admin, name, "False", "FailedDiscoveryCheck").await;
    let url = "https://wardle.default.svc:443/apis/wardle.example.com/v1";
    assert_eq!(
        found["message"],
        format!(
            "failing or missing response from {url}: Get \"{url}\": dial tcp 127.0.0.1:{closed}: connect: connection refused"
        )
    );
    let away = admin.get(flunders).await;
    assert_eq!((away.code, away.text().as_str()), (503, "service unavailable\n"));
    let shown = discovery().await.unwrap();
    assert_eq!(
        (&shown["freshness"], &shown["resources"][0]["resource"]),
        (&json!("Stale"), &json!("flunders"))
    );
    let table = admin
        .get_as(&format!("{SERVICES}/{name}"), "application/json;as=Table;v=v1;g=meta.k8s.io")
        .await
        .expect(200);
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..3],
        [json!(name), json!("default/wardle"), json!("False (FailedDiscoveryCheck)")]
    );

    // And then it is gone.
    admin.delete(&format!("{SERVICES}/{name}")).await.expect(200);
    admin.get(&format!("{SERVICES}/{name}")).await.expect(404);
    assert_eq!(admin.get(flunders).await.code, 404);
    assert!(discovery().await.is_none());
}

#[tokio::test]
async fn what_this_server_serves_has_its_services_too() {
    let server = Server::start().await;
    let admin = server.admin();
    available(&admin, "v1.apps", "True", "Local").await;
    let apps = admin.get(&format!("{SERVICES}/v1.apps")).await.expect(200);
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(
        apps["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
    );
    available(&admin, "v1.", "True", "Local").await;

    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}});
    let definition = json!({"metadata": {"name": "towers.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
        "names": {"plural": "towers", "kind": "Tower"}, "versions": [version]}});
    crate::custom::define(&admin, &definition).await;
    available(&admin, "v1.example.com", "True", "Local").await;
    let custom = admin.get(&format!("{SERVICES}/v1.example.com")).await.expect(200);
    assert_eq!(custom["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    assert_eq!(
        (&custom["spec"]["groupPriorityMinimum"], &custom["spec"]["versionPriority"]),
        (&json!(1000), &json!(100))
    );
    let mut watch =
        admin.watch(&format!("{SERVICES}?watch=true&fieldSelector=metadata.name%3Dv1.example.com")).await;
    admin
        .delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/towers.example.com")
        .await
        .expect(200);
    while watch.next().await.expect("the watch goes on")["type"] != "DELETED" {}

    let wrong = json!({"metadata": {"name": "x"}, "spec": {"group": "g.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}});
    let refused = admin.post(SERVICES, &wrong).await.expect(422);
    assert_eq!(
        refused["message"],
        "APIService.apiregistration.k8s.io \"x\" is invalid: metadata.name: Invalid value: \"x\": must be \
         `spec.version+\".\"+spec.group`: \"v1.g.io\""
    );
}
