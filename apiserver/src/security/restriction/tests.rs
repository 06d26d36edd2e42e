use serde_json::json;

use super::*;
use crate::security::NODES;

/// Resource, subresource, before, after, whether it passes.
type Case = (&'static str, &'static str, Option<Value>, Option<Value>, bool);

fn node_user() -> User {
    User::new("system:node:n", &[NODES])
}

fn pod(node: &str) -> Value {
    json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": node,
        "volumes": [{"projected": {"sources": [{"serviceAccountToken": {"audience": ""}}]}}]}})
}

fn node(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}})
}

#[test]
fn a_node_writes_its_own_objects_only() {
    let lease = |name: &str, namespace: &str| json!({"metadata": {"name": name, "namespace": namespace}});
    let mut tainted = node("n", json!({}));
    tainted["spec"] = json!({"taints": [{"key": "k"}]});
    let mut relabelled = pod("n");
    relabelled["metadata"]["labels"] = json!({"a": "b"});
    let mirror = json!({"metadata": {"name": "m", "annotations": {MIRROR: "x"}, "ownerReferences": [
        {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]}, "spec": {"nodeName": "n"}});
    let mut greedy = mirror.clone();
    greedy["spec"]["volumes"] = json!([{"secret": {"secretName": "s"}}]);
    let table: Vec<Case> = vec![
        ("nodes", "", None, Some(node("n", json!({"kubernetes.io/hostname": "n", "x": "y"}))), true),
        ("nodes", "", None, Some(node("n", json!({"node-restriction.kubernetes.io/a": "b"}))), false),
        ("nodes", "", None, Some(node("n", json!({"node-role.kubernetes.io/master": ""}))), false),
        ("nodes", "", None, Some(node("n", json!({"a.node.kubernetes.io/x": ""}))), true),
        ("nodes", "", None, Some(tainted.clone()), true),
        ("nodes", "", None, Some(node("m", json!({}))), false),
        ("nodes", "", Some(node("n", json!({}))), Some(tainted), false),
        ("nodes", "status", Some(node("n", json!({}))), Some(node("n", json!({}))), true),
        ("nodes", "", Some(node("n", json!({"k8s.io/a": ""}))), Some(node("n", json!({}))), false),
        ("pods", "", None, Some(pod("n")), false),
        ("pods", "", None, Some(mirror), true),
        ("pods", "", None, Some(greedy), false),
        ("pods", "", Some(pod("n")), None, true),
        ("pods", "", Some(pod("m")), None, false),
        ("pods", "", Some(pod("n")), Some(pod("n")), false),
        ("pods", "status", Some(pod("n")), Some(pod("n")), true),
        ("pods", "status", Some(pod("m")), Some(pod("m")), false),
        ("pods", "status", Some(pod("n")), Some(relabelled), false),
        ("pods", "ephemeralcontainers", Some(pod("n")), Some(pod("n")), false),
        ("leases", "", None, Some(lease("n", "kube-node-lease")), true),
        ("leases", "", None, Some(lease("m", "kube-node-lease")), false),
        ("leases", "", None, Some(lease("n", "kube-system")), false),
        ("events", "", None, Some(json!({"metadata": {"name": "e"}})), true),
    ];
    for (resource, subresource, old, new, expected) in table {
        let verb = match (&old, &new) {
            (None, _) => "create",
            (_, None) => "delete",
            _ => "update",
        };
        let judged = |user: &User| {
            node_restriction(user, verb, resource, subresource, new.as_ref(), old.as_ref(), Some("u"))
        };
        assert_eq!(judged(&node_user()).is_ok(), expected, "{verb} {resource}/{subresource} {old:?} {new:?}");
        assert!(judged(&User::new("system:node:n", &[])).is_ok(), "others are not restricted");
        assert!(judged(&User::new("x", &[NODES])).is_err(), "a node must be known by its name");
    }
}

#[test]
fn tokens_are_for_pods_of_the_node_only() {
    let request = |uid: &str, audiences: Value| {
        json!({"spec": {"audiences": audiences,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}}})
    };
    let (mine, other) = (pod("n"), pod("m"));
    let table = [
        (request("u", json!([])), Some(&mine), true),
        (request("u", json!(["vault"])), Some(&mine), false),
        (request("old", json!([])), Some(&mine), false),
        (request("", json!([])), Some(&mine), false),
        (request("u", json!([])), Some(&other), false),
        (request("u", json!([])), None, false),
        (json!({"spec": {}}), None, false),
    ];
    for (request, pod, expected) in table {
        assert_eq!(may_request_token(&node_user(), &request, pod).is_ok(), expected, "{request}");
    }
    assert!(may_evict(&node_user(), &mine).is_ok());
    assert!(may_evict(&node_user(), &other).is_err());
}
