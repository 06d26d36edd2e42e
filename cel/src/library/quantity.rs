//! Quantities such as `100m`.

use skiff_api::quantity::{FORMAT_WRONG, Quantity};

use super::semver;
use super::{Call, Library, Native, Result};
use crate::error::EvaluationError;
use crate::value::Value;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "quantity" => |call| match Quantity::parse(call.text(0)?) {
            Some(quantity) => Ok(Library::Quantity(quantity).into()),
            None => Err(EvaluationError::failed(why(call.text(0)?))),
        },
        "isQuantity" => |call| Ok(Value::Bool(Quantity::parse(call.text(0)?).is_some())),
        "sign" => |call| Ok(Value::Int(quantity(call, 0)?.signum())),
        "asInteger" => |call| {
            let whole = quantity(call, 0)?.whole();
            whole.map(Value::Int).ok_or_else(|| EvaluationError::failed("cannot convert value to integer"))
        },
        "isInteger" => |call| Ok(Value::Bool(quantity(call, 0)?.whole().is_some())),
        "asApproximateFloat" => |call| Ok(Value::Double(quantity(call, 0)?.approximate())),
        "add" => |call| Ok(Library::Quantity(quantity(call, 0)?.plus(other(call)?)).into()),
        "sub" => |call| Ok(Library::Quantity(quantity(call, 0)?.minus(other(call)?)).into()),
        "isGreaterThan" => |call| Ok(Value::Bool(order(call)?.is_gt())),
        "isLessThan" => |call| Ok(Value::Bool(order(call)?.is_lt())),
        "compareTo" => |call| Ok(Value::Int(order(call)? as i64)),
        _ => return None,
    })
}

/// Why a text is no quantity: it has another form, or the form and no suffix that is known.
fn why(text: &str) -> &'static str {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let suffix = number.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let exponent = suffix.strip_prefix(['+', '-']).unwrap_or(suffix);
    if number.len() < rest.len() && exponent.bytes().all(|c| c.is_ascii_digit()) {
        return "unable to parse quantity's suffix";
    }
    FORMAT_WRONG
}

fn quantity(call: &Call<'_, '_>, place: usize) -> Result<Quantity> {
    match call.library(place)? {
        Library::Quantity(quantity) => Ok(*quantity),
        _ => Err(EvaluationError::no_overload()),
    }
}

/// The second operand: a quantity or a whole number.
fn other(call: &Call<'_, '_>) -> Result<Quantity> {
    match call.value(1)? {
        Value::Int(units) => Ok(Quantity::of(*units)),
        _ => quantity(call, 1),
    }
}

/// Quantities and versions are compared by functions of one name.
fn order(call: &Call<'_, '_>) -> Result<std::cmp::Ordering> {
    match (call.library(0)?, call.library(1)?) {
        (Library::Quantity(a), Library::Quantity(b)) => {
            Ok(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
        }
        (Library::Semver(a), Library::Semver(b)) => Ok(semver::Semver::compare(a, b)),
        _ => Err(EvaluationError::no_overload()),
    }
}
