//! Servers that extend the API, running in the cluster as their authors mean them to: a converting, a mutating and a
//! validating webhook server and an extension API server, each a Deployment with a Service, through which the API server
//! reaches it. All goes again without a trace.

use std::path::Path;

use serde_json::{Value, json};
use skiff_tests::extension::{bundle, certificate, definition, version};
use skiff_tests::{Cluster, Engine, eventually, registry, repository};

const NAMESPACE: &str = "extending";
/// The image of all of them; only the engine has it.
const PYTHON: &str = "python:3";

/// A cluster that has [`PYTHON`] with the programs in it.
fn cluster() -> Cluster {
    let engine = Engine::start(None);
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let root = registry::python_root(dir.path());
    for program in ["extension.py", "webhooks.py"] {
        let from = repository("tests/clients").join(program);
        std::fs::copy(from, root.join(program)).expect("a file can be copied");
    }
    engine.import(&root, &[], PYTHON);
    Cluster::start(engine)
}

/// A server as its author would install it.
fn server(name: &str, program: &str) -> [Value; 2] {
    let labels = json!({"app": name});
    let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": labels});
    let command = ["python3", program, "8443", "/tls/tls.crt", "/tls/tls.key"];
    let container = json!({"name": "server", "image": PYTHON, "command": command, "ports": [{"containerPort": 8443}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8443, "scheme": "HTTPS"}, "periodSeconds": 1},
        "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": true}]});
    let pod = json!({"serviceAccountName": "servers", "terminationGracePeriodSeconds": 1, "containers": [container],
        "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}]});
    [
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1,
            "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]}}),
    ]
}

/// All that the servers need, and they themselves.
fn install(cluster: &Cluster, certificate: &str, key: &str) {
    let namespaced = |name: &str| json!({"name": name, "namespace": NAMESPACE});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "extension-apiserver-authentication-reader"});
    let subject = json!({"kind": "ServiceAccount", "name": "servers", "namespace": NAMESPACE});
    let mut all = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": namespaced("servers")}),
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": namespaced("tls"),
            "data": {"tls.crt": bundle(certificate), "tls.key": bundle(key)}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "roleRef": role, "subjects": [subject],
            "metadata": {"name": "wardle", "namespace": "kube-system"}}),
    ];
    all.extend(server("wardle", "/extension.py"));
    for name in ["converter", "mutator", "validator"] {
        all.extend(server(name, "/webhooks.py"));
    }
    cluster.apply_all(&all);
    for name in ["wardle", "converter", "mutator", "validator"] {
        let words = ["rollout", "status", "-n", NAMESPACE, "--timeout=90s", &format!("deployment/{name}")];
        cluster.kubectl(&words);
    }
}

/// A `clientConfig` of a server's path.
fn through(service: &str, bundle: &str) -> Value {
    let path = match service {
        "converter" => "/convert",
        "mutator" => "/mutate",
        _ => "/validate",
    };
    json!({"service": {"namespace": NAMESPACE, "name": service, "path": path}, "caBundle": bundle})
}

/// The configuration of one webhook about sites as they are in v2, in whatever version they are written.
fn webhook(kind: &str, service: &str, bundle: &str) -> Value {
    let rule = json!({"apiGroups": ["example.com"], "apiVersions": ["v2"], "resources": ["sites"], "operations": ["CREATE", "UPDATE"]});
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": service},
        "webhooks": [{"name": format!("{service}.example.com"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": through(service, bundle), "rules": [rule]}]})
}

/// All that can be known of the API from outside: every object of every kind, discovery and both documents of OpenAPI.
/// Events and leases come and go by themselves.
fn traces(cluster: &Cluster) -> Vec<String> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
    let passing = ["events", "events.events.k8s.io", "leases.coordination.k8s.io"];
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !passing.contains(kind)).collect();
    let mut found: Vec<String> = Vec::new();
    let listed = cluster.ctl(&["get", &kinds.join(","), "-A", "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed).expect("a list is JSON");
    for object in listed["items"].as_array().expect("a list has items") {
        let metadata = &object["metadata"];
        let name = format!("{} {} {}", object["kind"], metadata["namespace"], metadata["name"]);
        // What a namespace or an APIService says of itself is a trace too.
        let said: Vec<String> = object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| format!("{}={}", one["type"], one["status"]))
            .collect();
        found.push(format!("{name} {} {said:?}", metadata["finalizers"]));
    }
    for path in ["/apis", "/openapi/v2", "/openapi/v3"] {
        found.push(cluster.kubectl(&["get", "--raw", path]));
    }
    found.sort();
    found
}

#[test]
fn servers_that_extend_the_api_run_as_pods_and_go_without_a_trace() {
    let cluster = cluster();
    cluster.ctl(&["wait", "--for=condition=Available", "--timeout=30s", "apiservice/v1.apps"]);
    cluster.ctl(&["wait", "--for=condition=Ready", "--timeout=30s", "node", "--all"]);
    eventually("what every namespace is given", 30, || {
        cluster.try_ctl(&["get", "configmap", "-n", "kube-node-lease", "kube-root-ca.crt"])?;
        cluster.try_ctl(&["get", "serviceaccount", "-n", "kube-node-lease", "default"])
    });
    let before = traces(&cluster);
    let names =
        ["wardle", "converter", "mutator", "validator"].map(|name| format!("DNS:{name}.{NAMESPACE}.svc"));
    let (certificate, key) = certificate(cluster.dir(), &names.join(","));
    install(&cluster, &certificate, &key);
    let bundle = bundle(&certificate);
    an_extension_api_server_serves(&cluster, &bundle);
    webhooks_have_their_say(&cluster, &bundle);

    // Whoever is away is missed.
    cluster.ctl(&["scale", "-n", NAMESPACE, "deployment/wardle", "deployment/converter", "--replicas=0"]);
    eventually("that the extension server is missed", 60, || {
        let found = cluster.get(&["apiservice", "v1.wardle.example.com"]);
        let condition = &found["status"]["conditions"][0];
        if condition["reason"] == "MissingEndpoints" { Ok(()) } else { Err(found.to_string()) }
    });
    let missed = cluster.try_kubectl(&["get", "--raw", "/apis/wardle.example.com/v1/flunders"]);
    let missed = missed.expect_err("nobody serves it");
    assert!(missed.contains("unable to handle the request"), "{missed}");
    let written = ["patch", "sites.v2.example.com", "s", "--type=merge", "-p", r#"{"spec":{"port":"4"}}"#];
    let refused = cluster.try_kubectl(&written).expect_err("nobody converts it");
    assert!(refused.contains("conversion webhook for example.com/v"), "{refused}");
    cluster.ctl(&["scale", "-n", NAMESPACE, "deployment/wardle", "deployment/converter", "--replicas=1"]);
    cluster.ctl(&["wait", "--for=condition=Available", "--timeout=60s", "apiservice/v1.wardle.example.com"]);
    eventually("the converter's return", 60, || cluster.try_kubectl(&written));

    for words in [
        ["apiservice", "v1.wardle.example.com"],
        ["crd", "sites.example.com"],
        ["mutatingwebhookconfiguration", "mutator"],
        ["validatingwebhookconfiguration", "validator"],
        ["namespace", NAMESPACE],
    ] {
        cluster.ctl(&["delete", words[0], words[1]]);
    }
    cluster.ctl(&["delete", "rolebinding", "-n", "kube-system", "wardle"]);
    let told = |these: &[String], those: &[String]| -> Vec<String> {
        let other = these.iter().filter(|one| !those.contains(one));
        other.map(|one| one.chars().take(300).collect()).collect()
    };
    eventually("the last trace to go", 60, || {
        let after = traces(&cluster);
        let (more, less) = (told(&after, &before), told(&before, &after));
        if more.is_empty() && less.is_empty() {
            Ok(())
        } else {
            Err(format!("more: {more:#?} less: {less:#?}"))
        }
    });
}

fn an_extension_api_server_serves(cluster: &Cluster, bundle: &str) {
    cluster.apply(&json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.wardle.example.com"}, "spec": {"group": "wardle.example.com", "version": "v1",
            "groupPriorityMinimum": 1000, "versionPriority": 15, "caBundle": bundle,
            "service": {"namespace": NAMESPACE, "name": "wardle"}}}));
    cluster.ctl(&["wait", "--for=condition=Available", "--timeout=60s", "apiservice/v1.wardle.example.com"]);
    let kubectl = |words: &[&str]| cluster.kubectl(words);
    assert!(kubectl(&["api-resources", "--api-group=wardle.example.com"]).contains("flunders"));
    let explained = eventually("what it publishes", 30, || {
        cluster.try_kubectl(&["explain", "flunders.spec", "--api-version=wardle.example.com/v1"])
    });
    assert!(explained.contains("Who made it."), "{explained}");
    let flunder =
        json!({"apiVersion": "wardle.example.com/v1", "kind": "Flunder", "metadata": {"name": "f"}});
    kubectl(&["create", "--validate=false", "-f", &written(cluster.dir(), &flunder)]);
    assert_eq!(kubectl(&["get", "flunder", "f", "-o", "jsonpath={.spec.madeBy}"]), "kubernetes-admin");
    assert!(kubectl(&["get", "flunders", "-o", "name"]).contains("flunder.wardle.example.com/f"));
    // A watch is a stream through two servers.
    let mut watch = cluster.client(std::process::Command::new("timeout"), &["60", "kubectl", "get", "--raw"]);
    let url = "/apis/wardle.example.com/v1/namespaces/default/flunders?watch=1";
    let mut watch = watch.arg(url).stdout(std::process::Stdio::piped()).spawn().expect("kubectl starts");
    let mut line = String::new();
    let told = std::io::BufReader::new(watch.stdout.take().expect("its output is a pipe"));
    std::io::BufRead::read_line(&mut { told }, &mut line).expect("a line of text");
    watch.kill().expect("it runs");
    watch.wait().expect("it ends");
    assert!(line.contains("\"ADDED\"") && line.contains("\"f\""), "{line}");
    kubectl(&["delete", "flunder", "f"]);
}

fn webhooks_have_their_say(cluster: &Cluster, bundle: &str) {
    let text = || json!({"type": "string"});
    let mut sites = definition(
        "sites",
        "Site",
        json!([
            version("v1", true, json!({"hostPort": text(), "owner": text()})),
            version("v2", false, json!({"host": text(), "port": text(), "owner": text()})),
        ]),
    );
    sites["spec"]["conversion"] = json!({"strategy": "Webhook",
        "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": through("converter", bundle)}});
    cluster.define(&sites);
    cluster.apply(&webhook("MutatingWebhookConfiguration", "mutator", bundle));
    cluster.apply(&webhook("ValidatingWebhookConfiguration", "validator", bundle));
    let site = |name: &str, at: &str| json!({"apiVersion": "example.com/v1", "kind": "Site", "metadata": {"name": name}, "spec": {"hostPort": at}});
    let kubectl = |words: &[&str]| cluster.kubectl(words);
    cluster.apply(&site("s", "h:1"));
    let shown =
        ["get", "sites.v2.example.com", "s", "-o", "jsonpath={.spec.host} {.spec.port} {.spec.owner}"];
    assert_eq!(kubectl(&shown), "h 1 kubernetes-admin");
    kubectl(&["patch", "sites.v2.example.com", "s", "--type=merge", "-p", r#"{"spec":{"port":"2"}}"#]);
    assert_eq!(kubectl(&["get", "sites.v1.example.com", "s", "-o", "jsonpath={.spec.hostPort}"]), "h:2");
    let refused = cluster.try_kubectl(&["create", "-f", &written(cluster.dir(), &site("none", "h:0"))]);
    let refused = refused.expect_err("the validator says no");
    let word = "admission webhook \"validator.example.com\" denied the request: nobody listens at port 0";
    assert!(refused.contains(word), "{refused}");
}

/// An object in a file.
fn written(dir: &Path, object: &Value) -> String {
    let path = dir.join("written.json");
    std::fs::write(&path, object.to_string()).expect("a file can be written");
    path.to_str().expect("temporary paths are text").to_owned()
}
