//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules in CEL, bound to what they are about.
//!
//! `rule` is a policy as it is used, `binding` who binds it and with which params; the plugins are
//! `validating` and `mutating`. What is wrong with the expressions of a policy that is written tells `check`,
//! what its types would make of them `typing`. Matched to `apiserver/pkg/admission/plugin/policy`.

mod binding;
mod check;
mod mutating;
mod rule;
mod typing;
mod validating;

pub use check::{check, match_conditions};
pub use mutating::MutatingAdmissionPolicy;
pub use typing::follow;
pub use validating::ValidatingAdmissionPolicy;

use super::Review;
use super::webhook::is_exempt;

/// Whether policies have a say in a request: not about what decides about admission itself, which whoever locked
/// himself out could not undo, and not while the server makes what every cluster has.
fn concerns(review: &Review<'_>) -> bool {
    review.call.app.is_ready() && !is_exempt(&review.call.kind)
}
