//! ServiceAccount: gives a pod its service account, and that account's token.

mod secrets;

use std::time::Duration;

use serde_json::{Value, json};
use skiff_api::meta;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};

const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Projected tokens live a little over an hour and are renewed before.
const TOKEN_LIFE_S: u64 = 3607;
const DEFAULT: &str = "default";
/// How long a pod waits for the account that a controller makes in every new namespace.
const PATIENCE: Duration = Duration::from_secs(1);
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

pub struct ServiceAccount;

#[async_trait::async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "pods", "")
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "pods", "")
            || review.is(Operation::Update, "", "pods", "ephemeralcontainers")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        if is_mirror(pod) {
            return self.validate(review, pod).await;
        }
        let spec = &mut pod["spec"];
        let name =
            spec["serviceAccountName"].as_str().filter(|name| !name.is_empty()).unwrap_or(DEFAULT).to_owned();
        spec["serviceAccountName"] = name.as_str().into();
        spec["serviceAccount"] = name.as_str().into();
        let account = account_of(review, pod).await?;
        let spec = &mut pod["spec"];
        if spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
            && account["imagePullSecrets"].as_array().is_some_and(|list| !list.is_empty())
        {
            spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        let wanted = spec["automountServiceAccountToken"]
            .as_bool()
            .or(account["automountServiceAccountToken"].as_bool())
            .unwrap_or(true);
        if wanted {
            mount_token(spec);
        }
        self.validate(review, pod).await
    }

    async fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), Status> {
        let added = review.operation == Operation::Update;
        if is_mirror(pod) && !added {
            return secrets::mirror(pod).map_err(|why| review.forbidden(pod, why));
        }
        let account = account_of(review, pod).await?;
        if !enforces(&account) {
            return Ok(());
        }
        match secrets::check(pod, &account, added) {
            Ok(()) => Ok(()),
            // As upstream, without the frame.
            Err(why) if added => Err(Status::new(500, "", why)),
            Err(why) => Err(review.forbidden(pod, &why)),
        }
    }
}

fn is_mirror(pod: &Value) -> bool {
    meta::annotations(pod).any(|(key, _)| key == MIRROR)
}

/// Whether pods of an account may use only the secrets that the account names.
fn enforces(account: &Value) -> bool {
    let said = meta::annotations(account).find(|(key, _)| *key == ENFORCE);
    said.is_some_and(|(_, text)| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// The account that a pod names.
async fn account_of(review: &Review<'_>, pod: &Value) -> Result<Value, Status> {
    let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    let namespace = review.call.namespace();
    if name.is_empty() {
        let why = format!("no service account specified for pod {namespace}/{}", meta::name(pod));
        return Err(review.forbidden(pod, &why));
    }
    if let Some(found) = review.find_now("", "serviceaccounts", namespace, name).await? {
        return Ok(found);
    }
    if name == DEFAULT
        && let Some(cache) = review.call.app.cache.find("", "serviceaccounts")
    {
        let mut changes = cache.subscribe();
        let coming = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = review.call.find("", "serviceaccounts", namespace, name) {
                    return Some(found);
                }
                changes.changed().await.ok()?;
            }
        };
        if let Ok(Some(found)) = tokio::time::timeout(PATIENCE, coming).await {
            return Ok(found);
        }
    }
    let why =
        format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
    Err(review.forbidden(pod, &why))
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
