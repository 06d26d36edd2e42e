//! Scaling a Deployment while it is between two revisions: each set keeps its share.

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::decide::{Rollout, Strategy, available, size};

const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

fn annotation(set: &ReplicaSet, name: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(name)?.parse().ok()
}

/// Notes on a set what the Deployment's size is; a later difference tells that it was scaled. True when that was news.
pub(super) fn annotate(set: &mut ReplicaSet, replicas: i32, surge: i32) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    let notes = [(DESIRED, replicas.to_string()), (MAX, (replicas + surge).to_string())];
    notes.into_iter().fold(false, |news, (name, value)| {
        annotations.insert(name.to_owned(), value.clone()).as_ref() != Some(&value) || news
    })
}

/// Whether the Deployment's size has changed since its active sets were last scaled.
pub(super) fn is_scaling(rollout: &Rollout<'_>) -> bool {
    let mut active = rollout.all().filter(|set| size(set) > 0);
    active.any(|set| annotation(set, DESIRED).is_some_and(|desired| desired != rollout.replicas))
}

/// Whether the new set is all there is to be, and available.
fn is_saturated(rollout: &Rollout<'_>) -> bool {
    let wanted = rollout.replicas;
    let full = |set: &ReplicaSet| {
        annotation(set, DESIRED) == Some(wanted) && size(set) == wanted && available(set) == wanted
    };
    rollout.new.as_ref().is_some_and(full)
}

/// Gives every active set its share of the new size.
pub(super) fn proportionally(rollout: &mut Rollout<'_>) {
    // The new set, if there is one, has the last place.
    let old_count = rollout.old.len();
    let mut active: Vec<_> =
        rollout.all().enumerate().filter(|(_, set)| size(set) > 0).map(|(i, _)| i).collect();
    if active.len() <= 1 {
        let latest = if rollout.new.is_some() { Some(old_count) } else { old_count.checked_sub(1) };
        if let Some(only) = active.first().copied().or(latest) {
            scale_at(rollout, only, rollout.replicas);
            note_at(rollout, only);
        }
        return;
    }
    if is_saturated(rollout) {
        for index in 0..old_count {
            rollout.scale_old(index, 0);
        }
        return;
    }
    if !matches!(rollout.strategy, Strategy::Rolling { .. }) {
        return;
    }
    let sizes: Vec<_> = rollout.all().map(size).collect();
    let allowed = if rollout.replicas > 0 { rollout.replicas + rollout.max_surge() } else { 0 };
    let to_add = allowed - sizes.iter().sum::<i32>();
    // Larger first; of one size, newer first when growing and older first when shrinking.
    active.sort_by_key(|&index| (-sizes[index], if to_add > 0 { -(index as i64) } else { index as i64 }));
    let mut left = to_add;
    let mut targets = Vec::new();
    for &index in &active {
        let share = share(rollout, index, sizes[index]);
        let share = if to_add > 0 { share.min(left) } else { share.max(left) };
        let share = if to_add == 0 { 0 } else { share };
        left -= share;
        targets.push((index, sizes[index] + share));
    }
    // What rounding left over goes to the largest.
    if let Some(first) = targets.first_mut() {
        first.1 = (first.1 + left).max(0);
    }
    for (index, to) in targets {
        scale_at(rollout, index, to);
        note_at(rollout, index);
    }
}

/// Also a set that keeps its size has been seen to.
fn note_at(rollout: &mut Rollout<'_>, index: usize) {
    let (replicas, surge) = (rollout.replicas, rollout.max_surge());
    if let Some(set) = set_at(rollout, index) {
        annotate(set, replicas, surge);
    }
}

/// How much a set gains or loses when the whole goes from its former size to the present one.
fn share(rollout: &Rollout<'_>, index: usize, present: i32) -> i32 {
    if rollout.replicas == 0 {
        return -present;
    }
    let noted = rollout.all().nth(index).and_then(|set| annotation(set, MAX)).filter(|max| *max != 0);
    let before = noted.unwrap_or_else(|| rollout.found.replicas.unwrap_or(0));
    if before == 0 {
        return 0;
    }
    let after = f64::from(present) * f64::from(rollout.replicas + rollout.max_surge()) / f64::from(before);
    after.round() as i32 - present
}

fn set_at<'r>(rollout: &'r mut Rollout<'_>, index: usize) -> Option<&'r mut ReplicaSet> {
    if index < rollout.old.len() { rollout.old.get_mut(index) } else { rollout.new.as_mut() }
}

fn scale_at(rollout: &mut Rollout<'_>, index: usize, to: i32) {
    if index < rollout.old.len() {
        rollout.scale_old(index, to);
    } else {
        rollout.scale_new(to);
    }
}
