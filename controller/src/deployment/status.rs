//! What a Deployment reports: counts, and the conditions `Available`, `Progressing` and `ReplicaFailure`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::Rollout;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

fn condition(
    type_: &str,
    status: bool,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

fn find<'s>(status: &'s DeploymentStatus, type_: &str) -> Option<&'s DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != type_);
    }
}

/// Sets a condition; one with the same status and reason stays as it is, and the same status keeps its transition time.
fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(held) = find(status, &condition.type_) {
        if held.status == condition.status && held.reason == condition.reason {
            return;
        }
        if held.status == condition.status {
            condition.last_transition_time = held.last_transition_time.clone();
        }
    }
    remove(status, &condition.type_);
    status.conditions.get_or_insert_default().push(condition);
}

fn deadline(rollout: &Rollout<'_>) -> Option<i32> {
    rollout.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

/// Notes that the rollout was paused or resumed, so that the time between does not count against the deadline.
pub(super) fn note_paused(rollout: &mut Rollout<'_>, now: Timestamp) {
    if deadline(rollout).is_none() {
        return;
    }
    let held = find(&rollout.found, PROGRESSING);
    if held.is_some_and(|held| held.reason.as_deref() == Some("ProgressDeadlineExceeded")) {
        return;
    }
    let was_paused = held.is_some_and(|held| held.reason.as_deref() == Some("DeploymentPaused"));
    let (reason, message) = match (rollout.spec.paused == Some(true), was_paused) {
        (true, false) => ("DeploymentPaused", "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return,
    };
    let mut noted = condition(PROGRESSING, true, reason, message.to_owned(), now);
    noted.status = "Unknown".to_owned();
    set(&mut rollout.found, noted);
}

/// Notes the set that a rollout goes on with, if nothing is known of its progress.
pub(super) fn note_found(rollout: &mut Rollout<'_>, name: &str, now: Timestamp) {
    if deadline(rollout).is_some() && find(&rollout.found, PROGRESSING).is_none() {
        let message = format!("Found new replica set {name:?}");
        set(&mut rollout.found, condition(PROGRESSING, true, "FoundNewReplicaSet", message, now));
    }
}

/// Notes that a rollout begins.
pub(super) fn note_created(rollout: &mut Rollout<'_>, name: &str, now: Timestamp) {
    if deadline(rollout).is_some() {
        let message = format!("Created new replica set {name:?}");
        set(&mut rollout.found, condition(PROGRESSING, true, "NewReplicaSetCreated", message, now));
    }
}

/// The status of a Deployment whose new set could not be created.
pub(super) fn creation_failed(deployment: &Deployment, message: &str, now: Timestamp) -> DeploymentStatus {
    let mut status = deployment.status.clone().unwrap_or_default();
    set(&mut status, condition(PROGRESSING, false, "ReplicaSetCreateError", message.to_owned(), now));
    status
}

/// Counts only, with `Available`.
pub(super) fn count(rollout: &Rollout<'_>, all: &[ReplicaSet], now: Timestamp) -> DeploymentStatus {
    type Field = fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> Option<i32>;
    let sum = |field: Field| all.iter().filter_map(|set| field(set.status.as_ref()?)).sum::<i32>();
    let total = sum(|status| Some(status.replicas));
    let available = sum(|status| status.available_replicas);
    let updated = rollout.new.as_ref().and_then(|set| Some(set.status.as_ref()?.replicas)).unwrap_or(0);
    let known: Vec<_> = all.iter().filter_map(|set| set.status.as_ref()?.terminating_replicas).collect();
    let positive = |number: i32| Some(number).filter(|number| *number > 0);
    let mut status = DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: positive(total),
        updated_replicas: positive(updated),
        ready_replicas: positive(sum(|status| status.ready_replicas)),
        available_replicas: positive(available),
        // When all surplus pods are available there may be more of them than wanted.
        unavailable_replicas: positive(all.iter().map(super::decide::size).sum::<i32>() - available),
        terminating_replicas: Some(known.iter().sum()),
        collision_count: rollout.found.collision_count,
        conditions: rollout.found.conditions.clone(),
    };
    let enough = available >= rollout.min_available();
    let (reason, message) = match enough {
        true => ("MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => ("MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    };
    set(&mut status, condition(AVAILABLE, enough, reason, message.to_owned(), now));
    status
}

/// Counts, and an estimate of the rollout's progress.
pub(super) fn with_progress(rollout: &Rollout<'_>, all: &[ReplicaSet], now: Timestamp) -> DeploymentStatus {
    let mut status = count(rollout, all, now);
    let held = find(&rollout.found, PROGRESSING).cloned();
    let reason = held.as_ref().and_then(|held| held.reason.as_deref()).unwrap_or_default();
    let settled = status.replicas == status.updated_replicas && reason == "NewReplicaSetAvailable";
    let who = match &rollout.new {
        Some(set) => format!("ReplicaSet {:?}", set.metadata.name.as_deref().unwrap_or_default()),
        None => format!("Deployment {:?}", rollout.deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    match deadline(rollout) {
        None => remove(&mut status, PROGRESSING),
        Some(_) if settled => {}
        Some(_) if is_complete(rollout, &status) => {
            let message = format!("{who} has successfully progressed.");
            set(&mut status, condition(PROGRESSING, true, "NewReplicaSetAvailable", message, now));
        }
        Some(_) if has_progressed(rollout, &status) => {
            // Written even if only its time is news: the deadline counts from there.
            let message = format!("{who} is progressing.");
            let mut noted = condition(PROGRESSING, true, "ReplicaSetUpdated", message, now);
            if let Some(held) = held.filter(|held| held.status == "True") {
                noted.last_transition_time = held.last_transition_time;
            }
            remove(&mut status, PROGRESSING);
            set(&mut status, noted);
        }
        Some(seconds) if is_overdue(&rollout.found, seconds, now) => {
            let message = format!("{who} has timed out progressing.");
            set(&mut status, condition(PROGRESSING, false, "ProgressDeadlineExceeded", message, now));
        }
        Some(_) => {}
    }
    match failure(rollout, all) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, REPLICA_FAILURE),
    }
    status
}

/// Whether the new revision is all there is, and available.
pub(super) fn is_complete(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let wanted = rollout.replicas;
    let all_are = |count: Option<i32>| count.unwrap_or(0) == wanted;
    all_are(status.updated_replicas)
        && all_are(status.replicas)
        && all_are(status.available_replicas)
        && status.observed_generation >= rollout.deployment.metadata.generation
}

fn has_progressed(rollout: &Rollout<'_>, new: &DeploymentStatus) -> bool {
    // What the API server holds, without the conditions noted in this step; counts are the same in both.
    let old = &rollout.found;
    let of = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| of(status.replicas) - of(status.updated_replicas);
    of(new.updated_replicas) > of(old.updated_replicas)
        || outdated(new) < outdated(old)
        || of(new.ready_replicas) > of(old.ready_replicas)
        || of(new.available_replicas) > of(old.available_replicas)
}

fn is_overdue(found: &DeploymentStatus, seconds: i32, now: Timestamp) -> bool {
    let Some(held) = find(found, PROGRESSING) else { return false };
    match held.reason.as_deref() {
        Some("NewReplicaSetAvailable") => false,
        Some("ProgressDeadlineExceeded") => true,
        _ => held
            .last_update_time
            .as_ref()
            .is_some_and(|since| since.0 + SignedDuration::from_secs(seconds.into()) < now),
    }
}

/// A set's trouble in creating pods, the new one's before that of others.
fn failure(rollout: &Rollout<'_>, all: &[ReplicaSet]) -> Option<DeploymentCondition> {
    let sets = rollout.new.iter().chain(all);
    let mut conditions =
        sets.flat_map(|set| set.status.iter().flat_map(|status| status.conditions.iter().flatten()));
    conditions.find(|condition| condition.type_ == REPLICA_FAILURE).map(|held| DeploymentCondition {
        type_: held.type_.clone(),
        status: held.status.clone(),
        reason: held.reason.clone(),
        message: held.message.clone(),
        last_transition_time: held.last_transition_time.clone(),
        last_update_time: held.last_transition_time.clone(),
    })
}

/// When the deadline must be checked, if nothing happens before.
pub(super) fn check_again_in(
    rollout: &Rollout<'_>,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let seconds = deadline(rollout)?;
    let held = find(status, PROGRESSING)?;
    if is_complete(rollout, status) || held.reason.as_deref() == Some("ProgressDeadlineExceeded") {
        return None;
    }
    let due = held.last_update_time.as_ref()?.0 + SignedDuration::from_secs(seconds.into());
    let left = due.duration_since(now).max(SignedDuration::ZERO);
    Some(left.unsigned_abs() + Duration::from_secs(1))
}
