//! Lists: Kubernetes' library and cel-go's extension.

use std::cmp::Ordering;

use super::operators::sum;
use super::strings;
use super::{Call, Native, Result};
use crate::error::EvaluationError;
use crate::program::CALL_LIMIT;
use crate::value::{Value, compare, equal};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => total,
        "max" => |call| extreme(call, "max", Ordering::Less),
        "min" => |call| extreme(call, "min", Ordering::Greater),
        "indexOf" => |call| match call.value(0)? {
            Value::List(_) => index_of(call, false),
            _ => strings::index_of(call),
        },
        "lastIndexOf" => |call| match call.value(0)? {
            Value::List(_) => index_of(call, true),
            _ => strings::last_index_of(call),
        },
        "slice" => slice,
        "flatten" => flatten,
        "sort" => |call| sort(call.list(0)?.items()?, call.list(0)?.items()?),
        "@sortByAssociatedKeys" => |call| sort(call.list(0)?.items()?, call.list(1)?.items()?),
        "lists.range" => range,
        "reverse" => |call| {
            let mut items = call.list(0)?.items()?;
            items.reverse();
            Ok(items.into_iter().collect())
        },
        "distinct" => distinct,
        _ => return None,
    })
}

fn is_sorted<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let items = call.list(0)?.items()?;
    for pair in items.windows(2) {
        if compare(&pair[0], &pair[1])?.is_gt() {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn total<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let mut total: Option<Value<'a>> = None;
    for item in call.list(0)?.iter() {
        let item = item?;
        total = Some(match &total {
            None => item,
            Some(before) => sum(before, &item)?,
        });
    }
    Ok(total.unwrap_or(match call.overload {
        "list_uint_sum_uint" => Value::Uint(0),
        "list_double_sum_double" => Value::Double(0.0),
        "list_duration_sum_duration" => Value::Duration(0),
        _ => Value::Int(0),
    }))
}

fn extreme<'a>(call: &Call<'_, 'a>, name: &str, replaced: Ordering) -> Result<Value<'a>> {
    let mut best: Option<Value<'a>> = None;
    for item in call.list(0)?.iter() {
        let item = item?;
        match &best {
            Some(before) if compare(before, &item)? != replaced => {}
            _ => best = Some(item),
        }
    }
    best.ok_or_else(|| EvaluationError::Failed(format!("{name} called on empty list")))
}

fn index_of<'a>(call: &Call<'_, 'a>, last: bool) -> Result<Value<'a>> {
    let (list, wanted) = (call.list(0)?, call.value(1)?);
    let found = |index: usize| match list.get(index) {
        Some(Ok(item)) => equal(&item, wanted) == Ok(true),
        _ => false,
    };
    let mut places = 0..list.len();
    let place =
        if last { places.rev().find(|index| found(*index)) } else { places.find(|index| found(*index)) };
    Ok(Value::Int(place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1)))
}

fn slice<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let (list, start, end) = (call.list(0)?, call.int(1)?, call.int(2)?);
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    if start < 0 || end < 0 {
        return Err(EvaluationError::Failed(format!(
            "cannot slice({start}, {end}), negative indexes not supported"
        )));
    }
    if start > end {
        return Err(EvaluationError::Failed(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        )));
    }
    if length < end {
        return Err(EvaluationError::Failed(format!(
            "cannot slice({start}, {end}), list is length {length}"
        )));
    }
    let items =
        list.iter().skip(usize::try_from(start).unwrap_or(0)).take(usize::try_from(end - start).unwrap_or(0));
    items.collect()
}

fn flatten<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let depth = call.int_or(1, 1)?;
    if depth < 0 {
        return Err(EvaluationError::failed("level must be non-negative"));
    }
    let mut items = Vec::new();
    flatten_into(&mut items, call.list(0)?.items()?, depth)?;
    Ok(items.into_iter().collect())
}

fn flatten_into<'a>(into: &mut Vec<Value<'a>>, items: Vec<Value<'a>>, depth: i64) -> Result<()> {
    for item in items {
        match item {
            Value::List(list) if depth > 0 => flatten_into(into, list.items()?, depth - 1)?,
            item => into.push(item),
        }
    }
    Ok(())
}

fn sort<'a>(items: Vec<Value<'a>>, keys: Vec<Value<'a>>) -> Result<Value<'a>> {
    if items.len() != keys.len() {
        let message = format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        );
        return Err(EvaluationError::Failed(message));
    }
    let mut failed = None;
    let mut order: Vec<usize> = (0..keys.len()).collect();
    if let Some(odd) = keys.iter().find(|key| key.type_name() != keys[0].type_name()) {
        let message = format!("list elements must have the same type, got {}", odd.type_name());
        return Err(EvaluationError::Failed(message));
    }
    order.sort_by(|a, b| {
        compare(&keys[*a], &keys[*b]).unwrap_or_else(|error| {
            failed = Some(error);
            a.cmp(b)
        })
    });
    match failed {
        Some(_) => Err(EvaluationError::failed("list elements must be comparable")),
        None => Ok(order.into_iter().map(|place| items[place].clone()).collect()),
    }
}

fn range<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let end = call.int(0)?;
    // It would cost more than any evaluation may.
    if u64::try_from(end).is_ok_and(|end| end > CALL_LIMIT) {
        return Err(EvaluationError::CallLimit);
    }
    Ok((0..end).map(Value::Int).collect())
}

fn distinct<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let mut items: Vec<Value<'a>> = Vec::new();
    'items: for item in call.list(0)?.iter() {
        let item = item?;
        for known in &items {
            if equal(known, &item)? {
                continue 'items;
            }
        }
        items.push(item);
    }
    Ok(items.into_iter().collect())
}
