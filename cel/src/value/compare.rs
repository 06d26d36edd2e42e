//! Equality and order of values.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{List, Map, Value};
use crate::error::EvaluationError;
use crate::shape::{Form, ListKind};

type Result<T> = std::result::Result<T, EvaluationError>;

/// Whether two values are equal. Numbers are compared by what they are worth; values of other types are different.
pub fn equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<bool> {
    Ok(match (a, b) {
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => numbers(a, b) == Some(Ordering::Equal),
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::List(a), Value::List(b)) => lists(a, b)?,
        (Value::Map(a), Value::Map(b)) => maps(a, b)?,
        (Value::Struct(a), Value::Struct(b)) => {
            if a.name != b.name || a.fields.len() != b.fields.len() {
                return Ok(false);
            }
            for (name, value) in &a.fields {
                match b.field(name) {
                    Some(other) if equal(value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(a, b)?,
        (Value::Hidden(a), Value::Hidden(b)) => same_json(a, b),
        (Value::Library(a), Value::Library(b)) => a == b,
        _ => false,
    })
}

/// JSON is the same by what it says, whatever the order and form of numbers.
fn same_json(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same_json(value, other)))
        }
        _ => a == b,
    }
}

fn lists<'a>(a: &List<'a>, b: &List<'a>) -> Result<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let kind = match (a.kind(), b.kind()) {
        (ListKind::Atomic, other) => other,
        (kind, _) => kind,
    };
    match kind {
        ListKind::Atomic => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(&a?, &b?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        ListKind::Set => {
            let mut have = a.items()?;
            for item in b.iter() {
                let item = item?;
                let mut place = None;
                for (index, other) in have.iter().enumerate() {
                    if equal(other, &item)? {
                        place = Some(index);
                        break;
                    }
                }
                match place {
                    Some(index) => drop(have.swap_remove(index)),
                    None => return Ok(false),
                }
            }
            Ok(true)
        }
        ListKind::Map(keys) => {
            let have = a.items()?;
            for item in b.iter() {
                let item = item?;
                let other = position(&have, &item, keys)?.map(|index| &have[index]);
                if !matches!(other, Some(other) if equal(other, &item)?) {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// Which of the items has the keys of this one.
fn position<'a>(items: &[Value<'a>], item: &Value<'a>, keys: &[String]) -> Result<Option<usize>> {
    let key = |value: &Value<'a>, name: &str| match value {
        Value::Map(map) => map.field(&crate::shape::escape(name).unwrap_or(name.into())).transpose(),
        _ => Ok(None),
    };
    'items: for (index, other) in items.iter().enumerate() {
        for name in keys {
            let same = match (key(item, name)?, key(other, name)?) {
                (Some(a), Some(b)) => equal(&a, &b)?,
                (None, None) => true,
                _ => false,
            };
            if !same {
                continue 'items;
            }
        }
        return Ok(Some(index));
    }
    Ok(None)
}

/// `a + b`: a set takes what it does not have, a list with keys is merged, any other is appended to.
pub(crate) fn join<'a>(a: &List<'a>, b: &List<'a>) -> Result<List<'a>> {
    let kind = a.kind();
    let mut items = a.items()?;
    for item in b.iter() {
        let item = item?;
        let place = match kind {
            ListKind::Atomic => None,
            ListKind::Set => {
                let mut place = None;
                for (index, other) in items.iter().enumerate() {
                    if equal(other, &item)? {
                        place = Some(index);
                    }
                }
                place
            }
            ListKind::Map(keys) => position(&items, &item, keys)?,
        };
        match place {
            Some(index) => items[index] = item,
            None => items.push(item),
        }
    }
    Ok(List::Owned { items: std::sync::Arc::new(items), kind: Some(kind) })
}

fn maps<'a>(a: &Map<'a>, b: &Map<'a>) -> Result<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    // What is kept of an object without being declared has no key in the language, but it counts.
    if let (Map::Json { entries: a, form: Form::Object(object) }, Map::Json { entries: b, .. }) = (a, b) {
        let unknown = a.iter().filter(|(key, _)| !object.fields.contains_key(*key));
        for (key, value) in unknown {
            if b.get(key).is_some_and(|other| !same_json(value, other)) {
                return Ok(false);
            }
        }
    }
    for key in a.keys() {
        match (a.get(&key), b.get(&key)) {
            (Some(a), Some(b)) => {
                if !equal(&a?, &b?)? {
                    return Ok(false);
                }
            }
            (None, None) => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The order of two values, or an error if they have none.
pub fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering> {
    let order = match (a, b) {
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => {
            return numbers(a, b).ok_or_else(|| EvaluationError::failed("NaN values cannot be ordered"));
        }
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => (**a).cmp(&**b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        _ => return Err(EvaluationError::no_overload()),
    };
    Ok(order)
}

fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), Value::Int(b)) => with_double(*a, i128::from(*b)),
        (Value::Double(a), Value::Uint(b)) => with_double(*a, i128::from(*b)),
        (Value::Int(a), Value::Double(b)) => with_double(*b, i128::from(*a)).map(Ordering::reverse),
        (Value::Uint(a), Value::Double(b)) => with_double(*b, i128::from(*a)).map(Ordering::reverse),
        _ => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "as cel-go: whole numbers are compared as doubles within the bounds"
)]
fn with_double(double: f64, whole: i128) -> Option<Ordering> {
    double.partial_cmp(&(whole as f64))
}
