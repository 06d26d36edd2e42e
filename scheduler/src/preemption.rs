//! Preemption: which pods of lower priority would have to leave for one that fits nowhere.
//!
//! Among the nodes that could be cleared, upstream's order decides: the least important of the highest victims,
//! then the smallest sum of priorities, then the fewest victims. PodDisruptionBudgets are not looked at yet.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::plugin::Prepared;
use crate::pod::Needs;
use crate::schedule::FitError;
use crate::snapshot::Snapshot;

/// Nodes looked at, at most.
const MAX_CANDIDATES: usize = 100;

/// Who has to leave where.
#[derive(Debug, Clone)]
pub struct Preemption {
    /// The node.
    pub node: String,
    /// Uid and pod, the most important first.
    pub victims: Vec<(String, Arc<Needs>)>,
}

/// Finds room for a pod that `error` says fits nowhere.
///
/// # Errors
/// Why nobody is driven out, in upstream's words.
pub fn plan(pod: &Pod, needs: &Needs, snapshot: &Snapshot, error: &FitError) -> Result<Preemption, String> {
    if pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Err("not eligible due to preemptionPolicy=Never.".into());
    }
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_ref());
    if let Some(info) = nominated.and_then(|name| snapshot.nodes.get(name))
        && info.pods.values().any(|other| other.leaving && other.priority < needs.priority)
    {
        return Err("not eligible due to a terminating pod on the nominated node.".into());
    }
    let found =
        error.curable.iter().take(MAX_CANDIDATES).filter_map(|node| clear(pod, needs, snapshot, node));
    let cost = |found: &Preemption| {
        let highest = found.victims.iter().map(|(_, victim)| victim.priority).max().unwrap_or(i32::MIN);
        // Shifted, so that many unimportant pods weigh more than one.
        let sum: i64 = found.victims.iter().map(|(_, victim)| i64::from(victim.priority) + (1 << 31)).sum();
        (highest, sum, found.victims.len())
    };
    found.min_by_key(cost).ok_or_else(|| {
        let hopeless = error.nodes - error.curable.len();
        let mut parts = Vec::new();
        if !error.curable.is_empty() {
            parts.push(format!("{} No preemption victims found for incoming pod", error.curable.len()));
        }
        if hopeless > 0 {
            parts.push(format!("{hopeless} Preemption is not helpful for scheduling"));
        }
        format!("0/{} nodes are available: {}.", error.nodes, parts.join(", "))
    })
}

/// Takes every lesser pod off the node, then lets back, the most important first, whoever leaves room enough.
fn clear(pod: &Pod, needs: &Needs, snapshot: &Snapshot, node: &str) -> Option<Preemption> {
    let mut world = snapshot.clone();
    let lesser = snapshot.nodes.get(node)?.pods.iter().filter(|(_, other)| other.priority < needs.priority);
    let mut lesser: Vec<(String, Arc<Needs>)> =
        lesser.map(|(uid, other)| (uid.clone(), other.clone())).collect();
    lesser.sort_by_key(|(_, other)| std::cmp::Reverse(other.priority));
    for (uid, _) in &lesser {
        Arc::make_mut(world.nodes.get_mut(node)?).remove(uid);
    }
    let fits = |world: &Snapshot| {
        let prepared = Prepared::new(pod, needs, world);
        world.nodes.get(node).is_some_and(|info| prepared.filter(pod, needs, info).is_ok())
    };
    if lesser.is_empty() || !fits(&world) {
        return None;
    }
    let mut victims = Vec::new();
    for (uid, other) in lesser {
        Arc::make_mut(world.nodes.get_mut(node)?).add(&uid, other.clone());
        if !fits(&world) {
            Arc::make_mut(world.nodes.get_mut(node)?).remove(&uid);
            victims.push((uid, other));
        }
    }
    Some(Preemption { node: node.to_owned(), victims })
}
