//! The parts of points and spans of time. Without a zone, times are told in UTC.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::conversions::units;
use super::{Call, Native, Result};
use crate::error::EvaluationError;
use crate::time::{SECOND, parse_offset};
use crate::value::Value;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "getFullYear" => |call| part(call, |at| i64::from(at.year()), None),
        "getMonth" => |call| part(call, |at| i64::from(at.month()) - 1, None),
        "getDayOfYear" => |call| part(call, |at| i64::from(at.day_of_year()) - 1, None),
        "getDate" => |call| part(call, |at| i64::from(at.day()), None),
        "getDayOfMonth" => |call| part(call, |at| i64::from(at.day()) - 1, None),
        "getDayOfWeek" => |call| part(call, |at| i64::from(at.weekday().since(Weekday::Sunday)), None),
        "getHours" => |call| part(call, |at| i64::from(at.hour()), Some(3600 * SECOND)),
        "getMinutes" => |call| part(call, |at| i64::from(at.minute()), Some(60 * SECOND)),
        "getSeconds" => |call| part(call, |at| i64::from(at.second()), Some(SECOND)),
        "getMilliseconds" => |call| part(call, |at| i64::from(at.millisecond()), Some(SECOND / 1000)),
        _ => return None,
    })
}

fn part<'a>(
    call: &Call<'_, 'a>,
    of: fn(jiff::civil::DateTime) -> i64,
    unit: Option<i64>,
) -> Result<Value<'a>> {
    match (call.value(0)?, unit) {
        (Value::Timestamp(moment), _) => Ok(Value::Int(of(civil(moment.at, call)?))),
        (Value::Duration(nanos), Some(unit)) => Ok(Value::Int(units(*nanos, unit))),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn civil(at: Timestamp, call: &Call<'_, '_>) -> Result<jiff::civil::DateTime> {
    if call.args.len() < 2 {
        return Ok(TimeZone::UTC.to_datetime(at));
    }
    let name = call.text(1)?;
    let unknown = || EvaluationError::Failed(format!("unknown time zone {name}"));
    let zone = match name.contains(':') {
        true => TimeZone::fixed(parse_offset(name).ok_or_else(unknown)?),
        false if matches!(name, "" | "UTC") => TimeZone::UTC,
        false => TimeZone::get(name).map_err(|_| unknown())?,
    };
    Ok(zone.to_datetime(at))
}
