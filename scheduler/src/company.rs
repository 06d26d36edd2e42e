//! Which other pods a pod wants to be beside, read from its affinity once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Selector;
use skiff_api::selector::LabelSelector;

use crate::pod::Needs;
use crate::snapshot::Snapshot;

/// Other pods, and the node label whose value is to be shared with them (or not).
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The node label.
    pub topology_key: String,
    /// No selector selects no pod.
    selector: Option<LabelSelector>,
    namespaces: Vec<String>,
    namespace_selector: Option<LabelSelector>,
}

/// All terms of a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Company {
    /// It must share with these.
    pub affinity: Vec<Term>,
    /// It must not share with these.
    pub anti_affinity: Vec<Term>,
    /// It would like to (positive) or rather not (negative).
    pub preferred: Vec<(i64, Term)>,
}

/// A selector as the API has it; one that cannot be read selects nothing.
pub fn selector(selector: Option<&Selector>) -> Option<LabelSelector> {
    LabelSelector::from_object(&serde_json::to_value(selector?).ok()?).ok()
}

impl Term {
    fn of(term: &PodAffinityTerm, namespace: &str) -> Self {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector: selector(term.label_selector.as_ref()),
            namespaces,
            namespace_selector: selector(term.namespace_selector.as_ref()),
        }
    }

    /// Whether it speaks of this pod.
    pub fn selects(&self, pod: &Needs, snapshot: &Snapshot) -> bool {
        let nothing = BTreeMap::new();
        let by_label = |selector: &LabelSelector| {
            selector.is_empty()
                || selector.matches(snapshot.namespaces.get(&pod.namespace).unwrap_or(&nothing))
        };
        self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
            && (self.namespaces.contains(&pod.namespace)
                || self.namespace_selector.as_ref().is_some_and(by_label))
    }
}

impl Company {
    /// Reads a pod.
    pub fn of(pod: &Pod) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else {
            return Self::default();
        };
        let terms = |terms: Option<&Vec<PodAffinityTerm>>| -> Vec<Term> {
            terms.into_iter().flatten().map(|term| Term::of(term, namespace)).collect()
        };
        let weighted = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| -> Vec<(i64, Term)> {
            let terms = terms.into_iter().flatten();
            terms
                .map(|one| (sign * i64::from(one.weight), Term::of(&one.pod_affinity_term, namespace)))
                .collect()
        };
        let (near, far) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
        let mut preferred = weighted(
            near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref()),
            1,
        );
        preferred.extend(weighted(
            far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        Self {
            affinity: terms(
                near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            anti_affinity: terms(
                far.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            preferred,
        }
    }

    /// Whether the pod does not care.
    pub fn is_empty(&self) -> bool {
        self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred.is_empty()
    }
}
