//! Built-in kinds through the tracker.

use serde_json::{Value, json};

use crate::builtin::registry;
use crate::kind::Kind;
use crate::ownership::{self, Tracker};
use crate::status::Status;
use crate::walk;

pub const NOW: &str = "2026-05-01T10:00:00Z";

pub fn kind(group: &str, plural: &str) -> std::sync::Arc<Kind> {
    registry().resource(group, "v1", plural).unwrap().clone()
}

pub fn track<T>(kind: &Kind, act: impl FnOnce(&Tracker<'_>) -> T) -> T {
    let reset = ownership::reset(kind, "v1", "");
    let api_version = kind.api_version("v1");
    act(&Tracker {
        versions: kind,
        api_version: &api_version,
        kind: &kind.kind,
        subresource: "",
        reset: &reset,
        now: NOW,
    })
}

fn complete(kind: &Kind, object: &mut Value) {
    let schema = &kind.stored().schema;
    walk::default(schema, object);
    walk::normalise(schema, object);
}

fn nothing(kind: &Kind) -> Value {
    ownership::empty(&kind.stored().schema, &kind.api_version("v1"), &kind.kind)
}

fn create(kind: &Kind, mut object: Value, manager: &str) -> Value {
    complete(kind, &mut object);
    track(kind, |tracker| tracker.update(&nothing(kind), &mut object, manager, false));
    object["metadata"]["uid"] = "u".into();
    object
}

fn apply(kind: &Kind, live: &Value, applied: &Value, manager: &str, force: bool) -> Result<Value, Status> {
    let mut object = track(kind, |tracker| tracker.apply(live, applied, manager, force))?;
    complete(kind, &mut object);
    object["metadata"]["uid"] = "u".into();
    Ok(object)
}

fn web(replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "d"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "c", "image": "nginx:1", "ports": [{"containerPort": 80}]}]}}}})
}

#[test]
fn an_applied_deployment_is_owned_in_what_was_applied_and_no_more() {
    let deployments = kind("apps", "deployments");
    let live = apply(&deployments, &nothing(&deployments), &web(3), "me", false).unwrap();
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    let expected = json!({"apiVersion": "apps/v1", "manager": "me", "operation": "Apply", "time": NOW,
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:selector": {},
            "f:template": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {
                "k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:ports": {
                    "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}}});
    assert_eq!(entries[0], expected);
    let again = apply(&deployments, &live, &web(3), "me", false).unwrap();
    assert_eq!(again, live);
}

#[test]
fn what_another_manager_owns_is_a_conflict_until_it_is_forced() {
    let deployments = kind("apps", "deployments");
    let live = apply(&deployments, &nothing(&deployments), &web(3), "me", false).unwrap();
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = 5.into();
    track(&deployments, |tracker| tracker.update(&live, &mut scaled, "x", false));
    let status = apply(&deployments, &scaled, &web(3), "me", false).unwrap_err();
    assert_eq!((status.code, status.reason), (409, "Conflict"));
    let text = r#"Apply failed with 1 conflict: conflict with "x" using apps/v1: .spec.replicas"#;
    assert_eq!(status.message, text);
    let cause = &status.details.unwrap().causes[0];
    assert_eq!((cause.reason, cause.field.as_str()), ("FieldManagerConflict", ".spec.replicas"));
    assert_eq!(cause.message, r#"conflict with "x" using apps/v1"#);
    let forced = apply(&deployments, &scaled, &web(3), "me", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 3);
    assert_eq!(forced["metadata"]["managedFields"].as_array().unwrap().len(), 1);
}

#[test]
fn a_created_pod_is_owned_as_upstream_owns_it() {
    let pods = kind("", "pods");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}], "nodeSelector": {"x": "y"}}});
    let pod = create(&pods, pod, "kubectl-run");
    let fields = &pod["metadata"]["managedFields"][0]["fieldsV1"];
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:imagePullPolicy": {},
                "f:name": {}, "f:resources": {}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}},
            "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:nodeSelector": {}, "f:restartPolicy": {},
            "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {}}});
    assert_eq!(fields, &expected);
}
