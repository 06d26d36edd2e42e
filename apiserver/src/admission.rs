//! What is let in: upstream's admission plugins that a small cluster cannot do without.

use serde_json::{Value, json};
use skiff_api::meta;
use skiff_api::status::{FieldError, Status};

use crate::app::{Call, Tolerations};
use crate::cache::Item;
use crate::security::{Attributes, Authorizer, node};

const CERTIFICATES: &str = "certificates.k8s.io";
/// Namespaces that can never be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Projected tokens live a little over an hour and are renewed before.
const TOKEN_LIFE_S: u64 = 3607;

/// Changes what is written.
pub fn mutate(call: &Call, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    if old.is_none() {
        namespace_lifecycle(call, new)?;
    }
    match (call.kind.group.as_str(), call.kind.plural.as_str(), old) {
        ("", "namespaces", None) => {
            new["spec"]["finalizers"] = json!(["kubernetes"]);
            let name = meta::name(new).to_owned();
            new["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
            new["status"] = json!({"phase": "Active"});
        }
        ("", "namespaces", Some(old)) => new["spec"]["finalizers"] = old["spec"]["finalizers"].clone(),
        ("", "pods", None) => {
            service_account(call, new)?;
            default_tolerations(call.app.config.tolerations, new);
            priority(call, new)?;
            new["status"] = json!({"phase": "Pending", "qosClass": skiff_api::strategy::qos_class(new)});
        }
        ("", "nodes", None) => taint_new_node(new),
        _ => {}
    }
    Ok(())
}

/// Refuses what may not be written.
pub fn validate(call: &Call, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let info = &call.info;
    if call.kind.group == crate::security::rbac::GROUP {
        // No one gives away a permission that he has not got.
        call.app
            .authorizer
            .read(|authority| authority.check_escalation(&call.context.user, &call.kind.kind, old, new))?;
    }
    if call.kind.group == CERTIFICATES && info.subresource == "approval" {
        may_approve(call, new)?;
    }
    node::node_restriction(&call.context.user, &info.verb, &info.resource, &info.subresource, Some(new), old)
        .map_err(|why| Status::forbidden(&call.kind.group, &call.kind.plural, meta::name(new), &why))
}

/// Whoever approves a certificate must be allowed to for its signer, by the signer's name or its domain.
fn may_approve(call: &Call, request: &Value) -> Result<(), Status> {
    let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let allowed = [signer, &domain].into_iter().any(|name| {
        let asked = Attributes {
            user: &call.context.user,
            verb: "approve",
            group: CERTIFICATES,
            version: "*",
            resource: "signers",
            name,
            resource_request: true,
            ..Attributes::default()
        };
        call.app.authorizer.authorize(&asked).is_allowed()
    });
    if allowed {
        return Ok(());
    }
    let why = format!("user not permitted to approve requests with signerName {signer:?}");
    Err(Status::forbidden(CERTIFICATES, &call.kind.plural, call.name(), &why))
}

/// Refuses what may not be deleted.
pub fn deletable(call: &Call, old: &Value) -> Result<(), Status> {
    if call.kind.plural == "namespaces" && IMMORTAL.contains(&call.name()) {
        return Err(Status::forbidden("", "namespaces", call.name(), "this namespace may not be deleted"));
    }
    let info = &call.info;
    node::node_restriction(&call.context.user, "delete", &info.resource, &info.subresource, None, Some(old))
        .map_err(|why| Status::forbidden(&call.kind.group, &call.kind.plural, call.name(), &why))
}

fn find(call: &Call, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Value> {
    let cache = call.app.cache.find(group, resource)?;
    let item: std::sync::Arc<Item> = cache.get(namespace, name)?;
    Some(item.object(cache.kind(), &cache.kind().stored().name))
}

/// A namespace must exist, and not be going, before something is made in it.
fn namespace_lifecycle(call: &Call, new: &Value) -> Result<(), Status> {
    if !call.kind.namespaced {
        return Ok(());
    }
    let namespace = call.namespace();
    let Some(found) = find(call, "", "namespaces", "", namespace) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    if meta::deletion_timestamp(&found).is_some() {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Status::forbidden(&call.kind.group, &call.kind.plural, meta::name(new), &why);
        if let Some(details) = &mut status.details {
            details.causes.push(skiff_api::status::Cause {
                reason: "NamespaceTerminating",
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".into(),
            });
        }
        return Err(status);
    }
    Ok(())
}

/// Gives a pod its service account, and that account's token.
fn service_account(call: &Call, pod: &mut Value) -> Result<(), Status> {
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
    let Some(found) = find(call, "", "serviceaccounts", call.namespace(), &account) else {
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

/// A pod outlives its node's failure for a while unless it says otherwise.
fn default_tolerations(default: Tolerations, pod: &mut Value) {
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for (key, seconds) in [
        ("node.kubernetes.io/not-ready", default.not_ready_s),
        ("node.kubernetes.io/unreachable", default.unreachable_s),
    ] {
        let tolerated = tolerations.iter().any(|toleration| {
            let effect = toleration["effect"].as_str().unwrap_or_default();
            let its = toleration["key"].as_str().unwrap_or_default();
            (its == key || its.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds,
            }));
        }
    }
    pod["spec"]["tolerations"] = tolerations.into();
}

/// Turns a priority class into a number.
fn priority(call: &Call, pod: &mut Value) -> Result<(), Status> {
    let group = "scheduling.k8s.io";
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = if name.is_empty() {
        let cache = call.app.cache.find(group, "priorityclasses");
        cache.and_then(|cache| {
            let snapshot = cache.snapshot();
            let mut objects = snapshot.items.values().map(|item| item.object(cache.kind(), "v1"));
            objects.find(|class| class["globalDefault"] == true)
        })
    } else {
        let found = find(call, group, "priorityclasses", "", &name);
        if found.is_none() {
            let why = format!("no PriorityClass with name {name} was found");
            return Err(Status::forbidden("", "pods", meta::name(pod), &why));
        }
        found
    };
    let value = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(0);
    let asked = pod["spec"]["priority"].as_i64();
    if asked.is_some_and(|asked| asked != value) {
        let error = FieldError::forbidden(
            "spec.priority",
            format!(
                "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name",
                asked.unwrap_or(0)
            ),
        );
        return Err(Status::forbidden("", "pods", meta::name(pod), &error.detail));
    }
    pod["spec"]["priority"] = value.into();
    let policy =
        class.as_ref().and_then(|class| class["preemptionPolicy"].as_str()).unwrap_or("PreemptLowerPriority");
    pod["spec"]["preemptionPolicy"] = policy.into();
    if let Some(class) = class {
        pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
    }
    Ok(())
}

/// A new node takes no pods before it has said that it is ready.
fn taint_new_node(node: &mut Value) {
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let key = "node.kubernetes.io/not-ready";
    if !taints.iter().any(|taint| taint["key"] == key && taint["effect"] == "NoSchedule") {
        taints.push(json!({"key": key, "effect": "NoSchedule"}));
    }
    node["spec"]["taints"] = taints.into();
}
