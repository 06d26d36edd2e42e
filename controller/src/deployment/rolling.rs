//! Rolling updates: the new set grows and the old ones shrink, within maxSurge and maxUnavailable.

use super::decide::{Rollout, Strategy, available, size};

/// The size that the new set may have now.
pub(super) fn new_size(rollout: &Rollout<'_>, present: i32) -> i32 {
    let Strategy::Rolling { max_surge, .. } = rollout.strategy else { return rollout.replicas };
    let room = rollout.replicas + max_surge - rollout.all().map(size).sum::<i32>();
    if room <= 0 { present } else { present + room.min(rollout.replicas - present) }
}

/// Scales the new set. True when there was something to do.
pub(super) fn grow_new(rollout: &mut Rollout<'_>) -> bool {
    let Some(present) = rollout.new.as_ref().filter(|set| set.metadata.uid.is_some()).map(size) else {
        return false;
    };
    if present == rollout.replicas {
        return false;
    }
    let to = if present > rollout.replicas { rollout.replicas } else { new_size(rollout, present) };
    rollout.scale_new(to)
}

/// Scales old sets down as far as the new one makes up for them. True when there was something to do.
pub(super) fn shrink_old(rollout: &mut Rollout<'_>) -> bool {
    if rollout.old.iter().map(size).sum::<i32>() == 0 {
        return false;
    }
    let total: i32 = rollout.all().map(size).sum();
    let new_unavailable = rollout.new.as_ref().map_or(0, |set| size(set) - available(set));
    let spare = total - rollout.min_available() - new_unavailable;
    if spare <= 0 {
        return false;
    }
    let unhealthy = remove_unhealthy(rollout, spare);
    let healthy = remove_healthy(rollout);
    unhealthy || healthy
}

/// Old pods that are not available serve nobody: they go first, at no cost.
fn remove_unhealthy(rollout: &mut Rollout<'_>, mut spare: i32) -> bool {
    let mut scaled = false;
    for index in 0..rollout.old.len() {
        let set = &rollout.old[index];
        let count = spare.min(size(set) - available(set)).max(0);
        let to = size(set) - count;
        spare -= count;
        scaled |= rollout.scale_old(index, to);
    }
    scaled
}

fn remove_healthy(rollout: &mut Rollout<'_>) -> bool {
    let mut spare = rollout.all().map(available).sum::<i32>() - rollout.min_available();
    let mut scaled = false;
    for index in 0..rollout.old.len() {
        let present = size(&rollout.old[index]);
        let count = spare.min(present).max(0);
        spare -= count;
        scaled |= rollout.scale_old(index, present - count);
    }
    scaled
}
