//! Mirror pods, the only pods that a node makes: bound to it, owned by it, and referring to nothing in the API, so that no
//! node mounts what it may not read. Pure, as upstream's NodeRestriction.

use serde_json::Value;

use super::MIRROR;
use crate::security::node::references_of;
use crate::security::{items, text};

/// Volumes that need the API, and what they refer to.
const VOLUMES: [(&str, &str); 8] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
    ("projected", ""),
];

/// Sources of projected volumes that need the API, and what they refer to.
const SOURCES: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// Refuses a pod that a node may not make. `uid` is the node's own, if there is such a node.
///
/// # Errors
/// Why it is refused.
pub fn check(node: &str, pod: &Value, uid: Option<&str>) -> Result<(), String> {
    if pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_none() {
        return Err(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if text(pod, "/spec/nodeName") != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let only = |what: &str| Err(format!("node {node:?} can only create pods with {what} set to itself"));
    let owner = match items(pod, "/metadata/ownerReferences") {
        [] => return only("an owner reference"),
        [owner] => owner,
        _ => return only("a single owner reference"),
    };
    let named = [("/apiVersion", "v1"), ("/kind", "Node"), ("/name", node)];
    if named.iter().any(|(field, wanted)| text(owner, field) != *wanted) {
        return only("an owner reference");
    }
    if owner["controller"] != true {
        return only("a controller owner reference");
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let Some(uid) = uid else { return Err(format!("nodes {node:?} not found")) };
    let said = text(owner, "/uid");
    if said != uid {
        return Err(format!("node {node} UID mismatch: expected {said} got {uid}"));
    }
    match refers_to(pod) {
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// What in the API a pod refers to, in upstream's words.
fn refers_to(pod: &Value) -> Option<&'static str> {
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return Some("serviceaccounts");
    }
    let keys = references_of(pod);
    if let Some(named) =
        ["secrets", "configmaps"].into_iter().find(|sort| keys.iter().any(|key| key.0 == *sort))
    {
        return Some(named);
    }
    if !items(pod, "/spec/resourceClaims").is_empty() {
        return Some("resourceclaims");
    }
    let has = |object: &Value, field: &str| object.get(field).is_some_and(|value| !value.is_null());
    items(pod, "/spec/volumes").iter().find_map(|volume| {
        let sources = items(volume, "/projected/sources").iter();
        let mut projected = sources.filter_map(|source| SOURCES.iter().find(|(field, _)| has(source, field)));
        match VOLUMES.iter().find(|(field, _)| has(volume, field))? {
            (_, "") => projected.next().map(|(_, what)| *what),
            (_, what) => Some(*what),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(change: impl FnOnce(&mut Value)) -> String {
        let mut pod = json!({"metadata": {"name": "m", "annotations": {MIRROR: "x"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]}, "spec": {"nodeName": "n"}});
        change(&mut pod);
        check("n", &pod, Some("u")).err().unwrap_or_default()
    }

    #[test]
    fn a_mirror_pod_is_of_its_node() {
        type Change = fn(&mut Value);
        let table: [(Change, &str); 8] = [
            (|_| {}, ""),
            (
                |pod| pod["metadata"]["annotations"] = json!({}),
                r#"pod does not have "kubernetes.io/config.mirror" annotation, node "n" can only create mirror pods"#,
            ),
            (
                |pod| pod["spec"]["nodeName"] = "m".into(),
                r#"node "n" can only create pods with spec.nodeName set to itself"#,
            ),
            (
                |pod| pod["metadata"]["ownerReferences"] = json!([]),
                r#"node "n" can only create pods with an owner reference set to itself"#,
            ),
            (
                |pod| pod["metadata"]["ownerReferences"][0]["name"] = "m".into(),
                r#"node "n" can only create pods with an owner reference set to itself"#,
            ),
            (
                |pod| pod["metadata"]["ownerReferences"][0]["controller"] = false.into(),
                r#"node "n" can only create pods with a controller owner reference set to itself"#,
            ),
            (
                |pod| pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into(),
                r#"node "n" must not set blockOwnerDeletion on an owner reference"#,
            ),
            (
                |pod| pod["metadata"]["ownerReferences"][0]["uid"] = "v".into(),
                "node n UID mismatch: expected v got u",
            ),
        ];
        for (change, expected) in table {
            assert_eq!(told(change), expected);
        }
    }

    #[test]
    fn a_mirror_pod_refers_to_nothing_in_the_api() {
        let volumes = [
            (json!({"emptyDir": {}}), ""),
            (json!({"hostPath": {"path": "/x"}}), ""),
            (json!({"projected": {"sources": [{"downwardAPI": {}}]}}), ""),
            (json!({"secret": {"secretName": "s"}}), "secrets"),
            (json!({"secret": {}}), "secrets (via secret volumes)"),
            (json!({"configMap": {"name": "c"}}), "configmaps"),
            (json!({"csi": {"driver": "d"}}), "csidrivers (via CSI volumes)"),
            (json!({"persistentVolumeClaim": {"claimName": "c"}}), "persistentvolumeclaims"),
            (json!({"ephemeral": {}}), "persistentvolumeclaims (via ephemeral volumes)"),
            (
                json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
                "serviceaccounts (via projected volumes)",
            ),
            (json!({"projected": {"sources": [{"clusterTrustBundle": {}}]}}), "clustertrustbundles"),
        ];
        for (volume, expected) in volumes {
            let told = told(|pod| pod["spec"]["volumes"] = json!([volume]));
            let words = r#"node "n" can not create pods that reference "#;
            assert_eq!(told.strip_prefix(words).unwrap_or(&told), expected, "{volume}");
        }
        let account = told(|pod| pod["spec"]["serviceAccountName"] = "default".into());
        assert!(account.ends_with("serviceaccounts"), "{account}");
        let claims = told(|pod| pod["spec"]["resourceClaims"] = json!([{"name": "c"}]));
        assert!(claims.ends_with("resourceclaims"), "{claims}");
    }
}
