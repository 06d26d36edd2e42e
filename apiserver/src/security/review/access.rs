//! May someone do something: the four forms of SubjectAccessReview.

use serde_json::{Value, json};
use skiff_api::selector::{FieldSelector, LabelSelector};
use skiff_api::status::{FieldError, Status};

use super::Subjects;
use crate::security::{Attributes, Decision, User, items, text, texts};

/// The group of these reviews.
pub const GROUP: &str = "authorization.k8s.io";

/// The status of a review that asks about access.
pub async fn answer(
    kind: &str,
    namespace: &str,
    object: &Value,
    subjects: &Subjects<'_>,
) -> Result<Value, Status> {
    let errors = mistakes(kind, object);
    if !errors.is_empty() {
        return Err(Status::invalid(GROUP, kind, "", &errors));
    }
    if kind.starts_with("Local") && text(object, "/metadata/namespace") != namespace {
        let why = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
        return Err(Status::bad_request(why));
    }
    let named = subject(object);
    let user = if kind.starts_with("Self") { subjects.user } else { &named };
    let resource = is_there(object, "/spec/resourceAttributes");
    let part = if resource { "resource" } else { "nonResource" };
    let field = |name: &str| text(object, &format!("/spec/{part}Attributes/{name}"));
    let (fields, labels) = (field_selector(object), label_selector(object));
    let attributes = Attributes {
        user,
        verb: field("verb"),
        group: field("group"),
        version: if resource && field("version").is_empty() { "*" } else { field("version") },
        resource: field("resource"),
        subresource: field("subresource"),
        namespace: field("namespace"),
        name: field("name"),
        path: field("path"),
        resource_request: resource,
        field_selector: &fields.0,
        label_selector: &labels.0,
    };
    let decision = subjects.authorizer.decide(&attributes).await;
    let mut status = json!({"allowed": decision.is_allowed()});
    if matches!(decision, Decision::Deny(_)) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    let ignored: Vec<&str> = [fields.1, labels.1].into_iter().flatten().collect();
    if !ignored.is_empty() {
        status["evaluationError"] = ignored.join("; ").into();
    }
    Ok(status)
}

/// Whom a review names.
fn subject(object: &Value) -> User {
    let extra = object.pointer("/spec/extra").and_then(Value::as_object);
    User {
        name: text(object, "/spec/user").to_owned(),
        uid: text(object, "/spec/uid").to_owned(),
        groups: texts(object, "/spec/groups"),
        extra: extra.into_iter().flatten().map(|(key, values)| (key.clone(), texts(values, ""))).collect(),
    }
}

fn mistakes(kind: &str, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (resource, path) =
        (is_there(object, "/spec/resourceAttributes"), is_there(object, "/spec/nonResourceAttributes"));
    let bad = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
    if resource && path {
        errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            bad("/spec/nonResourceAttributes"),
            "cannot be specified in combination with resourceAttributes",
        ));
    }
    if !resource && !path {
        errors.push(FieldError::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    let anyone = !text(object, "/spec/user").is_empty() || !items(object, "/spec/groups").is_empty();
    if !kind.starts_with("Self") && !anyone {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", why));
    }
    for sort in ["field", "label"] {
        errors.extend(selector_mistakes(object, sort));
    }
    let local = kind.starts_with("Local");
    let metadata = object.get("metadata").and_then(Value::as_object);
    let ignored = |key: &str| key == "managedFields" || (local && key == "namespace");
    if metadata.is_some_and(|map| map.iter().any(|(key, value)| !ignored(key) && !is_zero(value))) {
        let why = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.push(FieldError::invalid("metadata", bad("/metadata"), why));
    }
    if local {
        let asked = text(object, "/spec/resourceAttributes/namespace");
        if resource && asked != text(object, "/metadata/namespace") {
            errors.push(FieldError::invalid(
                "spec.resourceAttributes.namespace",
                asked,
                "must match metadata.namespace",
            ));
        }
        if path {
            errors.push(FieldError::invalid(
                "spec.nonResourceAttributes",
                bad("/spec/nonResourceAttributes"),
                "disallowed on this kind of request",
            ));
        }
    }
    errors
}

/// Whether a field says nothing, as clients in Go and protobuf send it.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    }
}

fn selector_mistakes(object: &Value, sort: &str) -> Option<FieldError> {
    let pointer = format!("/spec/resourceAttributes/{sort}Selector");
    let place = format!("spec.resourceAttributes.{sort}Selector");
    if !is_there(object, &pointer) {
        return None;
    }
    let raw = text(object, &format!("{pointer}/rawSelector"));
    match (raw.is_empty(), items(object, &format!("{pointer}/requirements")).is_empty()) {
        (false, false) => Some(FieldError::invalid(
            format!("{place}.rawSelector"),
            raw,
            "may not specified at the same time as requirements",
        )),
        (true, true) => Some(FieldError::required(
            format!("{place}.requirements"),
            format!("when {place} is specified, requirements or rawSelector is required"),
        )),
        _ => None,
    }
}

/// A selector in the form that a URL carries, and whether some of it was not understood. What is left out asks for more, never for less.
type Selector = (String, Option<&'static str>);

fn field_selector(object: &Value) -> Selector {
    let raw = text(object, "/spec/resourceAttributes/fieldSelector/rawSelector");
    if !raw.is_empty() && FieldSelector::parse(raw).is_err() {
        return (String::new(), Some("spec.resourceAttributes.fieldSelector ignored due to parse error"));
    }
    let given = items(object, "/spec/resourceAttributes/fieldSelector/requirements");
    let understood: Vec<String> = given
        .iter()
        .filter_map(|one| {
            let [value] = items(one, "/values") else { return None };
            let value = value.as_str()?.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=");
            match text(one, "/operator") {
                "In" => Some(format!("{}={value}", text(one, "/key"))),
                "NotIn" => Some(format!("{}!={value}", text(one, "/key"))),
                _ => None,
            }
        })
        .collect();
    let why = match (understood.len(), given.len()) {
        (some, all) if some == all => None,
        (0, _) => Some("spec.resourceAttributes.fieldSelector ignored due to parse error"),
        _ => Some("spec.resourceAttributes.fieldSelector partially ignored due to parse error"),
    };
    (if raw.is_empty() { understood.join(",") } else { raw.to_owned() }, why)
}

fn label_selector(object: &Value) -> Selector {
    let raw = text(object, "/spec/resourceAttributes/labelSelector/rawSelector");
    if !raw.is_empty() && LabelSelector::parse(raw).is_err() {
        return (String::new(), Some("spec.resourceAttributes.labelSelector ignored due to parse error"));
    }
    let given = items(object, "/spec/resourceAttributes/labelSelector/requirements");
    let understood: Vec<String> = given
        .iter()
        .filter_map(|one| {
            let (key, values) = (text(one, "/key"), texts(one, "/values"));
            let written = match (text(one, "/operator"), values.is_empty()) {
                ("In", false) => format!("{key} in ({})", values.join(",")),
                ("NotIn", false) => format!("{key} notin ({})", values.join(",")),
                ("Exists", true) => key.to_owned(),
                ("DoesNotExist", true) => format!("!{key}"),
                _ => return None,
            };
            LabelSelector::parse(&written).is_ok().then_some(written)
        })
        .collect();
    let why = match (understood.len(), given.len()) {
        (some, all) if some == all => None,
        (0, _) => Some("spec.resourceAttributes.labelSelector ignored due to parse error"),
        _ => Some("spec.resourceAttributes.labelSelector partially ignored due to parse error"),
    };
    (if raw.is_empty() { understood.join(",") } else { raw.to_owned() }, why)
}

fn is_there(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).is_some_and(|value| !value.is_null())
}
