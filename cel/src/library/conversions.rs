//! Conversions between types.

use super::{Call, Library, Native, Result};
use crate::error::EvaluationError;
use crate::time::{self, SECOND};
use crate::value::Value;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "type" => |call| Ok(Value::Type(call.value(0)?.type_name().into())),
        "dyn" => |call| Ok(call.value(0)?.clone()),
        "bool" => to_bool,
        "bytes" => to_bytes,
        "double" => to_double,
        "duration" => to_duration,
        "int" => to_int,
        "uint" => to_uint,
        "string" => to_string,
        "timestamp" => to_timestamp,
        _ => return None,
    })
}

fn wrong<T>(from: &Value<'_>, to: &str) -> Result<T> {
    let shown = match from {
        Value::String(text) => format!("type conversion error from '{}' to '{to}': {text}", from.type_name()),
        _ => format!("type conversion error from '{}' to '{to}'", from.type_name()),
    };
    Err(EvaluationError::Failed(shown))
}

fn out_of_range<T>(unsigned: bool) -> Result<T> {
    Err(EvaluationError::failed(if unsigned { "unsigned integer overflow" } else { "integer overflow" }))
}

fn syntax<T>(function: &str, text: &str) -> Result<T> {
    Err(EvaluationError::Failed(format!("strconv.{function}: parsing {text:?}: invalid syntax")))
}

fn to_bool<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        value @ Value::Bool(_) => Ok(value.clone()),
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            other => syntax("ParseBool", other),
        },
        other => wrong(other, "bool"),
    }
}

fn to_bytes<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        value @ Value::Bytes(_) => Ok(value.clone()),
        Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
        other => wrong(other, "bytes"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a conversion to double is to the nearest")]
fn to_double<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        value @ Value::Double(_) => Ok(value.clone()),
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::String(text) => match text.parse() {
            Ok(value) => Ok(Value::Double(value)),
            Err(_) => syntax("ParseFloat", text),
        },
        other => wrong(other, "double"),
    }
}

fn to_duration<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        value @ Value::Duration(_) => Ok(value.clone()),
        Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        Value::String(text) => match time::parse_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => Err(EvaluationError::Failed(format!("time: invalid duration {:?}", &**text))),
        },
        other => wrong(other, "google.protobuf.Duration"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the bounds are looked at")]
fn to_int<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        value @ Value::Int(_) => Ok(value.clone()),
        Value::Uint(value) => i64::try_from(*value).map(Value::Int).or_else(|_| out_of_range(false)),
        Value::Double(value) => {
            if value.is_finite()
                && *value > -9_223_372_036_854_775_808.0
                && *value < 9_223_372_036_854_775_808.0
            {
                Ok(Value::Int(*value as i64))
            } else {
                out_of_range(false)
            }
        }
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        Value::Timestamp(moment) => {
            Ok(Value::Int(moment.at.as_second() - i64::from(moment.at.subsec_nanosecond() < 0)))
        }
        Value::String(text) => match text.parse() {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => syntax("ParseInt", text),
        },
        other => wrong(other, "int"),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the bounds are looked at")]
fn to_uint<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        value @ Value::Uint(_) => Ok(value.clone()),
        Value::Int(value) => u64::try_from(*value).map(Value::Uint).or_else(|_| out_of_range(true)),
        Value::Double(value) => {
            if *value >= 0.0 && *value < 18_446_744_073_709_551_616.0 {
                Ok(Value::Uint(*value as u64))
            } else {
                out_of_range(true)
            }
        }
        Value::String(text) => match text.parse() {
            Ok(value) => Ok(Value::Uint(value)),
            Err(_) => syntax("ParseUint", text),
        },
        other => wrong(other, "uint"),
    }
}

fn to_string<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        value @ Value::String(_) => Ok(value.clone()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned().into()),
            Err(_) => Err(EvaluationError::failed("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Value::Double(value) => Ok(show_double(*value).into()),
        value @ (Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Timestamp(_)
        | Value::Duration(_)) => Ok(value.to_string().into()),
        Value::Library(Library::Ip(ip)) => Ok(ip.to_string().into()),
        Value::Library(Library::Cidr(cidr)) => Ok(cidr.to_string().into()),
        other => wrong(other, "string"),
    }
}

/// As Go's `strconv.FormatFloat(value, 'g', -1, 64)`: the shortest digits, with an exponent where it is shorter.
pub(super) fn show_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn to_timestamp<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    match call.value(0)? {
        value @ Value::Timestamp(_) => Ok(value.clone()),
        Value::Int(seconds) => match time::from_seconds(*seconds) {
            Some(at) => Ok(Value::Timestamp(at)),
            None => Err(EvaluationError::failed("timestamp overflow")),
        },
        Value::String(text) => match time::parse_timestamp(text) {
            Some(at) => Ok(Value::Timestamp(at)),
            None => Err(EvaluationError::Failed(format!(
                "parsing time {:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse",
                &**text
            ))),
        },
        other => wrong(other, "google.protobuf.Timestamp"),
    }
}

/// A span in whole units.
pub(super) fn units(nanos: i64, unit: i64) -> i64 {
    debug_assert!(unit <= 3600 * SECOND, "the largest unit is an hour");
    nanos / unit
}
