//! What those who extend the API bring: definitions of kinds, and servers with certificates of their own.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::{Cluster, output};

/// A certificate for these names (`DNS:…`, `IP:…`) that vouches for itself, and its key: two files in `dir`.
pub fn certificate(dir: &Path, names: &str) -> (String, String) {
    let path = |name: &str| dir.join(name).to_str().expect("temporary paths are text").to_owned();
    let (certificate, key) = (path("server.crt"), path("server.key"));
    let names = format!("subjectAltName={names}");
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    command.args(["-days", "2", "-subj", "/CN=extension", "-addext", &names]);
    output(command.args(["-out", &certificate, "-keyout", &key]));
    (certificate, key)
}

/// A file as a `caBundle`, or as an entry of a Secret.
pub fn bundle(path: &str) -> String {
    output(Command::new("base64").args(["-w0", path]))
}

/// A definition of a kind of `example.com` in namespaces.
pub fn definition(plural: &str, kind: &str, versions: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": plural, "kind": kind}, "versions": versions}})
}

/// A version of a kind, by the properties of its `spec`.
pub fn version(name: &str, storage: bool, spec: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
}

impl Cluster {
    /// Applies a definition and waits until its kind is served.
    pub fn define(&self, definition: &Value) {
        self.apply(definition);
        let name = definition["metadata"]["name"].as_str().expect("it has a name");
        self.ctl(&["wait", "--for=condition=Established", "--timeout=30s", &format!("crd/{name}")]);
    }
}
