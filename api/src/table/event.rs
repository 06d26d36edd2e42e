//! The cells of an event.

use jiff::Timestamp;

use super::cells::text;
use crate::{Object, duration};

/// When it was seen last: the series counts before the plain times.
pub fn last_seen(event: &Object, now: Timestamp) -> String {
    let times = [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]];
    let last = times.iter().find_map(|time| time.as_str());
    match last {
        Some(_) => duration::since(last, now),
        None => first_seen(event, now),
    }
}

/// When it was seen first.
pub fn first_seen(event: &Object, now: Timestamp) -> String {
    let times = [&event["firstTimestamp"], &event["eventTime"]];
    duration::since(times.iter().find_map(|time| time.as_str()), now)
}

/// `pod/name`.
pub fn about(event: &Object) -> String {
    let object = &event["involvedObject"];
    format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["name"]))
}

/// `component, host`.
pub fn source(event: &Object) -> String {
    let part = |key: &str, fallback: &str| match text(&event["source"][key]) {
        empty if empty.is_empty() => text(&event[fallback]),
        given => given,
    };
    let (component, host) = (part("component", "reportingComponent"), part("host", "reportingInstance"));
    if host.is_empty() { component } else { format!("{component}, {host}") }
}

/// How often it happened.
pub fn count(event: &Object) -> i64 {
    let counts = [&event["series"]["count"], &event["count"]];
    counts.iter().find_map(|count| count.as_i64()).filter(|count| *count > 0).unwrap_or(1)
}
