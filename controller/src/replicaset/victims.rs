//! Which pods go first when there are too many.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::decide::World;
use crate::claim::controller_of;
use crate::pods::{is_active, is_ready, phase, ready_condition};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods whose loss costs least: not yet on a node, not yet running, not ready, cheapest by annotation, on
/// the most crowded node, ready for the shortest time, restarted most, youngest. Times are compared by magnitude, so that
/// among pods of about one age the choice does not always fall on the same node.
pub(super) fn choose(
    world: &World,
    mut active: Vec<Arc<Pod>>,
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let crowd = crowd(world);
    active.sort_by_cached_key(|pod| rank(pod, &crowd, now));
    active.truncate(count);
    active
}

/// How many pods of this set and of those with the same owner (the other revisions of its Deployment) a node has.
fn crowd(world: &World) -> HashMap<String, usize> {
    let owner = controller_of(&world.set.metadata).map(|owner| &owner.uid);
    let related: HashSet<_> = world
        .siblings
        .iter()
        .filter(|other| {
            let same_owner =
                owner.is_some() && controller_of(&other.metadata).map(|owner| &owner.uid) == owner;
            same_owner || other.metadata.uid == world.set.metadata.uid
        })
        .filter_map(|set| set.metadata.uid.as_ref())
        .collect();
    let mut crowd = HashMap::new();
    for pod in world.pods.iter().filter(|pod| is_active(pod)) {
        if controller_of(&pod.metadata).is_some_and(|owner| related.contains(&owner.uid)) {
            *crowd.entry(node(pod).to_owned()).or_default() += 1;
        }
    }
    crowd
}

type Rank = (bool, u8, bool, i32, Reverse<usize>, u32, Reverse<i32>, u32, String);

fn rank(pod: &Pod, crowd: &HashMap<String, usize>, now: Timestamp) -> Rank {
    let phase = match phase(pod) {
        "Pending" => 0,
        "Running" => 2,
        _ => 1,
    };
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|a| a.get(DELETION_COST)?.parse().ok()).unwrap_or(0);
    let ready_since =
        ready_condition(pod).filter(|_| is_ready(pod)).and_then(|c| c.last_transition_time.as_ref());
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let restarts = statuses.map(|status| status.restart_count).max().unwrap_or(0);
    (
        !node(pod).is_empty(),
        phase,
        is_ready(pod),
        cost,
        Reverse(crowd.get(node(pod)).copied().unwrap_or(0)),
        magnitude(ready_since.map(|time| time.0), now),
        Reverse(restarts),
        magnitude(pod.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
        // Any fixed order will do; random names make it a random one.
        pod.metadata.uid.clone().unwrap_or_default(),
    )
}

fn magnitude(since: Option<Timestamp>, now: Timestamp) -> u32 {
    since.map_or(0, |since| {
        now.duration_since(since).as_secs().max(0).checked_ilog2().map_or(0, |log| log + 1)
    })
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}
