//! Volumes, as Pods and their templates show them.

use serde_json::Value;

use super::{Page, items, text};

/// The sources that have a line of their own: (field, what `Type:` says, and (label, field, what stands for nothing)).
type Shown = (&'static str, &'static str, &'static [(&'static str, &'static str, &'static str)]);

const SOURCES: [Shown; 6] = [
    (
        "emptyDir",
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[("Medium:", "medium", ""), ("SizeLimit:", "sizeLimit", "<unset>")],
    ),
    (
        "hostPath",
        "HostPath (bare host directory volume)",
        &[("Path:", "path", ""), ("HostPathType:", "type", "")],
    ),
    (
        "secret",
        "Secret (a volume populated by a Secret)",
        &[("SecretName:", "secretName", ""), ("Optional:", "optional", "false")],
    ),
    (
        "configMap",
        "ConfigMap (a volume populated by a ConfigMap)",
        &[("Name:", "name", ""), ("Optional:", "optional", "false")],
    ),
    (
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[("ClaimName:", "claimName", ""), ("ReadOnly:", "readOnly", "false")],
    ),
    (
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[("Server:", "server", ""), ("Path:", "path", ""), ("ReadOnly:", "readOnly", "false")],
    ),
];

/// A pod's volumes: what they are, and their fields.
pub(super) fn list(page: &mut Page, level: usize, volumes: &Value) {
    let volumes = items(volumes);
    if volumes.is_empty() {
        page.field(level, "Volumes:", "<none>");
        return;
    }
    page.line(level, "Volumes:");
    for volume in volumes {
        page.line(level + 1, format!("{}:", text(&volume["name"])));
        for (kind, source) in volume.as_object().into_iter().flatten().filter(|(key, _)| *key != "name") {
            one(page, level + 2, kind, source);
        }
    }
}

fn one(page: &mut Page, level: usize, kind: &str, source: &Value) {
    if kind == "projected" {
        return projected(page, level, source);
    }
    if let Some((_, what, fields)) = SOURCES.iter().find(|(known, ..)| *known == kind) {
        page.field(level, "Type:", *what);
        for (label, key, nothing) in *fields {
            page.field(
                level,
                label,
                if source[key].is_null() { (*nothing).to_owned() } else { text(&source[key]) },
            );
        }
        return;
    }
    let mut shown: Vec<char> = kind.chars().collect();
    if let Some(first) = shown.first_mut() {
        first.make_ascii_uppercase();
    }
    page.field(level, "Type:", shown.into_iter().collect::<String>());
    let plain =
        source.as_object().into_iter().flatten().filter(|(_, value)| !value.is_array() && !value.is_object());
    plain.for_each(|(key, value)| page.field(level, &format!("{key}:"), text(value)));
}

fn projected(page: &mut Page, level: usize, volume: &Value) {
    page.field(level, "Type:", "Projected (a volume that contains injected data from multiple sources)");
    for source in items(&volume["sources"]) {
        let optional = |of: &Value| (of["optional"] == true).to_string();
        if let Some(secret) = source.get("secret") {
            page.field(level, "SecretName:", text(&secret["name"]));
            page.field(level, "Optional:", optional(secret));
        } else if source.get("downwardAPI").is_some() {
            page.field(level, "DownwardAPI:", "true");
        } else if let Some(map) = source.get("configMap") {
            page.field(level, "ConfigMapName:", text(&map["name"]));
            page.field(level, "Optional:", optional(map));
        } else if let Some(token) = source.get("serviceAccountToken") {
            page.field(level, "TokenExpirationSeconds:", text(&token["expirationSeconds"]));
        }
    }
}
