//! What pods and volumes refer to by name. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Key;
use crate::security::{items, text};

/// Where, inside one volume of a pod, a Secret's name stands.
const VOLUME_SECRETS: [&str; 11] = [
    "/secret/secretName",
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/flexVolume/secretRef/name",
    "/iscsi/secretRef/name",
    "/rbd/secretRef/name",
    "/scaleIO/secretRef/name",
    "/storageos/secretRef/name",
    "/csi/nodePublishSecretRef/name",
    "/csi/nodeStageSecretRef/name",
];

/// Where, inside a PersistentVolume's spec, a Secret is named with its namespace.
const PERSISTENT_SECRETS: [&str; 11] = [
    "/cephfs/secretRef",
    "/cinder/secretRef",
    "/flexVolume/secretRef",
    "/iscsi/secretRef",
    "/rbd/secretRef",
    "/scaleIO/secretRef",
    "/storageos/secretRef",
    "/csi/nodePublishSecretRef",
    "/csi/nodeStageSecretRef",
    "/csi/controllerPublishSecretRef",
    "/csi/nodeExpandSecretRef",
];

/// The pod itself and, unless it is a mirror pod (which a node makes by itself), all it refers to; each once.
pub(super) fn of_pod(pod: &Value) -> BTreeSet<Key> {
    let namespace = text(pod, "/metadata/namespace");
    let pod_name = text(pod, "/metadata/name");
    let mut found = BTreeSet::new();
    let mut add = |resource: &'static str, name: &str| {
        if !name.is_empty() {
            found.insert((resource, namespace.to_owned(), name.to_owned()));
        }
    };
    add("pods", pod_name);
    if pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some() {
        return found;
    }
    add("serviceaccounts", text(pod, "/spec/serviceAccountName"));
    for secret in items(pod, "/spec/imagePullSecrets") {
        add("secrets", text(secret, "/name"));
    }
    for list in ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"] {
        for container in items(pod, list) {
            for source in items(container, "/envFrom") {
                add("secrets", text(source, "/secretRef/name"));
                add("configmaps", text(source, "/configMapRef/name"));
            }
            for variable in items(container, "/env") {
                add("secrets", text(variable, "/valueFrom/secretKeyRef/name"));
                add("configmaps", text(variable, "/valueFrom/configMapKeyRef/name"));
            }
        }
    }
    for volume in items(pod, "/spec/volumes") {
        for pointer in VOLUME_SECRETS {
            add("secrets", text(volume, pointer));
        }
        add("configmaps", text(volume, "/configMap/name"));
        add("persistentvolumeclaims", text(volume, "/persistentVolumeClaim/claimName"));
        if volume.pointer("/ephemeral").is_some_and(Value::is_object) {
            add("persistentvolumeclaims", &format!("{pod_name}-{}", text(volume, "/name")));
        }
        for source in items(volume, "/projected/sources") {
            add("secrets", text(source, "/secret/name"));
            add("configmaps", text(source, "/configMap/name"));
        }
    }
    found
}

/// The Secrets that a PersistentVolume needs; without a namespace of their own they are in the claim's.
pub(super) fn of_volume(volume: &Value) -> Vec<Key> {
    let claim = text(volume, "/spec/claimRef/namespace");
    let mut found = Vec::new();
    let mut add = |namespace: &str, name: &str| {
        let namespace = if namespace.is_empty() { claim } else { namespace };
        if !name.is_empty() {
            found.push(("secrets", namespace.to_owned(), name.to_owned()));
        }
    };
    for pointer in PERSISTENT_SECRETS {
        let place = format!("/spec{pointer}");
        add(text(volume, &format!("{place}/namespace")), text(volume, &format!("{place}/name")));
    }
    add(text(volume, "/spec/azureFile/secretNamespace"), text(volume, "/spec/azureFile/secretName"));
    found
}
