//! Lists as sets.

use super::{Native, Result};
use crate::value::{List, Value, equal};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "sets.contains" => |call| Ok(Value::Bool(contains(call.list(0)?, call.list(1)?)?)),
        "sets.equivalent" => |call| {
            let (a, b) = (call.list(0)?, call.list(1)?);
            Ok(Value::Bool(contains(a, b)? && contains(b, a)?))
        },
        "sets.intersects" => |call| {
            let (a, b) = (call.list(0)?.items()?, call.list(1)?);
            for item in b.iter() {
                if holds(&a, &item?)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        },
        _ => return None,
    })
}

fn holds<'a>(items: &[Value<'a>], wanted: &Value<'a>) -> Result<bool> {
    for item in items {
        if equal(item, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains<'a>(list: &List<'a>, of: &List<'a>) -> Result<bool> {
    let items = list.items()?;
    for item in of.iter() {
        if !holds(&items, &item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}
