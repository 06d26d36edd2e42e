//! The cells of a node.

use serde_json::Value;

use super::cells::text;
use crate::{Object, meta};

/// `Ready`, `NotReady,SchedulingDisabled`…
pub fn status(node: &Object) -> String {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|condition| condition["status"].as_str()) {
        Some(Some("True")) => "Ready".to_owned(),
        Some(_) => "NotReady".into(),
        None => "Unknown".into(),
    };
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

/// Roles by label, or `<none>`.
pub fn roles(node: &Object) -> String {
    let mut roles: Vec<&str> = meta::labels(node)
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role),
            _ => (key == "kubernetes.io/role" && !value.is_empty()).then_some(value),
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}

/// The first address of that type, or `<none>`.
pub fn address(node: &Object, of: &str) -> String {
    let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = addresses.iter().find(|address: &&Value| address["type"] == of);
    found.map_or("<none>".into(), |address| text(&address["address"]))
}
