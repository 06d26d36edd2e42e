//! A kubeconfig with everything inside. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The text of a kubeconfig: one cluster, one user, one context. It holds a private key.
pub(super) fn render(url: &str, ca_pem: &str, user: &str, certificate_pem: &str, key_pem: &str) -> String {
    let [ca, certificate, key] = [ca_pem, certificate_pem, key_pem].map(|pem| STANDARD.encode(pem));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: skiff
  cluster:
    server: {url}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: skiff
  context:
    cluster: skiff
    user: {user}
current-context: skiff
"
    )
}
