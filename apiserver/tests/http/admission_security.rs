//! The Pod Security Standards over the wire: refused, warned of, noted; who is exempt; a namespace that becomes stricter.

use serde_json::{Value, json};
use skiff_apiserver::admission::{Configuration, Switches};
use skiff_apiserver::audit::{LogOptions, Options, Policy};

use crate::server::{Client, Server, pod};

fn path(namespace: &str, resource: &str) -> String {
    match resource {
        "deployments" => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
        _ => format!("/api/v1/namespaces/{namespace}/{resource}"),
    }
}

/// A namespace with these labels, and the account that pods need.
async fn namespace(admin: &Client, name: &str, labels: &[(&str, &str)]) {
    let labels: serde_json::Map<String, Value> = labels
        .iter()
        .map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), Value::from(*value)))
        .collect();
    admin
        .post("/api/v1/namespaces", &json!({"metadata": {"name": name, "labels": labels}}))
        .await
        .expect(201);
    admin.post(&path(name, "serviceaccounts"), &json!({"metadata": {"name": "default"}})).await.expect(201);
}

fn privileged(name: &str) -> Value {
    let mut object = pod(name);
    object["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    object
}

fn deployment(template: &Value) -> Value {
    json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": template["spec"]}}})
}

const PRIVILEGED: &str = "privileged (container \"c\" must not set securityContext.privileged=true)";

#[tokio::test]
async fn a_namespace_enforces_warns_and_tells_when_it_becomes_stricter() {
    let server = Server::start().await;
    let admin = server.admin();
    namespace(&admin, "open", &[("warn", "baseline")]).await;
    let made = admin.post(&path("open", "pods"), &privileged("a")).await;
    assert_eq!(
        made.warnings(),
        [format!(
            "299 - \"would violate PodSecurity \\\"baseline:latest\\\": {}\"",
            PRIVILEGED.replace('"', "\\\"")
        )]
    );
    made.expect(201);
    admin.post(&path("open", "pods"), &privileged("b")).await.expect(201);
    let made = admin.post(&path("open", "deployments"), &deployment(&privileged("x"))).await;
    assert!(made.warnings()[0].contains("would violate PodSecurity"), "{:?}", made.warnings());
    made.expect(201);

    let stricter = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let changed = admin.patch("/api/v1/namespaces/open", "merge-patch", &stricter).await;
    assert_eq!(changed.code, 200);
    assert_eq!(
        changed.warnings(),
        [
            "299 - \"existing pods in namespace \\\"open\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "299 - \"a (and 1 other pod): privileged\"",
        ]
    );
    let why = format!("pods \"c\" is forbidden: violates PodSecurity \"baseline:latest\": {PRIVILEGED}");
    admin.post(&path("open", "pods"), &privileged("c")).await.refused(403, "Forbidden", &why);
    // What makes pods is not refused, its pods will be.
    let mut second = deployment(&privileged("x"));
    second["metadata"]["name"] = "e".into();
    let made = admin.post(&path("open", "deployments"), &second).await;
    assert!(made.warnings()[0].contains("would violate PodSecurity"), "{:?}", made.warnings());
    made.expect(201);
    // A pod that is there may change what does not matter, and may not change its image.
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    admin.patch(&path("open", "pods/a"), "merge-patch", &label).await.expect(200);
    let image = json!({"spec": {"containers": [{"name": "c", "image": "other"}]}});
    let answer = admin.patch(&path("open", "pods/a"), "strategic-merge-patch", &image).await;
    assert!(answer.expect(403)["message"].as_str().unwrap().contains("violates PodSecurity"));
}

#[tokio::test]
async fn versions_and_labels_are_checked() {
    let server = Server::start().await;
    let admin = server.admin();
    namespace(&admin, "old", &[("enforce", "restricted"), ("enforce-version", "v1.7")]).await;
    let mut object = pod("p");
    object["spec"]["securityContext"] = json!({"runAsNonRoot": true});
    // Of privilege escalation, that version knows nothing.
    admin.post(&path("old", "pods"), &object).await.expect(201);
    namespace(&admin, "new", &[("enforce", "restricted")]).await;
    let message = admin.post(&path("new", "pods"), &object).await.expect(403)["message"].clone();
    assert_eq!(
        message,
        "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must \
         set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set \
         securityContext.capabilities.drop=[\"ALL\"]), seccompProfile (pod or container \"c\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let labels =
        json!({"pod-security.kubernetes.io/enforce": "x", "pod-security.kubernetes.io/warn-version": "y"});
    let bad = json!({"metadata": {"name": "bad", "labels": labels}});
    let refused = admin.post("/api/v1/namespaces", &bad).await.expect(422);
    assert_eq!(refused["reason"], "Invalid");
    let causes = refused["details"]["causes"].as_array().unwrap();
    assert_eq!(causes[0]["field"], "metadata.labels[pod-security.kubernetes.io/enforce]");
    assert_eq!(causes[0]["message"], "Invalid value: \"x\": must be one of privileged, baseline, restricted");
    assert_eq!(causes[1]["message"], "Invalid value: \"y\": must be \"latest\" or \"v1.x\"");
}

#[tokio::test]
async fn a_file_says_what_holds_without_labels_and_who_is_exempt() {
    let dir = tempfile::tempdir().unwrap();
    let security = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n\
        defaults: {enforce: baseline}\nexemptions: {namespaces: [free], usernames: [jane], runtimeClasses: [vm]}\n";
    std::fs::write(dir.path().join("security.yaml"), security).unwrap();
    let file = dir.path().join("admission.yaml");
    let plugins = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n\
        - name: PodSecurity\n  path: security.yaml\n";
    std::fs::write(&file, plugins).unwrap();
    let configuration = Configuration::read(&file).unwrap();
    let policy =
        Policy::read("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n").unwrap();
    let log = LogOptions { path: dir.path().join("audit.log"), ..LogOptions::default() };
    let server = Server::configured(|config| {
        config.admission = Switches { configuration, ..Switches::default() };
        config.audit = Options { policy: Some(policy), log: Some(log), webhook: None };
    })
    .await;
    let admin = server.admin();
    namespace(&admin, "held", &[("audit", "restricted")]).await;
    namespace(&admin, "free", &[]).await;
    let refused = admin.post(&path("held", "pods"), &privileged("a")).await;
    assert!(
        refused.expect(403)["message"].as_str().unwrap().contains("violates PodSecurity \"baseline:latest\"")
    );
    server.user("jane", &["system:masters"]).post(&path("held", "pods"), &privileged("a")).await.expect(201);
    admin.post(&path("free", "pods"), &privileged("a")).await.expect(201);
    let class = json!({"metadata": {"name": "vm"}, "handler": "vm"});
    admin.post("/apis/node.k8s.io/v1/runtimeclasses", &class).await.expect(201);
    let mut special = privileged("b");
    special["spec"]["runtimeClassName"] = "vm".into();
    admin.post(&path("held", "pods"), &special).await.expect(201);
    admin.post(&path("held", "pods"), &pod("c")).await.expect(201);

    let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
    let notes = |namespace: &str, code: u16, name: &str| -> Value {
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found = events.into_iter().find(|event| {
            event["stage"] == "ResponseComplete"
                && event["objectRef"]["resource"] == "pods"
                && event["objectRef"]["namespace"] == namespace
                && event["objectRef"]["name"] == name
                && event["responseStatus"]["code"] == code
        });
        found.unwrap_or_else(|| panic!("no event of {namespace}/{name}: {text}"))["annotations"].clone()
    };
    let key = |name: &str| format!("pod-security.kubernetes.io/{name}");
    assert_eq!(notes("held", 403, "a")[key("enforce-policy")], "baseline:latest");
    assert_eq!(notes("held", 201, "a")[key("exempt")], "user");
    assert_eq!(notes("free", 201, "a")[key("exempt")], "namespace");
    assert_eq!(notes("held", 201, "b")[key("exempt")], "runtimeClass");
    let violations = notes("held", 201, "c")[key("audit-violations")].as_str().unwrap().to_owned();
    assert!(
        violations.starts_with("would violate PodSecurity \"restricted:latest\": allowPriv"),
        "{violations}"
    );
}
