//! Points and spans of time, read and written as Go does it.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// A point in time, and the offset with which it was written and is shown again.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// The offset from UTC.
    pub offset: Offset,
}

impl Moment {
    /// In UTC.
    pub fn utc(at: Timestamp) -> Self {
        Self { at, offset: Offset::UTC }
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

/// A second in nanoseconds.
pub const SECOND: i64 = 1_000_000_000;

/// Reads RFC 3339 with any offset. Years run from 1 to 9999.
pub fn parse_timestamp(text: &str) -> Option<Moment> {
    let bytes = text.as_bytes();
    // jiff is more liberal than RFC 3339.
    let digits = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let shape = digits(0..4)
        && bytes.get(4) == Some(&b'-')
        && digits(5..7)
        && bytes.get(7) == Some(&b'-')
        && digits(8..10)
        && matches!(bytes.get(10), Some(b'T' | b't'))
        && digits(11..13)
        && bytes.get(13) == Some(&b':')
        && digits(14..16)
        && bytes.get(16) == Some(&b':')
        && digits(17..19)
        && !text.contains('[')
        && !text.contains(',');
    if !shape || &bytes[17..19] == b"60" {
        return None;
    }
    let at: Timestamp = text.parse().ok().filter(|at| in_range(*at))?;
    let zone = &text[19..];
    let offset = zone.find(['+', '-']).and_then(|sign| parse_offset(&zone[sign..]));
    Some(Moment { at, offset: offset.unwrap_or(Offset::UTC) })
}

/// Reads `-07:00`, also without a sign.
pub fn parse_offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
    Offset::from_seconds(sign * seconds).ok()
}

/// The time so many seconds after 1970.
pub fn from_seconds(seconds: i64) -> Option<Moment> {
    Timestamp::from_second(seconds).ok().filter(|at| in_range(*at)).map(Moment::utc)
}

/// Whether a time is between the years 1 and 9999.
pub fn in_range(at: Timestamp) -> bool {
    (-62_135_596_800..=253_402_300_799).contains(&at.as_second())
}

/// Reads what the format `date-time` allows: also a space in place of the `T`.
pub fn parse_date_time(text: &str) -> Option<Moment> {
    parse_timestamp(text).or_else(|| parse_timestamp(&text.replacen(' ', "T", 1)))
}

/// RFC 3339 with as many digits of a second as there are.
pub fn show_timestamp(moment: Moment) -> String {
    if moment.offset.is_zero() {
        return moment.at.to_string();
    }
    let local = TimeZone::fixed(moment.offset).to_datetime(moment.at);
    let seconds = moment.offset.seconds();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("{local}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// Reads a span as Go's `time.ParseDuration` does.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let mut end = whole;
        let mut fraction = "";
        if rest[whole..].starts_with('.') {
            let after = &rest[whole + 1..];
            let length = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            fraction = &after[..length];
            end = whole + 1 + length;
        }
        if whole == 0 && fraction.is_empty() {
            return None;
        }
        let unit_end =
            rest[end..].find(|c: char| c == '.' || c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        let unit: i128 = match &rest[end..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let number: i128 = if whole == 0 { 0 } else { rest[..whole].parse().ok()? };
        total = total.checked_add(number.checked_mul(unit)?)?;
        let mut scale = unit;
        for digit in fraction.bytes() {
            scale /= 10;
            total = total.checked_add(i128::from(digit - b'0') * scale)?;
        }
        rest = &rest[unit_end..];
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Reads a span as the format `duration` allows it: Go's, or a number and a word such as `3 days`.
pub fn parse_lenient_duration(text: &str) -> Option<i64> {
    if let Some(nanos) = parse_duration(text) {
        return Some(nanos);
    }
    let text = text.trim().to_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = text[..end].parse().ok()?;
    let hour = 3600 * SECOND;
    let unit = match text[end..].trim() {
        "nanos" | "nanosecond" | "nanoseconds" => 1,
        "micros" | "microsecond" | "microseconds" => 1_000,
        "millis" | "millisecond" | "milliseconds" => 1_000_000,
        "sec" | "secs" | "second" | "seconds" => SECOND,
        "min" | "mins" | "minute" | "minutes" => 60 * SECOND,
        "hr" | "hour" | "hours" => hour,
        "d" | "day" | "days" => 24 * hour,
        "w" | "wk" | "wks" | "week" | "weeks" => 7 * 24 * hour,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A span in seconds, as `string(duration)` gives it: `1.5s`.
#[expect(clippy::cast_precision_loss, reason = "as Go's Duration.Seconds")]
pub fn show_duration(nanos: i64) -> String {
    let seconds = (nanos / SECOND) as f64 + (nanos % SECOND) as f64 / 1e9;
    format!("{seconds}s")
}
