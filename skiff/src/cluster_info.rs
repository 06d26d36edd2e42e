//! The ConfigMap `cluster-info` of `kube-public`: where the cluster is and what its CA is, for nodes that join.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use skiff_api::bootstrap_token::{CLUSTER_INFO, KUBECONFIG};

/// A kubeconfig without a user, as kubeadm writes it.
fn kubeconfig(server: &str, ca_pem: &str) -> String {
    format!(
        "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {}
    server: {server}
  name: \"\"
contexts: null
current-context: \"\"
kind: Config
preferences: {{}}
users: null
",
        STANDARD.encode(ca_pem)
    )
}

/// Makes the ConfigMap, or brings it up to date; signatures are the controllers' to add.
pub async fn publish(client: &kube::Client, server: &str, ca_pem: &str) -> anyhow::Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CLUSTER_INFO},
        "data": {KUBECONFIG: kubeconfig(server, ca_pem)},
    });
    let made = match api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let change = json!({"data": object["data"]});
            api.patch(CLUSTER_INFO, &PatchParams::default(), &Patch::Merge(change)).await
        }
        made => made,
    };
    made.map(drop).context("cannot publish where the cluster is")
}
