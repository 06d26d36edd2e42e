//! ServiceAccount: gives a pod its service account, and that account's token.

use serde_json::{Value, json};
use skiff_api::meta;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};

const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Projected tokens live a little over an hour and are renewed before.
const TOKEN_LIFE_S: u64 = 3607;

pub struct ServiceAccount;

#[async_trait::async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let call = review.call;
        if meta::annotations(pod).any(|(key, _)| key == "kubernetes.io/config.mirror") {
            return Ok(());
        }
        let spec = &mut pod["spec"];
        let mut account = spec["serviceAccountName"].as_str().unwrap_or_default().to_owned();
        if account.is_empty() {
            "default".clone_into(&mut account);
        }
        spec["serviceAccountName"] = account.as_str().into();
        spec["serviceAccount"] = account.as_str().into();
        let Some(found) = call.find("", "serviceaccounts", call.namespace(), &account) else {
            let why = format!(
                "error looking up service account {}/{account}: serviceaccount {account:?} not found",
                call.namespace()
            );
            return Err(Status::forbidden("", "pods", meta::name(pod), &why));
        };
        let spec = &mut pod["spec"];
        if spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
            && found["imagePullSecrets"].as_array().is_some_and(|list| !list.is_empty())
        {
            spec["imagePullSecrets"] = found["imagePullSecrets"].clone();
        }
        let wanted = spec["automountServiceAccountToken"]
            .as_bool()
            .or(found["automountServiceAccountToken"].as_bool())
            .unwrap_or(true);
        if wanted {
            mount_token(spec);
        }
        Ok(())
    }
}

fn mount_token(spec: &mut Value) {
    let mounted = |container: &Value| {
        let mounts = container["volumeMounts"].as_array();
        mounts.is_some_and(|mounts| mounts.iter().any(|mount| mount["mountPath"] == TOKEN_MOUNT))
    };
    let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let existing = volumes
        .iter()
        .filter_map(|volume| volume["name"].as_str())
        .find(|name| name.starts_with("kube-api-access-"))
        .map(str::to_owned);
    let mut used = false;
    let name = existing.clone().unwrap_or_else(|| {
        let mut named = json!({"metadata": {"generateName": "kube-api-access-"}});
        crate::write::generate_name(&mut named);
        meta::name(&named).to_owned()
    });
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if mounted(container) {
                continue;
            }
            used = true;
            let mount = json!({"name": name, "readOnly": true, "mountPath": TOKEN_MOUNT});
            match container["volumeMounts"].as_array_mut() {
                Some(mounts) => mounts.push(mount),
                None => container["volumeMounts"] = json!([mount]),
            }
        }
    }
    if !used || existing.is_some() {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFE_S, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{
            "path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
        }]}},
    ]}});
    match spec["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => spec["volumes"] = json!([volume]),
    }
}
