//! PodTopologySpread: like pods evenly over zones, nodes, or what the pod names.
//!
//! A pod without constraints is spread by upstream's defaults (node and zone, as a wish). Which pods are
//! like it upstream takes from the Services and controllers that select it; here it is those with
//! the same controller.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};
use skiff_api::selector::LabelSelector;

use super::{affinity, taints};
use crate::company;
use crate::pod::Needs;
use crate::snapshot::{NodeInfo, Snapshot};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
const MISMATCH: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// Which pods count.
#[derive(Debug)]
enum Alike {
    Selected(Option<LabelSelector>, BTreeMap<String, String>),
    Owned(String),
}

/// One constraint with its counts.
#[derive(Debug)]
struct Constraint {
    key: String,
    required: bool,
    max_skew: i64,
    min_domains: usize,
    alike: Alike,
    counts: HashMap<String, i64>,
    itself: i64,
}

/// The constraints of one pod.
#[derive(Debug, Default)]
pub struct Prepared(Vec<Constraint>);

impl Alike {
    fn holds(&self, namespace: &str, pod: &Needs) -> bool {
        !pod.leaving
            && match self {
                Self::Owned(owner) => pod.owner.as_ref() == Some(owner),
                Self::Selected(selector, equal) => {
                    pod.namespace == namespace
                        && selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
                        && equal.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
                }
            }
    }

    /// How many pods of a node count. Those of one controller are counted as they come and go.
    fn count(&self, namespace: &str, info: &NodeInfo) -> usize {
        match self {
            Self::Owned(owner) => info.owned_by(owner),
            Self::Selected(..) => info.pods.values().filter(|pod| self.holds(namespace, pod)).count(),
        }
    }
}

fn declared(constraint: &TopologySpreadConstraint, needs: &Needs) -> Constraint {
    let same = constraint.match_label_keys.iter().flatten();
    let equal = same.filter_map(|key| Some((key.clone(), needs.labels.get(key)?.clone()))).collect();
    let alike = Alike::Selected(company::selector(constraint.label_selector.as_ref()), equal);
    Constraint {
        key: constraint.topology_key.clone(),
        required: constraint.when_unsatisfiable == "DoNotSchedule",
        max_skew: constraint.max_skew.into(),
        min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
        itself: i64::from(alike.holds(&needs.namespace, needs)),
        alike,
        counts: HashMap::new(),
    }
}

fn by_default(needs: &Needs) -> Vec<Constraint> {
    let Some(owner) = &needs.owner else { return Vec::new() };
    let one = |key: &str, max_skew| Constraint {
        key: key.to_owned(),
        required: false,
        max_skew,
        min_domains: 1,
        alike: Alike::Owned(owner.clone()),
        counts: HashMap::new(),
        itself: 1,
    };
    vec![one(HOSTNAME, 3), one(ZONE, 5)]
}

/// Counts for a pod.
pub fn prepare(pod: &Pod, needs: &Needs, snapshot: &Snapshot) -> Prepared {
    let said =
        pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default();
    let mut constraints: Vec<(Constraint, bool, bool)> = said
        .iter()
        .map(|one| {
            let affinity = one.node_affinity_policy.as_deref() != Some("Ignore");
            (declared(one, needs), affinity, one.node_taints_policy.as_deref() == Some("Honor"))
        })
        .collect();
    if said.is_empty() {
        constraints.extend(by_default(needs).into_iter().map(|one| (one, true, false)));
    }
    if constraints.is_empty() {
        return Prepared::default();
    }
    for info in snapshot.nodes.values() {
        let selected = affinity::filter(pod, needs, info).is_ok();
        for (constraint, honour_affinity, honour_taints) in &mut constraints {
            let Some(value) = info.label(&constraint.key) else { continue };
            let counted = (selected || !*honour_affinity)
                && (!*honour_taints || taints::filter(pod, needs, info).is_ok());
            if counted {
                let alike = constraint.alike.count(&needs.namespace, info);
                *constraint.counts.entry(value.to_owned()).or_default() +=
                    i64::try_from(alike).unwrap_or(i64::MAX);
            }
        }
    }
    Prepared(constraints.into_iter().map(|(constraint, ..)| constraint).collect())
}

impl Prepared {
    /// Refuses a node; true beside the reason when driving pods out could help.
    pub fn filter(&self, info: &NodeInfo) -> Result<(), (&'static str, bool)> {
        for constraint in self.0.iter().filter(|constraint| constraint.required) {
            let Some(value) = info.label(&constraint.key) else { return Err((NO_LABEL, false)) };
            let too_few = constraint.counts.len() < constraint.min_domains;
            let least = if too_few { 0 } else { constraint.counts.values().min().copied().unwrap_or(0) };
            let here = constraint.counts.get(value).copied().unwrap_or(0);
            if here + constraint.itself - least > constraint.max_skew {
                return Err((MISMATCH, true));
            }
        }
        Ok(())
    }

    /// How many like pods share the node's places: the fewer, the better.
    pub fn raw_score(&self, info: &NodeInfo) -> i64 {
        let wishes = self.0.iter().filter(|constraint| !constraint.required);
        wishes
            .filter_map(|constraint| {
                let places = i64::try_from(constraint.counts.len()).unwrap_or(0);
                // A thousandth of upstream's weight: more places make an uneven count matter more.
                let weight = ((places + 2) as f64).ln() * 1000.0;
                let here = constraint.counts.get(info.label(&constraint.key)?)?;
                Some((*here as f64 * weight) as i64 + constraint.max_skew - 1)
            })
            .sum()
    }
}
