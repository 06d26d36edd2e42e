//! `matchConditions`: what must hold, in CEL, before a webhook is asked.

use serde_json::Value;
use skiff_api::status::Status;

use super::hook::{CONDITIONS, Hook};
use crate::admission::Review;
use crate::admission::expression::Facts;

/// Whether all conditions of a webhook hold for an object, in the version that it asked for.
pub fn hold(
    review: &Review<'_>,
    hook: &Hook,
    version: &str,
    object: &Value,
    old: &Value,
) -> Result<bool, Status> {
    if hook.conditions.is_empty() {
        return Ok(true);
    }
    let facts = Facts::of(review, version, object);
    let activation = facts.activation(object, old, &Value::Null, CONDITIONS);
    match hook.conditions.hold(&activation) {
        Ok(held) => Ok(held),
        Err(_) if hook.ignores_failures => Ok(false),
        Err(why) => {
            let kind = &review.call.kind;
            let shown = if object.is_null() { old } else { object };
            Err(Status::forbidden(&kind.group, &kind.plural, review.name(shown), &why))
        }
    }
}
