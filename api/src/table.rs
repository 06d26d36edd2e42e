//! The tables that people see: columns of a version, cells of an object. Matched to upstream's
//! `pkg/printers`.

mod cells;
mod event;
mod extension;
mod network;
mod node;
mod pod;
mod storage;
mod workload;

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Object;
use crate::kind::{Kind, Version};
use crate::{convert, duration, meta};

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
    if convert::differs(kind, &version.name) {
        convert::store(kind, &version.name, stored.to_mut());
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
        "api-service" => network::api_service(object).into(),
        "api-available" => network::api_available(object).into(),
        "slice-ports" => network::slice_ports(object).into(),
        "slice-endpoints" => network::slice_endpoints(object).into(),
        "event-seen" => event::last_seen(object, now).into(),
        "event-first" => event::first_seen(object, now).into(),
        "event-object" => event::about(object).into(),
        "event-source" => event::source(object).into(),
        "event-count" => event::count(object).into(),
        "ingress-hosts" => network::hosts(object).into(),
        "ingress-address" => network::balanced(object).into(),
        "ingress-ports" => {
            if cells::list(&object["spec"], "tls").is_empty() { "80" } else { "80, 443" }.into()
        }
        "ingress-parameters" => network::parameters(object).into(),
        "parent-ref" => network::parent(object).into(),
        "job-status" => workload::job_status(object).into(),
        "job-completions" => workload::job_completions(object).into(),
        "job-duration" => workload::job_duration(object, now).into(),
        "targets" => workload::targets(object).into(),
        "controller" => workload::controller(object).into(),
        "quota" => workload::quota(object, argument == "limits").into(),
        "phase" => storage::phase(object).into(),
        "class" => storage::class(object).into(),
        "claim-capacity" => storage::claim_capacity(object).into(),
        "claim-modes" => storage::claim_modes(object).into(),
        "audiences" => storage::audiences(object).into(),
        "claim-state" => storage::claim_state(object).into(),
        "csr-status" => extension::certificate(object).into(),
        "requested-duration" => extension::requested(object).into(),
        "param-kind" => extension::param_kind(object).into(),
        "param-ref" => extension::param_ref(object).into(),
        "dangling" => cells::condition(object, "Dangling").map_or("?", |found| found.0).into(),
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
