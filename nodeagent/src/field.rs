//! What `fieldRef` and `resourceFieldRef` name: pure.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::{
    error::{Error, Result},
    quantity,
};

/// What the node can give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocatable {
    /// Thousandths of a CPU.
    pub cpu_millis: i64,
    /// Bytes.
    pub memory_bytes: i64,
    /// Bytes.
    pub storage_bytes: i64,
}

impl Allocatable {
    /// What is left when `reserved` is taken away.
    #[must_use]
    pub fn less(self, reserved: Self) -> Self {
        let left = |all: i64, kept: i64| (all - kept).max(0);
        Self {
            cpu_millis: left(self.cpu_millis, reserved.cpu_millis),
            memory_bytes: left(self.memory_bytes, reserved.memory_bytes),
            storage_bytes: left(self.storage_bytes, reserved.storage_bytes),
        }
    }
}

/// The value of a field of the pod.
pub fn pod_field(pod: &Pod, pod_ip: Option<IpAddr>, node_ip: IpAddr, path: &str) -> Result<String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = subscript("metadata.labels") {
        return text(meta.labels.as_ref().and_then(|l| l.get(key)));
    }
    if let Some(key) = subscript("metadata.annotations") {
        return text(meta.annotations.as_ref().and_then(|l| l.get(key)));
    }
    match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => Ok(map(meta.labels.as_ref())),
        "metadata.annotations" => Ok(map(meta.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|s| s.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|s| s.service_account_name.as_ref())),
        "status.hostIP" | "status.hostIPs" => Ok(node_ip.to_string()),
        "status.podIP" | "status.podIPs" => Ok(pod_ip.map(|ip| ip.to_string()).unwrap_or_default()),
        _ => Err(Error::Invalid(format!("unsupported fieldPath: {path}"))),
    }
}

/// One `key="value"` a line, as the downward API writes maps.
fn map(of: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = of.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect();
    lines.join("\n")
}

/// A request or limit of a container, in units of `divisor`, rounded up. A limit that is not set is what the node has.
pub fn resource_field(
    container: &Container,
    name: &str,
    divisor: Option<&str>,
    node: Allocatable,
) -> Result<String> {
    let (list, resource) = name.split_once('.').unwrap_or((name, ""));
    let resources = container.resources.clone().unwrap_or_default();
    let set = match list {
        "limits" => resources.limits,
        "requests" => resources.requests,
        _ => return Err(Error::Invalid(format!("unsupported container resource : {name}"))),
    };
    let given = set.and_then(|s| s.get(resource).and_then(|q| quantity::milli(&q.0)));
    let node = match resource {
        "cpu" => node.cpu_millis,
        "memory" => node.memory_bytes.saturating_mul(1000),
        "ephemeral-storage" => node.storage_bytes.saturating_mul(1000),
        _ => 0,
    };
    let value = given.unwrap_or(if list == "limits" { node } else { 0 });
    let divisor = divisor.and_then(quantity::milli).filter(|d| *d > 0).unwrap_or(1000);
    Ok((value.div_euclid(divisor) + i64::from(value.rem_euclid(divisor) > 0)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_given_in_units_of_its_divisor() {
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}
        }))
        .unwrap();
        let node = Allocatable { cpu_millis: 2000, ..Allocatable::default() };
        let check = |name, divisor, want: &str| {
            assert_eq!(resource_field(&container, name, divisor, node).unwrap(), want)
        };
        check("limits.cpu", None, "2");
        check("limits.cpu", Some("1m"), "1500");
        check("limits.memory", Some("1Mi"), "64");
        check("requests.cpu", None, "0");
    }
}
