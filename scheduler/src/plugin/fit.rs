//! NodeResourcesFit and NodeResourcesBalancedAllocation: room.

use k8s_openapi::api::core::v1::Pod;

use crate::pod::Needs;
use crate::snapshot::NodeInfo;

/// Refuses a node without room, naming each resource that is short.
pub fn filter(_: &Pod, needs: &Needs, info: &NodeInfo) -> Result<(), Vec<String>> {
    let mut short = Vec::new();
    let places = info.allocatable.get("pods").copied().unwrap_or(0);
    if info.pods.len() as i128 + 1 > places {
        short.push("Too many pods".to_owned());
    }
    for (name, amount) in needs.requests.iter().filter(|(_, amount)| **amount > 0) {
        let has = info.allocatable.get(name).copied().unwrap_or(0);
        let used = info.requested.get(name).copied().unwrap_or(0);
        if used + amount > has {
            short.push(format!("Insufficient {name}"));
        }
    }
    if short.is_empty() { Ok(()) } else { Err(short) }
}

/// Whether the pod would fit if the node were empty.
pub fn could_ever(needs: &Needs, info: &NodeInfo) -> bool {
    needs.requests.iter().all(|(name, amount)| *amount <= info.allocatable.get(name).copied().unwrap_or(0))
}

/// CPU and memory of a node: what would be used with the pod on it, and what there is.
fn shares(needs: &Needs, info: &NodeInfo) -> [(i128, i128); 2] {
    let has = |name: &str| info.allocatable.get(name).copied().unwrap_or(0);
    [(info.likely.0 + needs.likely.0, has("cpu")), (info.likely.1 + needs.likely.1, has("memory"))]
}

/// Prefers nodes with much left.
pub fn least_allocated(_: &Pod, needs: &Needs, info: &NodeInfo) -> i64 {
    let left = shares(needs, info)
        .map(|(used, has)| if has == 0 || used > has { 0 } else { (has - used) * 100 / has });
    i64::try_from(left.iter().sum::<i128>() / 2).unwrap_or(0)
}

/// Prefers nodes where CPU and memory are used alike.
pub fn balanced(_: &Pod, needs: &Needs, info: &NodeInfo) -> i64 {
    let [cpu, memory] =
        shares(needs, info).map(|(used, has)| if has == 0 { 100 } else { (used * 100 / has).min(100) });
    i64::try_from(100 - (cpu - memory).abs() / 2).unwrap_or(0)
}
