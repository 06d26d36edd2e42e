//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: others are asked.
//!
//! `Hook` is one webhook of a configuration as it is used; which of them a request concerns is decided in
//! `matching`, what they are sent and may answer is `review` (both pure), and `call` asks one. Mutating
//! ones are asked one after the other, in the order of their configurations' names, validating ones all at
//! once. Configurations themselves are never subject to webhooks: whoever locked himself out could not undo it.
//! Matched to `apiserver/pkg/admission/plugin/webhook`.

mod call;
mod conditions;
mod hook;
mod matching;
mod mutating;
mod review;
mod validating;

use skiff_api::kind::Kind;

pub use hook::Client;
pub use hook::{client, trust};
pub use matching::{Rule, Subject};
pub use mutating::MutatingAdmissionWebhook;
pub use review::unsuccessful;
pub use validating::ValidatingAdmissionWebhook;

use super::Review;

/// The group of the configurations.
pub const GROUP: &str = "admissionregistration.k8s.io";

/// What is never subject to webhooks.
const EXEMPT: [&str; 6] = [
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];

/// Whether objects of a kind decide about admission themselves, and are not subject to it.
pub fn is_exempt(kind: &Kind) -> bool {
    kind.group == GROUP && EXEMPT.contains(&kind.kind.as_str())
}

/// Whether webhooks have a say. What the server makes while it starts is its own: a webhook in this cluster
/// could not answer yet.
fn concerns(review: &Review<'_>) -> bool {
    review.call.app.is_ready() && !is_exempt(&review.call.kind)
}
