//! NodeUnschedulable: cordoned nodes take only pods that tolerate it.

use k8s_openapi::api::core::v1::{Pod, Taint};

use super::taints;
use crate::pod::Needs;
use crate::snapshot::NodeInfo;

/// Refuses a cordoned node.
pub fn filter(pod: &Pod, _: &Needs, info: &NodeInfo) -> Result<(), Vec<String>> {
    let cordoned = info.node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    if cordoned && !taints::tolerated(pod, &taint) {
        return Err(vec!["node(s) were unschedulable".into()]);
    }
    Ok(())
}
