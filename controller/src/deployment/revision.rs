//! Revisions: which ReplicaSet is of the present template, what number it has, which are too old to be kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::decide::{Rollout, size};
use super::{rolling, scale, status};
use crate::claim::controller_reference;

/// The number of a revision, on ReplicaSets and on the Deployment.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Annotations of a Deployment that are not passed on to its ReplicaSets.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

/// (the set of this template, all others), the others oldest first. Of several of one template the oldest is taken.
pub(super) fn split(
    template: &PodTemplateSpec,
    sets: &[Arc<ReplicaSet>],
) -> (Option<ReplicaSet>, Vec<ReplicaSet>) {
    let mut sets: Vec<_> = sets.to_vec();
    sets.sort_by_cached_key(|set| {
        (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone())
    });
    let wanted = without_hash(template);
    let is_new = |set: &Arc<ReplicaSet>| {
        set.spec.as_ref().and_then(|spec| spec.template.as_ref()).is_some_and(|t| without_hash(t) == wanted)
    };
    let new = sets.iter().position(is_new).map(|index| ReplicaSet::clone(&sets.remove(index)));
    (new, sets.iter().map(|set| ReplicaSet::clone(set)).collect())
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels.get_or_insert_default().remove(TEMPLATE_HASH);
    template
}

/// The number of a revision as it is written.
pub(super) fn text(set: &ReplicaSet) -> Option<String> {
    set.metadata.annotations.as_ref()?.get(REVISION).cloned()
}

fn number(set: &ReplicaSet) -> i64 {
    text(set).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Brings the new set's annotations up to date, making the set first if there is none and `create` is set.
pub(super) fn sync(rollout: &mut Rollout<'_>, create: bool, now: Timestamp) {
    let number = rollout.old.iter().map(number).max().unwrap_or(0) + 1;
    let min_ready = rollout.spec.min_ready_seconds;
    let annotations = rollout.deployment.metadata.annotations.clone().unwrap_or_default();
    if let Some(set) = &mut rollout.new {
        annotate(set, &annotations, number, true);
        let spec = set.spec.get_or_insert_default();
        if spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            spec.min_ready_seconds = min_ready;
        }
        let name = set.metadata.name.clone().unwrap_or_default();
        status::note_found(rollout, &name, now);
    } else if create {
        let mut set = make(rollout);
        annotate(&mut set, &annotations, number, false);
        scale::annotate(&mut set, rollout.replicas, rollout.max_surge());
        let replicas = rolling::new_size(rollout, 0);
        set.spec.get_or_insert_default().replicas = Some(replicas);
        let name = set.metadata.name.clone().unwrap_or_default();
        if replicas > 0 {
            let text = format!("Scaled up replica set {name} from 0 to {replicas}");
            rollout.events.push(("ScalingReplicaSet", text));
        }
        rollout.new = Some(set);
        status::note_created(rollout, &name, now);
    }
}

fn annotate(set: &mut ReplicaSet, from: &BTreeMap<String, String>, number: i64, exists: bool) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (name, value) in from.iter().filter(|(name, _)| !OWN_ANNOTATIONS.contains(&name.as_str())) {
        // Upstream too never removes from the set what was removed from the Deployment.
        annotations.insert(name.clone(), value.clone());
    }
    let held = annotations.get(REVISION).cloned();
    let held_number: i64 = held.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
    if held_number < number {
        annotations.insert(REVISION.to_owned(), number.to_string());
        if let Some(held) = held.filter(|_| exists && held_number > 0) {
            let history = annotations.get(REVISION_HISTORY).filter(|history| !history.is_empty());
            let history = history.map_or(held.clone(), |history| format!("{history},{held}"));
            annotations.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
}

fn make(rollout: &Rollout<'_>) -> ReplicaSet {
    let deployment = rollout.deployment;
    let mut template = rollout.spec.template.clone();
    let hash = hash(&template, rollout.found.collision_count);
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = rollout.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(TEMPLATE_HASH.to_owned(), hash.clone());
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec {
            min_ready_seconds: rollout.spec.min_ready_seconds,
            replicas: Some(0),
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// A short name for a template: FNV-1a over its JSON, spelt without vowels so that it spells nothing. It need not be
/// upstream's: a set is found by comparing templates.
fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut bytes =
        serde_json::to_vec(template).expect("a template is plain data, which always has a JSON form");
    if let Some(collisions) = collisions {
        bytes.extend(collisions.to_le_bytes());
    }
    let hash =
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let alphabet = b"bcdfghjklmnpqrstvwxz2456789";
    hash.to_string().bytes().map(|digit| alphabet[usize::from(digit) % alphabet.len()] as char).collect()
}

/// Old sets beyond `revisionHistoryLimit` that have no pods left.
pub(super) fn outlived(rollout: &Rollout<'_>) -> Vec<ReplicaSet> {
    let limit = usize::try_from(rollout.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let mut kept: Vec<_> =
        rollout.old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
    kept.sort_by_key(|set| number(set));
    let surplus = kept.len().saturating_sub(limit);
    let idle = |set: &&&ReplicaSet| {
        let observed = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
        let pods = set.status.as_ref().map_or(0, |status| status.replicas);
        size(set) == 0 && pods == 0 && set.metadata.generation.unwrap_or(0) <= observed
    };
    kept.iter().take(surplus).filter(idle).map(|set| (*set).clone()).collect()
}
