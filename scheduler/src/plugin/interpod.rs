//! InterPodAffinity: beside which pods a pod must, must not, or would like to be.
//!
//! `prepare` counts once, per node label value; looking at a node is then a few look-ups.

use std::collections::HashMap;

use crate::company::Term;
use crate::pod::Needs;
use crate::snapshot::{NodeInfo, Snapshot};

/// Node label and its value.
type Place = (String, String);

/// The counts for one pod.
#[derive(Debug, Default)]
pub struct Prepared {
    near: HashMap<Place, usize>,
    far: HashMap<Place, usize>,
    /// Where a pod is that will not have this one beside it.
    refused: HashMap<Place, usize>,
    weights: HashMap<Place, i64>,
    /// The pod satisfies its own affinity, so the first of a group can start it.
    selects_itself: bool,
}

fn place(term: &Term, info: &NodeInfo) -> Option<Place> {
    Some((term.topology_key.clone(), info.label(&term.topology_key)?.to_owned()))
}

fn holds(counts: &HashMap<Place, usize>, term: &Term, info: &NodeInfo) -> bool {
    place(term, info).is_some_and(|place| counts.get(&place).is_some_and(|count| *count > 0))
}

/// Counts for `needs`.
pub fn prepare(needs: &Needs, snapshot: &Snapshot) -> Prepared {
    let own = &needs.company;
    let all_near = |pod: &Needs| own.affinity.iter().all(|term| term.selects(pod, snapshot));
    let mut prepared = Prepared { selects_itself: all_near(needs), ..Prepared::default() };
    for info in snapshot.nodes.values() {
        if own.is_empty() && info.choosy == 0 {
            continue;
        }
        for pod in info.pods.values() {
            if !own.affinity.is_empty() && all_near(pod) {
                count(&mut prepared.near, own.affinity.iter(), info);
            }
            count(
                &mut prepared.far,
                own.anti_affinity.iter().filter(|term| term.selects(pod, snapshot)),
                info,
            );
            let theirs = &pod.company;
            let against = theirs.anti_affinity.iter().filter(|term| term.selects(needs, snapshot));
            count(&mut prepared.refused, against, info);
            let wish = own.preferred.iter().filter(|(_, term)| term.selects(pod, snapshot));
            let wished = theirs.preferred.iter().filter(|(_, term)| term.selects(needs, snapshot));
            for (weight, term) in wish.chain(wished) {
                if let Some(place) = place(term, info) {
                    *prepared.weights.entry(place).or_default() += weight;
                }
            }
            // A pod that must be near others draws them too, with upstream's weight of one.
            for term in theirs.affinity.iter().filter(|term| term.selects(needs, snapshot)) {
                if let Some(place) = place(term, info) {
                    *prepared.weights.entry(place).or_default() += 1;
                }
            }
        }
    }
    prepared
}

fn count<'a>(counts: &mut HashMap<Place, usize>, terms: impl Iterator<Item = &'a Term>, info: &NodeInfo) {
    for place in terms.filter_map(|term| place(term, info)) {
        *counts.entry(place).or_default() += 1;
    }
}

impl Prepared {
    /// Refuses a node; true beside the reason when driving pods out could help.
    pub fn filter(&self, needs: &Needs, info: &NodeInfo) -> Result<(), (&'static str, bool)> {
        let own = &needs.company;
        let first = self.near.is_empty() && self.selects_itself;
        let labelled = own.affinity.iter().all(|term| info.label(&term.topology_key).is_some());
        if !labelled || !(first || own.affinity.iter().all(|term| holds(&self.near, term, info))) {
            return Err(("node(s) didn't match pod affinity rules", false));
        }
        if own.anti_affinity.iter().any(|term| holds(&self.far, term, info)) {
            return Err(("node(s) didn't match pod anti-affinity rules", true));
        }
        if self.refused.keys().any(|(key, value)| info.label(key) == Some(value)) {
            return Err(("node(s) didn't satisfy existing pods anti-affinity rules", true));
        }
        Ok(())
    }

    /// The sum of the wishes that the node fulfils.
    pub fn raw_score(&self, info: &NodeInfo) -> i64 {
        let met = self.weights.iter().filter(|((key, value), _)| info.label(key) == Some(value));
        met.map(|(_, weight)| *weight).sum()
    }
}
