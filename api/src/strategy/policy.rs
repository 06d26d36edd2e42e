//! Kinds of a few rules that depend on each other.

use serde_json::Value;

use super::{Strategy, list, pod_spec, text, workload};
use crate::status::{FieldError, Problem};
use crate::{Object, meta};

/// The strategy of disruption budgets.
pub struct Budget;

impl Strategy for Budget {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
            let why = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid("spec", spec.clone(), why));
        }
        pod_spec::label_selector(&spec["selector"], "spec.selector", &mut errors);
        errors
    }
}

/// The strategy of horizontal pod autoscalers.
pub struct Autoscaler;

impl Strategy for Autoscaler {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let (least, most) = (&new["spec"]["minReplicas"], &new["spec"]["maxReplicas"]);
        let short = most.as_i64().zip(least.as_i64()).is_some_and(|(most, least)| most < least);
        let why = "must be greater than or equal to `minReplicas`";
        let mut errors = Vec::new();
        if short {
            errors.push(FieldError::invalid("spec.maxReplicas", most.clone(), why));
        }
        // What was let in before stays.
        let version = |object: &Object| text(&object["spec"]["scaleTargetRef"], "apiVersion").to_owned();
        let given = version(new);
        let core = text(&new["spec"]["scaleTargetRef"], "kind") == "ReplicationController";
        if !given.contains('/') && !core && old.is_none_or(|old| version(old) != given) {
            let why = "apiVersion must specify API group";
            errors.push(FieldError::invalid("spec.scaleTargetRef.apiVersion", given, why));
        }
        errors
    }
}

/// The strategy of network policies.
pub struct Network;

impl Strategy for Network {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        pod_spec::label_selector(&spec["podSelector"], "spec.podSelector", &mut errors);
        if list(spec, "policyTypes").len() > 2 {
            let why = "may not specify more than two policyTypes";
            errors.push(FieldError::invalid("spec.policyTypes", spec["policyTypes"].clone(), why));
        }
        for (side, peers) in [("ingress", "from"), ("egress", "to")] {
            for (r, rule) in list(spec, side).iter().enumerate() {
                for (p, peer) in list(rule, peers).iter().enumerate() {
                    peer_errors(peer, &format!("spec.{side}[{r}].{peers}[{p}]"), &mut errors);
                }
                for (p, port) in list(rule, "ports").iter().enumerate() {
                    end_port(port, &format!("spec.{side}[{r}].ports[{p}].endPort"), &mut errors);
                }
            }
        }
        errors
    }
}

fn peer_errors(peer: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let selects = peer["podSelector"].is_object() || peer["namespaceSelector"].is_object();
    match (selects, peer["ipBlock"].is_object()) {
        (false, false) => errors.push(FieldError::required(at, "must specify a peer")),
        (true, true) => {
            errors.push(FieldError::forbidden(at, "may not specify both ipBlock and another peer"));
        }
        _ => {}
    }
    for field in ["podSelector", "namespaceSelector"] {
        pod_spec::label_selector(&peer[field], &format!("{at}.{field}"), errors);
    }
}

fn end_port(port: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let Some(end) = port["endPort"].as_i64() else { return };
    let (bad, why) = match &port["port"] {
        Value::Null => (end, "may not be specified when `port` is not specified"),
        Value::String(_) => (end, "may not be specified when `port` is non-numeric"),
        start if start.as_i64().is_some_and(|start| end < start) => {
            (start.as_i64().unwrap_or(0), "must be greater than or equal to `port`")
        }
        _ => return,
    };
    errors.push(FieldError::invalid(at, bad, why));
}

/// The strategy of priority classes.
pub struct Priority;

/// The greatest priority that is not the system's.
const HIGHEST: i64 = 1_000_000_000;

impl Strategy for Priority {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let (name, value) = (meta::name(new), new["value"].as_i64().unwrap_or(0));
        let mut errors = Vec::new();
        let system = matches!(name, "system-node-critical" | "system-cluster-critical");
        if name.starts_with("system-") && !system {
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known system priority class"
            );
            errors.push(FieldError::forbidden("metadata.name", why));
        } else if value > HIGHEST && !system {
            let why = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.push(FieldError::forbidden("value", why));
        }
        if let Some(old) = old {
            if old["value"] != new["value"] {
                errors.push(FieldError::forbidden("value", "may not be changed in an update."));
            }
            if old["preemptionPolicy"] != new["preemptionPolicy"] {
                let shown = new["preemptionPolicy"].clone();
                errors.push(FieldError::new(Problem::Invalid, "preemptionPolicy", shown, super::IMMUTABLE));
            }
        }
        errors
    }
}

/// The strategy of priority levels.
pub struct Level;

/// The most queues of a level.
const QUEUES: i64 = 10_000_000;

impl Strategy for Level {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        if (meta::name(new) == "exempt") != (text(spec, "type") == "Exempt") {
            let why = "must be 'Exempt' if and only if `name` is 'exempt'";
            errors.push(FieldError::invalid("spec.type", text(spec, "type"), why));
        }
        match (text(spec, "type"), spec["limited"].is_object(), spec["exempt"].is_object()) {
            ("Exempt", true, _) => {
                errors.push(FieldError::forbidden("spec.limited", "must be nil if the type is not Limited"));
            }
            ("Limited", limited, exempt) => {
                if exempt {
                    errors.push(FieldError::forbidden("spec.exempt", "must be nil if the type is Limited"));
                }
                if limited {
                    response(&spec["limited"]["limitResponse"], &mut errors);
                } else {
                    let why = "must not be empty when type is Limited";
                    errors.push(FieldError::required("spec.limited", why));
                }
            }
            _ => {}
        }
        errors
    }
}

fn response(response: &Value, errors: &mut Vec<FieldError>) {
    let (at, queuing) = ("spec.limited.limitResponse.queuing", &response["queuing"]);
    match (text(response, "type"), queuing.is_object()) {
        ("Reject", true) => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(at, why));
        }
        ("Queue", false) => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(at, why));
        }
        ("Queue", true) => {
            let number = |field: &str| queuing[field].as_i64().unwrap_or(0);
            for field in ["queueLengthLimit", "queues", "handSize"] {
                if number(field) <= 0 {
                    errors.push(FieldError::invalid(
                        format!("{at}.{field}"),
                        number(field),
                        "must be positive",
                    ));
                }
            }
            if number("queues") > QUEUES {
                let why = format!("must not be greater than {QUEUES}");
                errors.push(FieldError::invalid(format!("{at}.queues"), number("queues"), why));
            }
            if number("handSize") > 0 && number("handSize") > number("queues") {
                let why = format!("should not be greater than queues ({})", number("queues"));
                errors.push(FieldError::invalid(format!("{at}.handSize"), number("handSize"), why));
            }
        }
        _ => {}
    }
}

/// The strategy of pod templates.
pub struct Template;

impl Strategy for Template {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        workload::template(&new["template"], "template")
    }
}
