//! `matchConditions`: what must hold, in CEL, before a webhook is asked.

use serde_json::Value;
use skiff_api::status::Status;

use super::hook::Hook;
use crate::admission::Review;

/// Whether all conditions of a webhook hold for an object, in the version that it asked for.
pub fn hold(
    review: &Review<'_>,
    hook: &Hook,
    _version: &str,
    object: &Value,
    _old: &Value,
) -> Result<bool, Status> {
    if hook.conditions.is_empty() {
        return Ok(true);
    }
    if hook.ignores_failures {
        return Ok(false);
    }
    let kind = &review.call.kind;
    Err(Status::forbidden(
        &kind.group,
        &kind.plural,
        review.name(object),
        "matchConditions are not evaluated yet",
    ))
}
