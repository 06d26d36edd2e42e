//! How many pods to create, which to delete, and what to report.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{MAX_BURST, victims};
use crate::claim::{Claim, claim, selector};
use crate::pods::{available_in, is_active, is_finished, is_ready};

/// What is looked at: the set, and all pods and sets of its namespace.
pub(crate) struct World {
    pub set: Arc<ReplicaSet>,
    pub pods: Vec<Arc<Pod>>,
    pub siblings: Vec<Arc<ReplicaSet>>,
}

/// What to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub claim: Claim<Pod>,
    pub create: usize,
    pub delete: Vec<Arc<Pod>>,
}

/// What went wrong while doing it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub reason: &'static str,
    pub message: String,
    pub error: kube::Error,
}

/// From what is to what to do.
pub(crate) fn decide(world: &World, now: Timestamp) -> Plan {
    let set = &world.set;
    let wanted = wanted(set);
    let selects = set.spec.as_ref().and_then(|spec| selector(&spec.selector));
    // A finished pod is neither counted nor adopted.
    let candidates = world.pods.iter().filter(|pod| !is_finished(pod)).cloned();
    let mut claim = claim(&set.metadata, &selects, candidates);
    let active =
        claim.owned.iter().chain(&claim.adopt).filter(|pod| is_active(pod)).cloned().collect::<Vec<_>>();
    // Adopted pods count from this turn on.
    claim.owned.extend(claim.adopt.iter().cloned());
    if set.metadata.deletion_timestamp.is_some() {
        return Plan { claim, create: 0, delete: Vec::new() };
    }
    let create = wanted.saturating_sub(active.len()).min(MAX_BURST);
    let surplus = active.len().saturating_sub(wanted).min(MAX_BURST);
    let delete = if surplus == 0 { Vec::new() } else { victims::choose(world, active, surplus, now) };
    Plan { claim, create, delete }
}

fn wanted(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

/// The status, and when time alone will change it.
pub(crate) fn status(
    set: &ReplicaSet,
    owned: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let spec = set.spec.as_ref();
    let template_labels = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let active: Vec<_> = owned.iter().filter(|pod| is_active(pod)).collect();
    let terminating =
        owned.iter().filter(|pod| !is_finished(pod) && pod.metadata.deletion_timestamp.is_some()).count();
    let labelled = |pod: &&&Arc<Pod>| {
        let labels = pod.metadata.labels.as_ref();
        template_labels
            .into_iter()
            .flatten()
            .all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
    };
    let waits: Vec<_> = active.iter().filter_map(|pod| available_in(pod, min_ready, now)).collect();
    let available = waits.iter().filter(|wait| wait.is_zero()).count();
    let count = |number: usize| Some(number as i32);
    let old = set.status.clone().unwrap_or_default();
    let status = ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: count(active.iter().filter(labelled).count()).filter(|n| *n > 0),
        ready_replicas: count(active.iter().filter(|pod| is_ready(pod)).count()).filter(|n| *n > 0),
        available_replicas: count(available).filter(|n| *n > 0),
        terminating_replicas: count(terminating),
        observed_generation: set.metadata.generation,
        conditions: conditions(&old, failure, now),
    };
    (status, waits.into_iter().filter(|wait| !wait.is_zero()).min())
}

fn conditions(
    old: &ReplicaSetStatus,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let held = old.conditions.iter().flatten();
    let mut conditions: Vec<_> =
        held.clone().filter(|condition| condition.type_ != "ReplicaFailure").cloned().collect();
    if let Some(failure) = failure {
        let same =
            held.clone().find(|c| c.type_ == "ReplicaFailure" && c.reason.as_deref() == Some(failure.reason));
        conditions.push(same.cloned().unwrap_or_else(|| ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }));
    }
    Some(conditions).filter(|conditions| !conditions.is_empty())
}

#[cfg(test)]
mod tests;
