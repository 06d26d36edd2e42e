//! Server-side apply as an unmodified kubectl does it, on a cluster whose pods are simulated.

use std::process::Command;

use serde_json::Value;
use skiff_tests::{Cluster, try_output};

/// A manifest of a Deployment, as people write it.
fn manifest(replicas: u32, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {{app: web}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
         containers:\n      - name: c\n        image: {image}\n        ports:\n        - containerPort: 80\n"
    )
}

struct Session {
    cluster: Cluster,
}

impl Session {
    fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        try_output(&mut self.cluster.client(Command::new("kubectl"), words))
    }

    fn apply(&self, text: &str, flags: &[&str]) -> Result<String, String> {
        let path = self.cluster.dir().join("applied.yaml");
        std::fs::write(&path, text).expect("a file can be written");
        let words = [&["apply", "-f", path.to_str().expect("temporary paths are text")], flags].concat();
        self.kubectl(&words)
    }

    fn web(&self) -> Value {
        let text = self
            .kubectl(&["get", "deployment", "web", "-o", "json", "--show-managed-fields"])
            .expect("kubectl reads it");
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// The managers of the Deployment that are not the cluster's own.
    fn managers(&self) -> Vec<String> {
        let web = self.web();
        let entries = web["metadata"]["managedFields"].as_array().into_iter().flatten();
        let named = entries.map(|entry| {
            format!(
                "{} {}",
                entry["manager"].as_str().unwrap_or_default(),
                entry["operation"].as_str().unwrap_or_default()
            )
        });
        named.filter(|name| !name.starts_with("kube-controller-manager")).collect()
    }
}

#[test]
fn kubectl_applies_on_the_server_meets_conflicts_and_migrates() {
    let session = Session { cluster: Cluster::simulated(&[]) };
    let server = ["--server-side"];
    let said = session.apply(&manifest(2, "nginx:1"), &server).unwrap();
    assert_eq!(said.trim(), "deployment.apps/web serverside-applied");
    assert_eq!(session.managers(), ["kubectl Apply"]);
    session.cluster.ready_pods("app=web", 2, 60);

    // The same again is no write: the generation and the version of the specification stay.
    let before = session.web();
    session.apply(&manifest(2, "nginx:1"), &server).unwrap();
    let after = session.web();
    assert_eq!(before["metadata"]["generation"], after["metadata"]["generation"]);
    assert_eq!(before["spec"], after["spec"]);

    // Another manager changes the image: a conflict that names it, until it is forced.
    session.kubectl(&["set", "image", "deployment/web", "c=nginx:2"]).unwrap();
    let refused = session.apply(&manifest(2, "nginx:1"), &server).unwrap_err();
    let conflict =
        r#"conflict with "kubectl-set" using apps/v1: .spec.template.spec.containers[name="c"].image"#;
    assert!(refused.contains("Apply failed with 1 conflict") && refused.contains(conflict), "{refused}");
    assert!(refused.contains("--force-conflicts"), "kubectl explains what to do: {refused}");
    let dry =
        session.apply(&manifest(2, "nginx:3"), &["--server-side", "--force-conflicts", "--dry-run=server"]);
    assert!(dry.unwrap().contains("server dry run"));
    session.apply(&manifest(2, "nginx:1"), &["--server-side", "--force-conflicts"]).unwrap();
    assert_eq!(session.web()["spec"]["template"]["spec"]["containers"][0]["image"], "nginx:1");
    assert_eq!(session.managers(), ["kubectl Apply"]);

    // A scale takes the replicas; kubectl shows managers only when it is asked.
    session.kubectl(&["scale", "deployment/web", "--replicas=3"]).unwrap();
    let refused = session.apply(&manifest(2, "nginx:1"), &server).unwrap_err();
    assert!(refused.contains(r#"with subresource "scale" using apps/v1: .spec.replicas"#), "{refused}");
    let hidden = session.kubectl(&["get", "deployment", "web", "-o", "yaml"]).unwrap();
    assert!(!hidden.contains("managedFields"), "{hidden}");
    let bad = manifest(2, "nginx:1").replace("replicas", "replicsa");
    let refused = session.apply(&bad, &server).unwrap_err();
    assert!(refused.contains(".spec.replicsa: field not declared in schema"), "{refused}");
    session.kubectl(&["delete", "deployment", "web"]).unwrap();

    // What was applied on the client becomes the server's, and is pruned as before.
    session.apply(&manifest(1, "nginx:1"), &[]).unwrap();
    assert_eq!(session.managers(), ["kubectl-client-side-apply Update"]);
    let without_label = manifest(1, "nginx:2").replace("\n  labels: {app: web}\nspec", "\nspec");
    session.apply(&without_label, &server).unwrap();
    let web = session.web();
    // The annotation has a manager of its own, so that the next apply does not remove it.
    assert_eq!(session.managers(), ["kubectl-last-applied Apply", "kubectl Apply"]);
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "nginx:2");
    assert!(web["metadata"]["labels"]["app"].is_null(), "{}", web["metadata"]);
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let last = web["metadata"]["annotations"][annotation].as_str().unwrap();
    assert!(last.contains("nginx:2"), "the annotation is kept in step: {last}");
}
