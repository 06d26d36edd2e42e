//! The events at the end of a page.

use serde_json::Value;

use super::{Page, Related, text};
use skiff_api::duration;

pub(super) fn describe(page: &mut Page, related: &Related) {
    if related.events.is_empty() {
        page.field(0, "Events:  ", "<none>");
        return;
    }
    page.line(0, "Events:");
    page.cells(1, ["Type", "Reason", "Age", "From", "Message"].map(str::to_owned));
    page.cells(1, ["----", "------", "----", "----", "-------"].map(str::to_owned));
    let mut events: Vec<&Value> = related.events.iter().collect();
    events.sort_by(|left, right| last(left).cmp(&last(right)));
    for event in events {
        let from = event["source"]["component"]
            .as_str()
            .filter(|name| !name.is_empty())
            .or(event["reportingComponent"].as_str());
        let message = text(&event["message"]);
        page.cells(
            1,
            [
                text(&event["type"]),
                text(&event["reason"]),
                when(event, related),
                from.unwrap_or_default().to_owned(),
                message.trim().to_owned(),
            ],
        );
    }
}

fn last(event: &Value) -> Option<&str> {
    [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ]
    .into_iter()
    .find_map(Value::as_str)
}

fn first(event: &Value) -> Option<&str> {
    [&event["firstTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]]
        .into_iter()
        .find_map(Value::as_str)
}

/// `5s`, or `5s (x3 over 2m)`.
fn when(event: &Value, related: &Related) -> String {
    let count = event["series"]["count"].as_u64().or(event["count"].as_u64()).unwrap_or(1);
    let latest = duration::since(last(event), related.now);
    match count {
        0 | 1 => latest,
        count => format!("{latest} (x{count} over {})", duration::since(first(event), related.now)),
    }
}
