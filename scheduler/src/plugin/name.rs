//! NodeName: a pod that names its node goes nowhere else.

use k8s_openapi::api::core::v1::Pod;

use crate::pod::Needs;
use crate::snapshot::NodeInfo;

/// Refuses every node but the one named.
pub fn filter(pod: &Pod, _: &Needs, info: &NodeInfo) -> Result<(), Vec<String>> {
    let wanted = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    if wanted.is_empty() || wanted == info.name() {
        return Ok(());
    }
    Err(vec!["node(s) didn't match the requested node name".into()])
}
