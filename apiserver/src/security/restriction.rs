//! NodeRestriction: what a node agent may write, beyond what the Node authorizer can see. Pure.
//!
//! Rules and messages as upstream's `plugin/pkg/admission/noderestriction`. Users that are no node agents pass.

mod mirror;

use std::collections::BTreeSet;

use serde_json::Value;

use super::{User, items, text};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// The labels under kubernetes.io that a node may set on itself.
const OWN_LABELS: [&str; 13] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// The label namespaces, sub-namespaces included, that a node may use on itself.
const OWN_LABEL_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Refuses a node agent's write of an object that is not its own. `new` is `None` for a deletion, `old` for a creation; `uid` is
/// the uid of the agent's node.
/// The main resource and `status` are judged; an eviction by [`may_evict`], a token by [`may_request_token`].
///
/// # Errors
/// Why it is refused.
pub fn node_restriction(
    user: &User,
    verb: &str,
    resource: &str,
    subresource: &str,
    new: Option<&Value>,
    old: Option<&Value>,
    uid: Option<&str>,
) -> Result<(), String> {
    let Some(node) = user.node() else { return unidentified(user) };
    let Some(object) = new.or(old) else { return Ok(()) };
    let name = text(object, "/metadata/name");
    let mine = |what: &str| {
        if name == node {
            return Ok(());
        }
        Err(format!("can only access {what} with the same name as the requesting node"))
    };
    match (resource, subresource) {
        ("pods", "") => pod(node, uid, verb, new, old),
        ("pods", "status") => pod_status(node, new, old),
        ("pods", "eviction") | ("serviceaccounts", _) => Ok(()),
        ("pods", other) => {
            Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
        }
        ("nodes", _) => own_node(node, name, new, old),
        ("persistentvolumeclaims", "status") => claim_status(node, new, old),
        ("persistentvolumeclaims", _) => Err("may only update PVC status".into()),
        ("leases", _) if text(object, "/metadata/namespace") != "kube-node-lease" => {
            Err("can only access leases in the \"kube-node-lease\" system namespace".into())
        }
        ("leases", _) => mine("node lease"),
        ("csinodes", _) => mine("CSINode"),
        _ => Ok(()),
    }
}

/// Refuses the eviction of a pod of another node.
///
/// # Errors
/// Why it is refused.
pub fn may_evict(user: &User, pod: &Value) -> Result<(), String> {
    let Some(node) = user.node() else { return unidentified(user) };
    if text(pod, "/spec/nodeName") == node {
        return Ok(());
    }
    Err(format!("node {node} can only evict pods with spec.nodeName set to itself"))
}

/// Refuses a node agent's TokenRequest that is not for a pod of that node. `pod` is the pod that the request names, if
/// it exists.
///
/// # Errors
/// Why it is refused.
pub fn may_request_token(user: &User, request: &Value, pod: Option<&Value>) -> Result<(), String> {
    let Some(node) = user.node() else { return unidentified(user) };
    let field = |name: &str| text(request, &format!("/spec/boundObjectRef/{name}"));
    if field("apiVersion") != "v1" || field("kind") != "Pod" || field("name").is_empty() {
        return Err("node requested token not bound to a pod".into());
    }
    let uid = field("uid");
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".into());
    }
    let Some(pod) = pod else { return Err(format!("pod {:?} not found", field("name"))) };
    if text(pod, "/metadata/uid") != uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if text(pod, "/spec/nodeName") != node {
        return Err("node requested token bound to a pod scheduled on a different node".into());
    }
    let audiences = items(request, "/spec/audiences");
    if audiences.len() > 1 {
        return Err("node may only request 0 or 1 audiences".into());
    }
    let audience = audiences.first().and_then(Value::as_str).unwrap_or_default();
    if mounts_audience(pod, audience) {
        return Ok(());
    }
    Err(format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        user.name
    ))
}

fn mounts_audience(pod: &Value, audience: &str) -> bool {
    let projected = items(pod, "/spec/volumes").iter().flat_map(|volume| items(volume, "/projected/sources"));
    let mut mounted = projected.filter_map(|source| source.get("serviceAccountToken"));
    mounted.any(|token| text(token, "/audience") == audience)
}

/// A member of the nodes' group must name a node.
fn unidentified(user: &User) -> Result<(), String> {
    if user.is_in(super::NODES) {
        return Err(format!("could not determine node from user {:?}", user.name));
    }
    Ok(())
}

fn pod(
    node: &str,
    uid: Option<&str>,
    verb: &str,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), String> {
    match (old, new) {
        (None, Some(pod)) => mirror::check(node, pod, uid),
        (Some(pod), None) if text(pod, "/spec/nodeName") == node => Ok(()),
        (Some(_), None) => {
            Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        // A deletion that only marks the pod is an update of the object.
        (Some(pod), Some(_)) if verb == "delete" && text(pod, "/spec/nodeName") == node => Ok(()),
        _ => Err(format!(
            "unexpected operation {verb:?}, node {node:?} can only create and delete mirror pods"
        )),
    }
}

fn pod_status(node: &str, new: Option<&Value>, old: Option<&Value>) -> Result<(), String> {
    let (Some(new), Some(old)) = (new, old) else { return Err("unexpected operation".into()) };
    if text(old, "/spec/nodeName") != node {
        return Err(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let table = [
        ("/metadata/labels", "cannot update labels through pod status"),
        ("/status/resourceClaimStatuses", "cannot update resource claim statues"),
        ("/status/extendedResourceClaimStatus", "cannot update extended resource claim status"),
    ];
    unchanged(node, &table, new, old)
}

fn own_node(node: &str, name: &str, new: Option<&Value>, old: Option<&Value>) -> Result<(), String> {
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let Some(new) = new else { return Ok(()) };
    let forbidden = forbidden_labels(new, old);
    let Some(old) = old else {
        if new.pointer("/spec/configSource").is_some_and(|source| !source.is_null()) {
            return Err(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
        }
        if !forbidden.is_empty() {
            return Err(format!("node {node:?} is not allowed to set the following labels: {forbidden}"));
        }
        return Ok(());
    };
    let table = [
        ("/spec/configSource", "is not allowed to update configSource to a new non-nil configSource"),
        ("/spec/taints", "is not allowed to modify taints"),
        ("/metadata/ownerReferences", "is not allowed to modify ownerReferences"),
    ];
    unchanged(node, &table, new, old)?;
    if !forbidden.is_empty() {
        return Err(format!("is not allowed to modify labels: {forbidden}"));
    }
    Ok(())
}

fn claim_status(node: &str, new: Option<&Value>, old: Option<&Value>) -> Result<(), String> {
    let (Some(new), Some(old)) = (new, old) else { return Err("unexpected operation".into()) };
    let stripped = |claim: &Value| {
        let mut claim = claim.clone();
        for (part, fields) in [
            ("metadata", &["resourceVersion", "managedFields", "generation"][..]),
            ("status", &["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"][..]),
        ] {
            if let Some(map) = claim.get_mut(part).and_then(Value::as_object_mut) {
                fields.iter().for_each(|field| drop(map.remove(*field)));
            }
        }
        claim
    };
    if stripped(new) == stripped(old) {
        return Ok(());
    }
    Err(format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
    ))
}

fn unchanged(node: &str, table: &[(&str, &str)], new: &Value, old: &Value) -> Result<(), String> {
    // Absent, null and empty are the same.
    let value = |object: &Value, pointer: &str| {
        object.pointer(pointer).cloned().filter(|value| {
            !value.is_null()
                && value.as_array().is_none_or(|list| !list.is_empty())
                && value.as_object().is_none_or(|map| !map.is_empty())
        })
    };
    match table.iter().find(|(pointer, _)| value(new, pointer) != value(old, pointer)) {
        Some((_, why)) => Err(format!("node {node:?} {why}")),
        None => Ok(()),
    }
}

fn forbidden_labels(new: &Value, old: Option<&Value>) -> String {
    let labels = |object: &Value| {
        object.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let (new, old) = (labels(new), old.map(labels).unwrap_or_default());
    let keys: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    let changed = keys.into_iter().filter(|key| new.get(*key) != old.get(*key));
    changed.filter(|key| !may_label(key)).map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn may_label(key: &str) -> bool {
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    let under = |parent: &str| {
        namespace == parent || namespace.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
    };
    if under("node-restriction.kubernetes.io") {
        return false;
    }
    let reserved = under("kubernetes.io") || under("k8s.io");
    !reserved || OWN_LABELS.contains(&key) || OWN_LABEL_NAMESPACES.iter().any(|own| under(own))
}

#[cfg(test)]
mod tests;
