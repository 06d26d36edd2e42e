//! Who owns which fields of an object (`metadata.managedFields`), and server-side apply.
//!
//! A walk over the schema turns an object into a [`Set`] of the fields it sets, or two objects into a
//! [`Comparison`]. A write takes from other managers what it changes and gives it to its own
//! ([`Tracker`]). Pure: the time comes in, nothing is defaulted here. Upstream:
//! `sigs.k8s.io/structured-merge-diff` and `apimachinery/pkg/util/managedfields`.

mod atom;
mod check;
mod compare;
mod element;
mod fields;
mod last_applied;
mod managed;
mod members;
mod merge;
mod remove;
mod reset;
mod scale;
mod set;
mod tracker;
mod updater;

pub use check::check;
pub use compare::{Comparison, compare};
pub use element::Element;
pub use managed::{Managed, Manager, Operation, Owned, is_reset, same_but_times};
pub use members::members;
pub use merge::merge;
pub use remove::{extract, remove};
pub use reset::{Reset, is_tracked, left_alone, of as reset};
pub use scale::Replicas;
pub use set::{Node, Pattern, Set};
pub use tracker::{Tracker, empty};
pub use updater::{Conflict, Refusal, Updater, Versions};

#[cfg(test)]
mod tests;
