//! Operators, `size` and `in`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Call, Native, Result};
use crate::error::EvaluationError;
use crate::time::{self, Moment};
use crate::value::{Value, compare, equal, join};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "!_" => not,
        "-_" => negate,
        "_+_" => add,
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => modulo,
        "_<_" => |call| ordered(call, Ordering::is_lt),
        "_<=_" => |call| ordered(call, Ordering::is_le),
        "_>_" => |call| ordered(call, Ordering::is_gt),
        "_>=_" => |call| ordered(call, Ordering::is_ge),
        "@in" => contains,
        "size" => size,
        _ => return None,
    })
}

fn overflow<T>() -> Result<T> {
    Err(EvaluationError::failed("integer overflow"))
}

fn unsigned_overflow<T>() -> Result<T> {
    Err(EvaluationError::failed("unsigned integer overflow"))
}

fn not<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn negate<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        Value::Int(value) => value.checked_neg().map(Value::Int).map_or_else(overflow, Ok),
        Value::Double(value) => Ok(Value::Double(-value)),
        Value::Duration(value) => value.checked_neg().map(Value::Duration).map_or_else(overflow, Ok),
        _ => Err(EvaluationError::no_overload()),
    }
}

/// A point in time and a span.
fn moved<'a>(moment: Moment, nanos: i64) -> Result<Value<'a>> {
    let at =
        moment.at.checked_add(jiff::SignedDuration::from_nanos(nanos)).ok().filter(|at| time::in_range(*at));
    at.map(|at| Value::Timestamp(Moment { at, ..moment }))
        .ok_or_else(|| EvaluationError::failed("timestamp overflow"))
}

pub(super) fn sum<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<Value<'a>> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => return a.checked_add(*b).map(Value::Int).map_or_else(overflow, Ok),
        (Value::Uint(a), Value::Uint(b)) => {
            return a.checked_add(*b).map(Value::Uint).map_or_else(unsigned_overflow, Ok);
        }
        (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
        (Value::String(a), Value::String(b)) => {
            let mut text = String::with_capacity(a.len() + b.len());
            text.push_str(a);
            text.push_str(b);
            text.into()
        }
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes(a.iter().chain(b.iter()).copied().collect()),
        (Value::List(a), Value::List(b)) => Value::List(join(a, b)?),
        (Value::Duration(a), Value::Duration(b)) => {
            return a
                .checked_add(*b)
                .map(Value::Duration)
                .ok_or_else(|| EvaluationError::failed("duration overflow"));
        }
        (Value::Timestamp(at), Value::Duration(span)) | (Value::Duration(span), Value::Timestamp(at)) => {
            return moved(*at, *span);
        }
        _ => return Err(EvaluationError::no_overload()),
    })
}

fn add<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    sum(call.value(0)?, call.value(1)?)
}

fn subtract<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let spans = || EvaluationError::failed("duration overflow");
    match (call.value(0)?, call.value(1)?) {
        (Value::Int(a), Value::Int(b)) => a.checked_sub(*b).map(Value::Int).map_or_else(overflow, Ok),
        (Value::Uint(a), Value::Uint(b)) => {
            a.checked_sub(*b).map(Value::Uint).map_or_else(unsigned_overflow, Ok)
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => a.checked_sub(*b).map(Value::Duration).ok_or_else(spans),
        (Value::Timestamp(at), Value::Duration(span)) => moved(*at, span.checked_neg().ok_or_else(spans)?),
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            let nanos = a.at.as_nanosecond() - b.at.as_nanosecond();
            i64::try_from(nanos)
                .map(Value::Duration)
                .map_err(|_| EvaluationError::failed("timestamp overflow"))
        }
        _ => Err(EvaluationError::no_overload()),
    }
}

fn multiply<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match (call.value(0)?, call.value(1)?) {
        (Value::Int(a), Value::Int(b)) => a.checked_mul(*b).map(Value::Int).map_or_else(overflow, Ok),
        (Value::Uint(a), Value::Uint(b)) => {
            a.checked_mul(*b).map(Value::Uint).map_or_else(unsigned_overflow, Ok)
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn divide<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match (call.value(0)?, call.value(1)?) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvaluationError::failed("division by zero"))
        }
        (Value::Int(a), Value::Int(b)) => a.checked_div(*b).map(Value::Int).map_or_else(overflow, Ok),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn modulo<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match (call.value(0)?, call.value(1)?) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvaluationError::failed("modulus by zero"))
        }
        (Value::Int(a), Value::Int(b)) => a.checked_rem(*b).map(Value::Int).map_or_else(overflow, Ok),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn ordered<'a>(call: &Call<'_, 'a>, holds: fn(Ordering) -> bool) -> Result<Value<'a>> {
    let (a, b) = (call.value(0)?, call.value(1)?);
    // Nothing is true of what is no number.
    if [a, b].iter().any(|value| matches!(value, Value::Double(double) if double.is_nan())) {
        return Err(EvaluationError::failed("NaN values cannot be ordered"));
    }
    Ok(Value::Bool(holds(compare(a, b)?)))
}

fn contains<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let needle = call.value(0)?;
    match call.value(1)? {
        Value::List(list) => {
            let mut failed = None;
            for item in list.iter() {
                match item.and_then(|item| equal(&item, needle)) {
                    Ok(true) => return Ok(Value::Bool(true)),
                    Ok(false) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            failed.map_or(Ok(Value::Bool(false)), Err)
        }
        Value::Map(map) => Ok(Value::Bool(map.get(needle).is_some())),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn size<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_)) => {
            Ok(Value::Int(i64::try_from(value.size()).unwrap_or(i64::MAX)))
        }
        _ => Err(EvaluationError::no_overload()),
    }
}

/// A list of texts.
pub(super) fn texts<'a>(texts: impl IntoIterator<Item = String>) -> Value<'a> {
    texts.into_iter().map(|text| Value::String(crate::value::Text::Shared(Arc::from(text)))).collect()
}
