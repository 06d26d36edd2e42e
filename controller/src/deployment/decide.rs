//! One step of a Deployment.
//!
//! The ReplicaSets are copied, the copies are changed as they should be, and what differs from the originals is written.
//! A step moves one side only, the new or the old; the next one is taken from what came of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{revision, rolling, scale, status};
use crate::claim::{Claim, controller_of};
use crate::pods::is_finished;

/// What is looked at. `pods` is filled for `Recreate` only.
pub(crate) struct World {
    pub deployment: Arc<Deployment>,
    pub claim: Claim<ReplicaSet>,
    pub pods: Vec<Arc<Pod>>,
}

/// What to do, in this order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub create: Option<ReplicaSet>,
    pub update: Vec<ReplicaSet>,
    pub events: Vec<(&'static str, String)>,
    pub delete: Vec<ReplicaSet>,
    /// The Deployment's own revision annotation.
    pub revision: Option<String>,
    pub status: Option<DeploymentStatus>,
    pub again: Option<Duration>,
}

/// How a new revision takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// All old pods go, then the new ones come.
    Recreate,
    /// Old and new side by side, within these bounds.
    Rolling { max_surge: i32, max_unavailable: i32 },
}

/// A Deployment in motion.
pub(super) struct Rollout<'a> {
    pub deployment: &'a Deployment,
    pub spec: &'a DeploymentSpec,
    pub strategy: Strategy,
    pub replicas: i32,
    /// Of the present template.
    pub new: Option<ReplicaSet>,
    /// Of earlier templates, oldest first.
    pub old: Vec<ReplicaSet>,
    pub events: Vec<(&'static str, String)>,
    /// The status as it was, with conditions that this step adds before it ends.
    pub found: DeploymentStatus,
}

impl World {
    pub fn namespace(&self) -> &str {
        self.deployment.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// From what is to the next step.
pub(crate) fn decide(world: &World, now: Timestamp) -> Plan {
    let deployment = world.deployment.as_ref();
    let Some(spec) = &deployment.spec else { return Plan::default() };
    let (new, old) = revision::split(&spec.template, &world.claim.owned);
    let mut rollout = Rollout {
        deployment,
        spec,
        strategy: strategy(deployment),
        replicas: spec.replicas.unwrap_or(1),
        new,
        old,
        events: Vec::new(),
        found: deployment.status.clone().unwrap_or_default(),
    };
    let mut cleanup = false;
    let mut resync = false;
    if deployment.metadata.deletion_timestamp.is_some() {
        resync = true;
    } else {
        status::note_paused(&mut rollout, now);
        if spec.paused == Some(true) || scale::is_scaling(&rollout) {
            revision::sync(&mut rollout, false, now);
            scale::proportionally(&mut rollout);
            cleanup = spec.paused == Some(true);
            resync = true;
        } else if rollout.strategy == Strategy::Recreate {
            cleanup = recreate(&mut rollout, world, now);
        } else {
            revision::sync(&mut rollout, true, now);
            cleanup = !(rolling::grow_new(&mut rollout) || rolling::shrink_old(&mut rollout));
        }
    }
    finish(rollout, world, cleanup, resync, now)
}

/// True when nothing was left to do but cleaning up.
fn recreate(rollout: &mut Rollout<'_>, world: &World, now: Timestamp) -> bool {
    revision::sync(rollout, false, now);
    let mut scaled = false;
    for index in 0..rollout.old.len() {
        scaled |= rollout.scale_old(index, 0);
    }
    let old_uids: Vec<_> = rollout.old.iter().filter_map(|set| set.metadata.uid.as_ref()).collect();
    let old_pods_remain = world.pods.iter().any(|pod| {
        !is_finished(pod) && controller_of(&pod.metadata).is_some_and(|owner| old_uids.contains(&&owner.uid))
    });
    if scaled || old_pods_remain {
        return false;
    }
    revision::sync(rollout, true, now);
    !rollout.scale_new(rollout.replicas)
}

fn finish(mut rollout: Rollout<'_>, world: &World, cleanup: bool, resync: bool, now: Timestamp) -> Plan {
    let all: Vec<_> = rollout.old.iter().chain(&rollout.new).cloned().collect();
    let status =
        if resync { status::count(&rollout, &all, now) } else { status::with_progress(&rollout, &all, now) };
    let again = status::check_again_in(&rollout, &status, now);
    let complete = status::is_complete(&rollout, &status);
    let delete = if cleanup && (resync || complete) { revision::outlived(&rollout) } else { Vec::new() };
    let original = |set: &ReplicaSet| {
        world.claim.owned.iter().find(|original| original.metadata.uid == set.metadata.uid).map(Arc::as_ref)
    };
    let mut plan = Plan { delete, again, events: std::mem::take(&mut rollout.events), ..Plan::default() };
    for set in all {
        match original(&set) {
            None => plan.create = Some(set),
            Some(original) if *original != set => plan.update.push(set),
            Some(_) => {}
        }
    }
    let annotations = rollout.deployment.metadata.annotations.as_ref();
    let current = annotations.and_then(|annotations| annotations.get(revision::REVISION));
    let revision = rollout.new.as_ref().and_then(revision::text);
    plan.revision = revision.filter(|revision| Some(revision) != current);
    plan.status = Some(status).filter(|status| Some(status) != rollout.deployment.status.as_ref());
    plan
}

/// The strategy with its percentages resolved: surge rounds up, unavailability down, and not both may come to nothing.
pub(crate) fn strategy(deployment: &Deployment) -> Strategy {
    let spec = deployment.spec.as_ref();
    let strategy = spec.and_then(|spec| spec.strategy.as_ref());
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
        return Strategy::Recreate;
    }
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let bounds = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".to_owned());
    let bound = |value: Option<&IntOrString>, up: bool| resolve(value.unwrap_or(&quarter), replicas, up);
    let max_surge = bound(bounds.and_then(|bounds| bounds.max_surge.as_ref()), true);
    let mut max_unavailable = bound(bounds.and_then(|bounds| bounds.max_unavailable.as_ref()), false);
    if max_surge == 0 && max_unavailable == 0 {
        max_unavailable = 1;
    }
    Strategy::Rolling { max_surge, max_unavailable: max_unavailable.min(replicas) }
}

fn resolve(value: &IntOrString, replicas: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = percent * i64::from(replicas);
            let rounded = if up { (hundredths + 99) / 100 } else { hundredths / 100 };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

/// The size a set should have.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many of its pods are available.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

impl Rollout<'_> {
    pub fn max_surge(&self) -> i32 {
        match self.strategy {
            Strategy::Rolling { max_surge, .. } => max_surge,
            Strategy::Recreate => 0,
        }
    }

    /// How many pods must be available at any time.
    pub fn min_available(&self) -> i32 {
        match self.strategy {
            Strategy::Rolling { max_unavailable, .. } => self.replicas - max_unavailable,
            Strategy::Recreate => 0,
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    /// True when the size changed.
    pub fn scale_new(&mut self, to: i32) -> bool {
        let (replicas, surge) = (self.replicas, self.max_surge());
        self.new.as_mut().is_some_and(|set| resize(set, to, replicas, surge, &mut self.events))
    }

    /// True when the size changed.
    pub fn scale_old(&mut self, index: usize, to: i32) -> bool {
        let (replicas, surge) = (self.replicas, self.max_surge());
        resize(&mut self.old[index], to, replicas, surge, &mut self.events)
    }
}

fn resize(
    set: &mut ReplicaSet,
    to: i32,
    replicas: i32,
    surge: i32,
    events: &mut Vec<(&'static str, String)>,
) -> bool {
    let from = size(set);
    if from == to {
        return false;
    }
    set.spec.get_or_insert_default().replicas = Some(to);
    scale::annotate(set, replicas, surge);
    let direction = if to > from { "up" } else { "down" };
    let name = set.metadata.name.as_deref().unwrap_or_default();
    events.push(("ScalingReplicaSet", format!("Scaled {direction} replica set {name} from {from} to {to}")));
    true
}

#[cfg(test)]
mod tests;
