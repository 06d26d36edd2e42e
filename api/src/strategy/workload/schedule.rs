//! When a CronJob runs: schedules in cron's five fields or a name for them, and time zones. Matched to
//! robfig/cron's standard parser, its words included.

use super::super::text;
use crate::duration;
use crate::status::FieldError;
use serde_json::Value;

/// A field of a schedule: its least and greatest value, and names for some.
type Bounds = (i64, i64, &'static [(&'static str, i64)]);

#[rustfmt::skip]
const FIELDS: [Bounds; 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &[("jan", 1), ("feb", 2), ("mar", 3), ("apr", 4), ("may", 5), ("jun", 6), ("jul", 7), ("aug", 8),
              ("sep", 9), ("oct", 10), ("nov", 11), ("dec", 12)]),
    (0, 6, &[("sun", 0), ("mon", 1), ("tue", 2), ("wed", 3), ("thu", 4), ("fri", 5), ("sat", 6)]),
];
const NAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with a CronJob's schedule and time zone.
pub fn check(spec: &Value) -> Vec<FieldError> {
    let schedule = text(spec, "schedule");
    let mut errors = Vec::new();
    if !schedule.is_empty() {
        // A zone in front of it is told of below.
        let bare = match schedule.split_once(' ') {
            Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => rest.trim(),
            _ => schedule,
        };
        if let Err(why) = parse(bare) {
            errors.push(FieldError::invalid("spec.schedule", schedule, why));
        }
        if schedule.contains("TZ") {
            let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.push(FieldError::invalid("spec.schedule", schedule, why));
        }
    }
    if let Some(name) = spec["timeZone"].as_str()
        && let Err(why) = zone(name)
    {
        errors.push(FieldError::invalid("spec.timeZone", name, why));
    }
    errors
}

fn zone(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("timeZone must be nil or non-empty string".into());
    }
    if name.eq_ignore_ascii_case("local") {
        let where_from = "https://www.iana.org/time-zones";
        return Err(format!("timeZone must be an explicit time zone as defined in {where_from}"));
    }
    // A machine that has no zones cannot tell which there are.
    let zones = jiff::tz::db();
    if zones.is_definitively_empty() || zones.get(name).is_ok() {
        return Ok(());
    }
    Err(format!("unknown time zone {name}"))
}

fn parse(schedule: &str) -> Result<(), String> {
    if let Some(span) = schedule.strip_prefix("@every ") {
        let why = || format!("failed to parse duration {schedule}: time: invalid duration {span:?}");
        return duration::parse(span).map(drop).ok_or_else(why);
    }
    if schedule.starts_with('@') {
        let why = || format!("unrecognized descriptor: {schedule}");
        return NAMES.contains(&schedule).then_some(()).ok_or_else(why);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let (count, found) = (fields.len(), fields.join(" "));
        return Err(format!("expected exactly 5 fields, found {count}: [{found}]"));
    }
    for (field, bounds) in fields.iter().zip(FIELDS) {
        field.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, bounds))?;
    }
    Ok(())
}

fn range(text: &str, (least, greatest, names): Bounds) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = match ends[..] {
        ["*" | "?", ..] => (least, greatest),
        [one] => {
            let one = number(one, names)?;
            (one, one)
        }
        [from, to] => (number(from, names)?, number(to, names)?),
        [from, ..] => {
            number(from, names)?;
            return Err(format!("too many hyphens: {text}"));
        }
        [] => (least, greatest),
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step, &[])?;
            if ends.len() == 1 {
                end = greatest;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > greatest {
        return Err(format!("end of range ({end}) above maximum ({greatest}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number(text: &str, names: &[(&str, i64)]) -> Result<i64, String> {
    if let Some((_, value)) = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(*value);
    }
    match text.parse::<i64>() {
        Ok(value) if value < 0 => Err(format!("negative number ({value}) not allowed: {text}")),
        Ok(value) => Ok(value),
        Err(_) => {
            let why = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
                "value out of range"
            } else {
                "invalid syntax"
            };
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schedules_are_read_as_crons() {
        for (schedule, expected) in [
            ("*/5 * * * *", None),
            ("0 0 ? JAN-mar Mon,5", None),
            ("@hourly", None),
            ("@every 1h30m", None),
            ("1,,2 * * * *", None),
            ("5/20 * * * *", None),
            ("* * * *", Some("expected exactly 5 fields, found 4: [* * * *]")),
            ("61 * * * *", Some("end of range (61) above maximum (59): 61")),
            ("5-1 * * * *", Some("beginning of range (5) beyond end of range (1): 5-1")),
            ("* * 0 * *", Some("beginning of range (0) below minimum (1): 0")),
            ("a * * * *", Some("failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax")),
            ("*/0 * * * *", Some("step of range should be a positive number: */0")),
            ("1/2/3 * * * *", Some("too many slashes: 1/2/3")),
            ("1-2-3 * * * *", Some("too many hyphens: 1-2-3")),
            ("@never", Some("unrecognized descriptor: @never")),
            ("@every x", Some("failed to parse duration @every x: time: invalid duration \"x\"")),
        ] {
            assert_eq!(parse(schedule).err().as_deref(), expected, "{schedule}");
        }
    }

    #[test]
    fn a_zone_is_a_name_that_is_known() {
        let wrong = |spec: Value| check(&spec).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(wrong(json!({"schedule": "@daily", "timeZone": "Etc/UTC"})), Vec::<String>::new());
        let why = "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string";
        assert_eq!(wrong(json!({"timeZone": ""})), [why]);
        let why = "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        assert_eq!(wrong(json!({"schedule": "TZ=UTC * * * * *"})), [why]);
    }
}
