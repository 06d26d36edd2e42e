//! The tables that people see: columns of a version, cells of an object. Matched to upstream's
//! `pkg/printers`.

mod cells;
mod event;
mod network;
mod node;
mod pod;

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Object;
use crate::kind::{Kind, Version};
use crate::{duration, meta};

/// The `columnDefinitions` of a table.
pub fn columns(version: &Version) -> Vec<Value> {
    let column = |column: &crate::kind::Column| {
        json!({
            "name": column.name, "type": column.r#type, "format": column.format,
            "description": column.description, "priority": column.priority,
        })
    };
    version.columns.iter().map(column).collect()
}

/// The cells of one object's row.
pub fn row(kind: &Kind, version: &Version, object: &Object, now: Timestamp) -> Vec<Value> {
    // Cells are told from what is stored, whatever its fields are called where it is shown.
    let mut stored = Cow::Borrowed(object);
    if let Some(presents) = &kind.presents {
        presents.store(stored.to_mut());
    }
    let object = &*stored;
    version
        .columns
        .iter()
        .map(|column| match column.source.strip_prefix('=') {
            Some(computed) => {
                let (name, argument) = computed.split_once(':').unwrap_or((computed, ""));
                cell(name, argument, object, now)
            }
            None => match (at(object, &column.source), column.r#type.as_str()) {
                (Some(value), "date") => duration::since(value.as_str(), now).into(),
                (Some(value), "string") => cells::text(value).into(),
                (Some(value), _) => value.clone(),
                (None, "string") => "".into(),
                (None, _) => Value::Null,
            },
        })
        .collect()
}

fn cell(name: &str, argument: &str, object: &Object, now: Timestamp) -> Value {
    match name {
        "age" => duration::since(meta::creation_timestamp(object), now).into(),
        "created" => meta::creation_timestamp(object).unwrap_or_default().into(),
        "since" => match at(object, argument) {
            Some(time) => duration::since(time.as_str(), now).into(),
            None => "<none>".into(),
        },
        "pod-ready" => pod::ready(object).into(),
        "pod-status" => pod::status(object).into(),
        "pod-restarts" => pod::restarts(object, now).into(),
        "pod-gates" => pod::gates(object).into(),
        "node-status" => node::status(object).into(),
        "node-roles" => node::roles(object).into(),
        "node-ip" => node::address(object, argument).into(),
        "service-external" => network::external(object).into(),
        "service-ports" => network::ports(object).into(),
        "endpoints" => network::endpoints(object).into(),
        "slice-ports" => network::slice_ports(object).into(),
        "slice-endpoints" => network::slice_endpoints(object).into(),
        "event-seen" => event::last_seen(object, now).into(),
        "event-first" => event::first_seen(object, now).into(),
        "event-object" => event::about(object).into(),
        "event-source" => event::source(object).into(),
        "event-count" => event::count(object).into(),
        _ => cells::cell(name, argument, object),
    }
}

/// The value at a path such as `.spec.replicas`.
pub(crate) fn at<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    let mut value = object;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        value = value.get(part)?;
    }
    Some(value).filter(|value| !value.is_null())
}
