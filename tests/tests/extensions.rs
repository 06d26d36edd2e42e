//! Those who extend the API, in programs that no one here wrote or that speak to it from outside: an operator written
//! with kopf, which brings webhooks of its own, a controller written with kube-rs, an extension API server and a
//! converter. All goes again without a trace. The cluster's pods are simulated; the programs run beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use skiff_tests::{Cluster, Process, eventually, free_port, machine, output, repository};

/// Where the packages are, installed if they are not there yet. Comes before a test enters its own network.
fn packages() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository("target"), PathBuf::from);
    let folder = target.join("test-clients");
    output(Command::new(repository("tests/clients/install.sh")).arg(&folder));
    folder
}

/// A certificate for these names that vouches for itself, and its key.
fn certificate(dir: &Path, names: &str) -> (String, String) {
    let path = |name: &str| dir.join(name).to_str().expect("temporary paths are text").to_owned();
    let (certificate, key) = (path("server.crt"), path("server.key"));
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    command.args([
        "-subj",
        "/CN=extension",
        "-addext",
        &format!("subjectAltName={names}"),
        "-out",
        &certificate,
        "-keyout",
        &key,
    ]);
    output(&mut command);
    (certificate, key)
}

/// A file as a `caBundle`.
fn bundle(path: &str) -> String {
    output(Command::new("base64").args(["-w0", path]))
}

fn definition(plural: &str, kind: &str, versions: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": plural, "kind": kind}, "versions": versions}})
}

fn version(name: &str, storage: bool, spec: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
}

fn define(cluster: &Cluster, definition: &Value) {
    cluster.apply(definition);
    let name = definition["metadata"]["name"].as_str().expect("it has a name");
    cluster.ctl(&["wait", "--for=condition=Established", "--timeout=30s", &format!("crd/{name}")]);
}

fn towers() -> Value {
    let spec = json!({"colour": {"type": "string"}, "floors": {"type": "integer"}});
    definition("towers", "Tower", json!([version("v1", true, spec)]))
}

fn tower(name: &str, floors: u32) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Tower", "metadata": {"name": name}, "spec": {"floors": floors}})
}

/// Every object of the kinds that extensions leave behind, by kind and name.
fn traces(cluster: &Cluster) -> BTreeSet<String> {
    let kinds =
        "crd,apiservices,mutatingwebhookconfigurations,validatingwebhookconfigurations,configmaps,services";
    cluster.ctl(&["get", kinds, "-A", "-o", "name"]).lines().map(str::to_owned).collect()
}

#[test]
fn an_operator_of_kopf_works_with_webhooks_of_its_own() {
    let packages = packages();
    let cluster = Cluster::simulated(&[]);
    let before = eventually("the server's own APIServices", 30, || {
        let traces = traces(&cluster);
        let own = traces.iter().any(|name| name.ends_with("/v1.apps"));
        if own { Ok(traces) } else { Err(format!("{traces:?}")) }
    });
    define(&cluster, &towers());
    let (certificate, key) = certificate(cluster.dir(), "IP:127.0.0.1");
    let mut command = Command::new("python3");
    command
        .args(["-m", "kopf", "run", "--standalone", "--all-namespaces"])
        .arg(repository("tests/clients/operator.py"));
    command
        .env("PYTHONPATH", packages.join("python"))
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("NO_PROXY", "*");
    command.env("CERTIFICATE", &certificate).env("KEY", &key);
    let mut operator = Process::start(command, &cluster.dir().join("operator.log"));
    eventually("the operator's webhooks", 60, || {
        let all = cluster.ctl(&[
            "get",
            "mutatingwebhookconfigurations,validatingwebhookconfigurations",
            "-o",
            "json",
        ]);
        if all.matches("\"caBundle\": \"").count() >= 2 { Ok(()) } else { Err(all) }
    });

    // It is asked, it changes, it warns, it refuses.
    cluster.apply(&tower("a", 3));
    assert_eq!(cluster.get(&["tower", "a"])["spec"]["colour"], "grey");
    let high = cluster.dir().join("high.json");
    std::fs::write(&high, tower("high", 12).to_string()).expect("a file can be written");
    let refused = cluster.try_ctl(&["create", "-f", high.to_str().expect("temporary paths are text")]);
    let refused = refused.expect_err("it has too many floors");
    assert!(refused.contains("denied the request: towers have at most 9 floors"), "{refused}");

    // It follows what becomes of towers.
    let plan = |floors: &str| {
        eventually("the operator's plan", 60, || {
            let plan = cluster.try_ctl(&["get", "configmap", "plan-a", "-o", "jsonpath={.data.floors}"])?;
            if plan == floors { Ok(()) } else { Err(plan) }
        });
    };
    plan("3");
    eventually("the operator's word", 60, || {
        let tower = cluster.get(&["tower", "a"]);
        if tower["status"]["build"]["floors"] == 3 { Ok(()) } else { Err(tower.to_string()) }
    });
    cluster.ctl(&["patch", "tower", "a", "--type=merge", "-p", r#"{"spec":{"floors":5}}"#]);
    plan("5");
    // What it made goes with the tower, after it had its last word.
    cluster.ctl(&["delete", "tower", "a"]);
    cluster.ctl(&["get", "configmap", "ruin-a"]);
    cluster.ctl(&["wait", "--for=delete", "--timeout=60s", "configmap/plan-a"]);

    // And all is gone.
    operator.stop();
    cluster.ctl(&["delete", "configmap", "ruin-a"]);
    for sort in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        cluster.ctl(&["delete", sort, "operator.example.com"]);
    }
    cluster.ctl(&["delete", "crd", "towers.example.com"]);
    gone(&cluster, &before);
}

/// Waits until there is no more than there was.
fn gone(cluster: &Cluster, before: &BTreeSet<String>) {
    eventually("the last trace to go", 60, || {
        let left: Vec<String> = traces(cluster).difference(before).cloned().collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn an_extension_server_and_a_converter_serve_and_go() {
    let cluster = Cluster::simulated(&[]);
    let before = eventually("the server's own APIServices", 30, || {
        let traces = traces(&cluster);
        let own = traces.iter().any(|name| name.ends_with("/v1.apps"));
        if own { Ok(traces) } else { Err(format!("{traces:?}")) }
    });
    let port = free_port();
    let (certificate, key) = certificate(cluster.dir(), "DNS:wardle.default.svc");
    let ca = cluster.dir().join("front-proxy-ca.crt");
    let known = eventually("what extension servers need to know", 30, || {
        let map = cluster.try_ctl(&[
            "get",
            "configmap",
            "-n",
            "kube-system",
            "extension-apiserver-authentication",
            "-o",
            "json",
        ])?;
        let map: Value = serde_json::from_str(&map).map_err(|error| error.to_string())?;
        map["data"]["requestheader-client-ca-file"].as_str().map(str::to_owned).ok_or_else(|| map.to_string())
    });
    std::fs::write(&ca, known).expect("a file can be written");
    let mut command = Command::new("python3");
    command
        .arg(repository("tests/clients/extension.py"))
        .args([&port.to_string(), &certificate, &key])
        .arg(&ca);
    let mut server = Process::start(command, &cluster.dir().join("extension.log"));
    server.wait_for_line("serving", 30);
    let labels = json!({"kubernetes.io/service-name": "wardle"});
    let bundle = bundle(&certificate);
    for object in [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "wardle", "namespace": "default"},
            "spec": {"ports": [{"port": 443, "targetPort": port}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "wardle", "namespace": "default", "labels": labels},
            "ports": [{"name": "", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [machine::ADDRESS], "conditions": {"ready": true}}]}),
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.wardle.example.com"},
            "spec": {"group": "wardle.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
                "service": {"namespace": "default", "name": "wardle"}, "caBundle": bundle}}),
    ] {
        cluster.apply(&object);
    }
    cluster.ctl(&["wait", "--for=condition=Available", "--timeout=60s", "apiservice/v1.wardle.example.com"]);

    // People see it as any other kind.
    let kubectl = |words: &[&str]| cluster.kubectl(words);
    assert!(kubectl(&["api-resources", "--api-group=wardle.example.com"]).contains("flunders"));
    let file = cluster.dir().join("flunder.json");
    let flunder =
        json!({"apiVersion": "wardle.example.com/v1", "kind": "Flunder", "metadata": {"name": "f"}});
    std::fs::write(&file, flunder.to_string()).expect("a file can be written");
    kubectl(&["create", "--validate=false", "-f", file.to_str().expect("temporary paths are text")]);
    assert_eq!(kubectl(&["get", "flunder", "f", "-o", "jsonpath={.spec.madeBy}"]), "kubernetes-admin");
    assert!(kubectl(&["get", "flunders", "-o", "name"]).contains("flunder.wardle.example.com/f"));
    kubectl(&["delete", "flunder", "f"]);

    // It converts between the versions of another kind.
    let mut sites = definition(
        "sites",
        "Site",
        json!([
            version("v1", true, json!({"hostPort": {"type": "string"}})),
            version("v2", false, json!({"host": {"type": "string"}, "port": {"type": "string"}})),
        ]),
    );
    sites["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"caBundle": bundle, "service": {"namespace": "default", "name": "wardle", "path": "/convert"}}}});
    define(&cluster, &sites);
    cluster.apply(&json!({"apiVersion": "example.com/v1", "kind": "Site", "metadata": {"name": "s"}, "spec": {"hostPort": "h:1"}}));
    assert_eq!(
        kubectl(&["get", "sites.v2.example.com", "s", "-o", "jsonpath={.spec.host} {.spec.port}"]),
        "h 1"
    );
    kubectl(&["patch", "sites.v2.example.com", "s", "--type=merge", "-p", r#"{"spec":{"port":"2"}}"#]);
    assert_eq!(kubectl(&["get", "sites.v1.example.com", "s", "-o", "jsonpath={.spec.hostPort}"]), "h:2");

    // While it is away it is missed, and only it.
    server.stop();
    // What was converted before may still be known, what is written is not.
    let written = ["patch", "sites.v2.example.com", "s", "--type=merge", "-p", r#"{"spec":{"port":"3"}}"#];
    let refused = cluster.try_kubectl(&written).expect_err("nobody converts it");
    assert!(refused.contains("conversion webhook for example.com/v"), "{refused}");
    assert_eq!(kubectl(&["get", "sites.v1.example.com", "s", "-o", "jsonpath={.spec.hostPort}"]), "h:2");
    eventually("that it is missed", 60, || {
        let found = cluster.get(&["apiservice", "v1.wardle.example.com"]);
        let condition = &found["status"]["conditions"][0];
        if condition["reason"] == "FailedDiscoveryCheck" { Ok(()) } else { Err(found.to_string()) }
    });
    let missed = cluster.try_kubectl(&["get", "--raw", "/apis/wardle.example.com/v1/flunders"]);
    let missed = missed.expect_err("nobody serves it");
    assert!(missed.contains("unable to handle the request"), "{missed}");
    assert!(kubectl(&["get", "namespaces"]).contains("default"));

    for name in [
        "apiservice/v1.wardle.example.com",
        "crd/sites.example.com",
        "service/wardle",
        "endpointslice/wardle",
    ] {
        cluster.ctl(&["delete", name]);
    }
    gone(&cluster, &before);
}

#[test]
fn a_controller_of_kube_rs_works() {
    let cluster = Cluster::simulated(&[]);
    define(&cluster, &towers());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let read = Kubeconfig::read_from(cluster.kubeconfig()).expect("the kubeconfig is there");
    let client = runtime.block_on(async {
        let config =
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("it is valid");
        Client::try_from(config).expect("it can be used")
    });
    let towers = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Tower"));
    let maps = ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
    let context = Arc::new((client.clone(), maps.clone()));
    let of = |resource: &ApiResource| Api::<DynamicObject>::all_with(client.clone(), resource);
    let controller = Controller::new_with(of(&towers), watcher::Config::default(), towers.clone())
        .owns_with(of(&maps), maps, watcher::Config::default())
        .run(plan, |_, _, _| Action::requeue(Duration::from_secs(1)), context);
    runtime.spawn(controller.for_each(|_| std::future::ready(())));
    std::thread::scope(|scope| {
        let (done, ended) = tokio::sync::oneshot::channel::<()>();
        scope.spawn(move || runtime.block_on(ended));
        let floors = |expected: &str| {
            eventually("the controller's plan", 60, || {
                let floors =
                    cluster.try_ctl(&["get", "configmap", "plan-a", "-o", "jsonpath={.data.floors}"])?;
                if floors == expected { Ok(()) } else { Err(floors) }
            });
        };
        cluster.apply(&tower("a", 3));
        floors("3");
        cluster.apply(&tower("a", 4));
        floors("4");
        // What it owns comes again.
        cluster.ctl(&["delete", "configmap", "plan-a"]);
        floors("4");
        cluster.ctl(&["delete", "tower", "a"]);
        cluster.ctl(&["wait", "--for=delete", "--timeout=60s", "configmap/plan-a"]);
        drop(done);
    });
}

/// Applies the ConfigMap that a tower's plan is.
async fn plan(tower: Arc<DynamicObject>, context: Arc<(Client, ApiResource)>) -> Result<Action, kube::Error> {
    let (client, maps) = &*context;
    let namespace = tower.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, maps);
    let name = format!("plan-{}", tower.name_any());
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Tower"));
    let owner = kube::Resource::controller_owner_ref(&*tower, &kind).expect("a stored tower has a uid");
    let mut map = DynamicObject::new(&name, maps)
        .data(json!({"data": {"floors": tower.data["spec"]["floors"].to_string()}}));
    map.metadata =
        ObjectMeta { name: Some(name.clone()), owner_references: Some(vec![owner]), ..ObjectMeta::default() };
    api.patch(&name, &PatchParams::apply("towers").force(), &Patch::Apply(&map)).await?;
    Ok(Action::await_change())
}
