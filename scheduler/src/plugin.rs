//! The plugins: what rules a node out, and what makes one better than another.
//!
//! Order of the filters is upstream's: the first that refuses a node is the reason that is told.

mod affinity;
mod fit;
mod interpod;
mod name;
mod ports;
mod spread;
mod taints;
mod unschedulable;

use k8s_openapi::api::core::v1::Pod;

use crate::pod::Needs;
use crate::snapshot::{NodeInfo, Snapshot};

/// Refuses a node with reasons in upstream's words.
pub type Filter = fn(&Pod, &Needs, &NodeInfo) -> Result<(), Vec<String>>;
/// From 0 (worst) to 100.
pub type Score = fn(&Pod, &Needs, &NodeInfo) -> i64;

/// What rules nodes out.
pub const FILTERS: &[Filter] =
    &[unschedulable::filter, name::filter, taints::filter, affinity::filter, ports::filter, fit::filter];

/// What orders nodes, with upstream's weights.
pub const SCORES: &[(Score, i64)] =
    &[(taints::score, 3), (affinity::score, 2), (fit::least_allocated, 1), (fit::balanced, 1)];

/// Refusals that no driving out of pods can help against.
const FINAL: &[&str] = &[
    "node(s) were unschedulable",
    "node(s) didn't match the requested node name",
    "node(s) didn't match Pod's node affinity/selector",
];

/// Why a node is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In upstream's words.
    pub reasons: Vec<String>,
    /// Whether it could take the pod if others left.
    pub curable: bool,
}

/// What the plugins that look at more than one node have counted for a pod.
pub struct Prepared {
    interpod: interpod::Prepared,
    spread: spread::Prepared,
}

impl Prepared {
    /// Counts once for a pod.
    pub fn new(pod: &Pod, needs: &Needs, snapshot: &Snapshot) -> Self {
        Self { interpod: interpod::prepare(needs, snapshot), spread: spread::prepare(pod, needs, snapshot) }
    }

    /// Asks every filter in turn; the first refusal spares the rest the trouble, as upstream.
    ///
    /// # Errors
    /// The node is refused.
    pub fn filter(&self, pod: &Pod, needs: &Needs, info: &NodeInfo) -> Result<(), Refusal> {
        if let Some(reasons) = FILTERS.iter().find_map(|filter| filter(pod, needs, info).err()) {
            let last = |reason: &String| {
                FINAL.contains(&reason.as_str()) || reason.starts_with("node(s) had untolerated taint")
            };
            let curable = !reasons.iter().any(last) && fit::could_ever(needs, info);
            return Err(Refusal { reasons, curable });
        }
        let counted = self.spread.filter(info).and_then(|()| self.interpod.filter(needs, info));
        counted.map_err(|(reason, curable)| Refusal { reasons: vec![reason.to_owned()], curable })
    }

    /// Weighted scores of the nodes that passed, in their order.
    pub fn scores(&self, pod: &Pod, needs: &Needs, nodes: &[&NodeInfo]) -> Vec<i64> {
        let company: Vec<i64> = nodes.iter().map(|info| self.interpod.raw_score(info)).collect();
        let crowd: Vec<i64> = nodes.iter().map(|info| self.spread.raw_score(info)).collect();
        let range =
            |raw: &[i64]| (raw.iter().min().copied().unwrap_or(0), raw.iter().max().copied().unwrap_or(0));
        let ((lonely, liked), (emptiest, fullest)) = (range(&company), range(&crowd));
        let each = nodes.iter().zip(company.iter().zip(&crowd));
        each.map(|(info, (company, crowd))| {
            let own: i64 = SCORES.iter().map(|(score, weight)| score(pod, needs, info) * weight).sum();
            let company = if liked == lonely { 0 } else { 100 * (company - lonely) / (liked - lonely) };
            let spread = if fullest == 0 { 100 } else { 100 * (fullest + emptiest - crowd) / fullest };
            own + 2 * company + 2 * spread
        })
        .collect()
    }
}
