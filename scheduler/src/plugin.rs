//! The plugins: what rules a node out, and what makes one better than another.
//!
//! Order of the filters is upstream's: the first that refuses a node is the reason that is told.

mod affinity;
mod fit;
mod name;
mod ports;
mod taints;
mod unschedulable;

use k8s_openapi::api::core::v1::Pod;

use crate::pod::Needs;
use crate::snapshot::NodeInfo;

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
