//! Fields and items of values.

use std::sync::Arc;

use super::Result;
use crate::error::EvaluationError;
use crate::value::{Key, List, Value};

fn no_key<T>(key: &dyn std::fmt::Display) -> Result<T> {
    Err(EvaluationError::Failed(format!("no such key: {key}")))
}

/// A field, if it is there.
pub(super) fn find_field<'a>(operand: &Value<'a>, field: &str) -> Result<Option<Value<'a>>> {
    match operand {
        Value::Map(map) => map.field(field).transpose(),
        Value::Struct(made) => Ok(made.field(field).cloned()),
        Value::Optional(None) => Ok(None),
        Value::Optional(Some(inner)) => find_field(inner, field),
        _ => Err(EvaluationError::no_overload()),
    }
}

/// A field. Of an optional it is an optional.
pub(super) fn select<'a>(operand: &Value<'a>, field: &str) -> Result<Value<'a>> {
    let found = find_field(operand, field)?;
    match (operand, found) {
        (Value::Optional(_), found) => Ok(Value::Optional(found.map(Arc::new))),
        (_, Some(value)) => Ok(value),
        (_, None) => no_key(&field),
    }
}

/// Whether a field is there.
pub(super) fn has<'a>(operand: &Value<'a>, field: &str) -> Result<Value<'a>> {
    Ok(Value::Bool(find_field(operand, field)?.is_some()))
}

/// An item, if it is there.
pub(super) fn find<'a>(operand: &Value<'a>, index: &Value<'a>) -> Result<Option<Value<'a>>> {
    match operand {
        Value::List(list) => match place(list, index) {
            Some(place) => list.get(place?).transpose(),
            None => Ok(None),
        },
        Value::Map(map) => {
            if Key::of(index).is_none() {
                return Err(unsupported(index));
            }
            map.get(index).transpose()
        }
        Value::Struct(made) => Ok(index.as_str().and_then(|name| made.field(name).cloned())),
        Value::Optional(None) => Ok(None),
        Value::Optional(Some(inner)) => find(inner, index),
        _ => Err(EvaluationError::no_overload()),
    }
}

/// An item. Of an optional it is an optional.
pub(super) fn index<'a>(operand: &Value<'a>, index: &Value<'a>) -> Result<Value<'a>> {
    let found = find(operand, index)?;
    match (operand, found) {
        (Value::Optional(_), found) => Ok(Value::Optional(found.map(Arc::new))),
        (_, Some(value)) => Ok(value),
        (Value::List(_), None) => Err(EvaluationError::Failed(format!("index out of bounds: {index}"))),
        (_, None) => no_key(index),
    }
}

/// The place of an index within a list; `None` if there is none.
fn place(list: &List<'_>, index: &Value<'_>) -> Option<Result<usize>> {
    let place = match index {
        Value::Int(index) => usize::try_from(*index).ok(),
        Value::Uint(index) => usize::try_from(*index).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and within the bounds"
        )]
        Value::Double(index) if index.fract() == 0.0 && *index >= 0.0 && *index < 1e15 => {
            Some(*index as usize)
        }
        other => return Some(Err(unsupported(other))),
    };
    place.filter(|place| *place < list.len()).map(Ok)
}

fn unsupported(index: &Value<'_>) -> EvaluationError {
    EvaluationError::Failed(format!("unsupported index type '{}'", index.type_name()))
}

/// Why a key cannot be put into a map.
pub(super) fn bad_key(key: &Value<'_>) -> EvaluationError {
    match Key::of(key) {
        Some(_) => EvaluationError::Failed(format!("Failed with repeated key {key}")),
        None => EvaluationError::Failed(format!("unsupported key type: {}", key.type_name())),
    }
}
