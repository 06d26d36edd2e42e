//! Restricted: what a pod need not be able to do.

use serde_json::Value;

use super::words::{Values, containers, name, plural, quoted, setters, violation};
use super::{Pod, Violation, baseline};

fn each<'a>(of: &'a Value, list: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    of[list].as_array().into_iter().flatten().filter_map(Value::as_str)
}

pub fn privilege_escalation(pod: Pod<'_>) -> Option<Violation> {
    let open = |one: &&Value| one["securityContext"]["allowPrivilegeEscalation"] != false;
    let names: Vec<&str> = pod.containers().filter(open).map(name).collect();
    if names.is_empty() {
        return None;
    }
    violation(
        "allowPrivilegeEscalation != false",
        format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names)),
    )
}

pub fn privilege_escalation_1_25(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { privilege_escalation(pod) }
}

pub fn capabilities(pod: Pod<'_>) -> Option<Violation> {
    let (mut keeping, mut adding, mut values) = (Vec::new(), Vec::new(), Values::new());
    for container in pod.containers() {
        let own = &container["securityContext"]["capabilities"];
        if !each(own, "drop").any(|one| one == "ALL") {
            keeping.push(name(container));
        }
        let bad: Vec<&str> = each(own, "add").filter(|one| *one != "NET_BIND_SERVICE").collect();
        if !bad.is_empty() {
            adding.push(name(container));
            values.extend(bad);
        }
    }
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details
            .push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    }
    if !adding.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&adding),
            quoted(values)
        ));
    }
    if details.is_empty() {
        return None;
    }
    violation("unrestricted capabilities", details.join("; "))
}

pub fn capabilities_1_25(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { capabilities(pod) }
}

/// What a pod may have mounted.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const RESTRICTED_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

pub fn volumes(pod: Pod<'_>) -> Option<Violation> {
    let (mut names, mut kinds) = (Vec::new(), Values::new());
    for volume in pod.volumes().filter(|volume| !VOLUMES.iter().any(|kind| volume[*kind].is_object())) {
        names.push(name(volume));
        let kind = RESTRICTED_VOLUMES.iter().find(|kind| volume[**kind].is_object());
        kinds.insert(kind.copied().unwrap_or("unknown"));
    }
    if names.is_empty() {
        return None;
    }
    violation(
        "restricted volume types",
        format!(
            "{} {} {} {} {}",
            plural(names.len(), "volume", "volumes"),
            quoted(&names),
            plural(names.len(), "uses", "use"),
            plural(kinds.len(), "restricted volume type", "restricted volume types"),
            quoted(kinds)
        ),
    )
}

pub fn non_root(pod: Pod<'_>) -> Option<Violation> {
    let said = |context: &Value| context["runAsNonRoot"].as_bool();
    let whole = said(pod.context());
    let which = |says: Option<bool>| -> Vec<&str> {
        pod.containers().filter(|one| said(&one["securityContext"]) == says).map(name).collect()
    };
    let reason = "runAsNonRoot != true";
    if let Some(who) = setters(whole == Some(false), &which(Some(false))) {
        return violation(reason, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = which(None);
    if whole == Some(true) || silent.is_empty() {
        return None;
    }
    violation(reason, format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent)))
}

pub fn non_root_1_35(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { non_root(pod) }
}

pub fn user(pod: Pod<'_>) -> Option<Violation> {
    let root = |context: &Value| context["runAsUser"] == 0;
    let names: Vec<&str> = pod.containers().filter(|one| root(&one["securityContext"])).map(name).collect();
    let who = setters(root(pod.context()), &names)?;
    violation("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub fn user_1_35(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { user(pod) }
}

pub fn seccomp(pod: Pod<'_>) -> Option<Violation> {
    if let Some(violation) = baseline::seccomp(pod) {
        return Some(violation);
    }
    let set = |context| baseline::seccomp_type(context).is_some();
    let silent: Vec<&str> = pod.containers().filter(|one| !set(&one["securityContext"])).map(name).collect();
    if set(pod.context()) || silent.is_empty() {
        return None;
    }
    violation(
        "seccompProfile",
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&silent)
        ),
    )
}

pub fn seccomp_1_25(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { seccomp(pod) }
}
