//! Values that may be absent.

use std::sync::Arc;

use super::{Call, Native, Result};
use crate::error::EvaluationError;
use crate::value::Value;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "optional.of" => |call| Ok(call.value(0)?.clone().some()),
        "optional.ofNonZeroValue" => |call| {
            let value = call.value(0)?;
            Ok(if value.is_zero() { Value::Optional(None) } else { value.clone().some() })
        },
        "optional.none" => |_| Ok(Value::Optional(None)),
        "value" => |call| {
            optional(call)?
                .map(|inner| (*inner).clone())
                .ok_or_else(|| EvaluationError::failed("optional.none() dereference"))
        },
        "hasValue" => |call| Ok(Value::Bool(optional(call)?.is_some())),
        "first" => |call| end(call, |_| 0),
        "last" => |call| end(call, |length| length.saturating_sub(1)),
        "optional.unwrap" | "unwrapOpt" => unwrap,
        _ => return None,
    })
}

fn optional<'a>(call: &Call<'_, 'a>) -> Result<Option<Arc<Value<'a>>>> {
    match call.value(0)? {
        Value::Optional(inner) => Ok(inner.clone()),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn end<'a>(call: &Call<'_, 'a>, place: fn(usize) -> usize) -> Result<Value<'a>> {
    let list = call.list(0)?;
    Ok(Value::Optional(list.get(place(list.len())).transpose()?.map(Arc::new)))
}

fn unwrap<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let mut values = Vec::new();
    for item in call.list(0)?.iter() {
        match item? {
            Value::Optional(inner) => values.extend(inner.map(|inner| (*inner).clone())),
            other => {
                let message = format!("value {other} is not optional");
                return Err(EvaluationError::Failed(message));
            }
        }
    }
    Ok(values.into_iter().collect())
}
