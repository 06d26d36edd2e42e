use super::*;
use crate::security::{NODES, User};
use serde_json::json;

fn pod(name: &str, node: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name}, "spec": {
    "nodeName": node, "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
    "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "init"}}}]}],
    "containers": [{"envFrom": [{"configMapRef": {"name": "env"}}]}],
    "volumes": [
        {"name": "a", "secret": {"secretName": "mounted"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "projected"}}]}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "d", "ephemeral": {}},
    ]}})
}

fn ask<'a>(user: &'a User, verb: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (group, namespace) = match resource {
        "leases" => ("coordination.k8s.io", "kube-node-lease"),
        "csinodes" => ("storage.k8s.io", ""),
        "endpointslices" => ("discovery.k8s.io", "ns"),
        "nodes" | "persistentvolumes" => ("", ""),
        _ => ("", "ns"),
    };
    Attributes {
        user,
        verb,
        group,
        resource,
        subresource,
        namespace,
        name,
        resource_request: true,
        ..Attributes::default()
    }
}

#[test]
fn a_node_reaches_what_its_pods_refer_to_and_nothing_else() {
    let mut graph = NodeGraph::default();
    graph.pod(None, Some(&pod("p", "mine")));
    graph.volume(
        None,
        Some(&json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "ns", "name": "claim"},
            "csi": {"nodeStageSecretRef": {"name": "stage", "namespace": "ns"}}}})),
    );
    let (mine, other) = (User::new("system:node:mine", &[NODES]), User::new("system:node:other", &[NODES]));
    let outsider = User::new("system:node:mine", &[]);
    let related = [
        ("get", "secrets", "pull"),
        ("watch", "secrets", "init"),
        ("list", "secrets", "mounted"),
        ("get", "secrets", "stage"),
        ("get", "configmaps", "env"),
        ("get", "configmaps", "projected"),
        ("get", "persistentvolumeclaims", "claim"),
        ("get", "persistentvolumeclaims", "p-d"),
        ("patch", "persistentvolumeclaims/status", "claim"),
        ("get", "persistentvolumes", "pv"),
        ("get", "serviceaccounts", "sa"),
        ("create", "serviceaccounts/token", "sa"),
        ("get", "pods", "p"),
        ("watch", "pods", "p"),
        ("get", "nodes", "mine"),
        ("update", "leases", "mine"),
        ("get", "csinodes", "mine"),
    ];
    for (verb, resource, name) in related {
        assert!(graph.authorize(&ask(&mine, verb, resource, name)).is_allowed(), "{verb} {resource} {name}");
        assert!(
            !graph.authorize(&ask(&other, verb, resource, name)).is_allowed(),
            "other: {verb} {resource}"
        );
        assert!(!graph.authorize(&ask(&outsider, verb, resource, name)).is_allowed());
    }
    let never = [
        ("get", "secrets", "unrelated"),
        ("list", "secrets", ""),
        ("update", "secrets", "pull"),
        ("delete", "configmaps", "env"),
        ("list", "pods", ""),
        ("update", "pods", "p"),
        ("list", "nodes", ""),
        ("get", "nodes", "other"),
        ("delete", "nodes", "mine"),
        ("get", "leases", "other"),
        ("list", "leases", ""),
        ("create", "serviceaccounts", ""),
        ("create", "serviceaccounts/token", "other"),
    ];
    for (verb, resource, name) in never {
        assert!(!graph.authorize(&ask(&mine, verb, resource, name)).is_allowed(), "{verb} {resource} {name}");
    }
    let always = [
        ("list", "services", ""),
        ("create", "nodes", ""),
        ("patch", "nodes/status", "mine"),
        ("create", "leases", ""),
        ("patch", "pods/status", "p"),
        ("create", "events", ""),
    ];
    for (verb, resource, name) in always {
        assert!(graph.authorize(&ask(&other, verb, resource, name)).is_allowed(), "{verb} {resource} {name}");
    }
}

#[test]
fn pods_are_listed_by_node_only() {
    let graph = NodeGraph::default();
    let mine = User::new("system:node:mine", &[NODES]);
    for (selector, expected) in [("spec.nodeName=mine", true), ("spec.nodeName=other", false), ("", false)] {
        let asked = Attributes { field_selector: selector, namespace: "", ..ask(&mine, "watch", "pods", "") };
        assert_eq!(graph.authorize(&asked).is_allowed(), expected, "{selector}");
    }
}

#[test]
fn rights_come_and_go_with_pods() {
    let mut graph = NodeGraph::default();
    let mine = User::new("system:node:mine", &[NODES]);
    let may = |graph: &NodeGraph| graph.authorize(&ask(&mine, "get", "secrets", "mounted")).is_allowed();
    let (unbound, first, second) = (pod("p", ""), pod("p", "mine"), pod("q", "mine"));
    graph.pod(None, Some(&unbound));
    assert!(!may(&graph));
    graph.pod(Some(&unbound), Some(&first));
    graph.pod(None, Some(&second));
    assert!(may(&graph));
    graph.pod(Some(&first), None);
    assert!(may(&graph), "the other pod still needs it");
    graph.pod(Some(&second), None);
    assert!(!may(&graph));
    assert!(graph.readers.is_empty());
}

#[test]
fn a_mirror_pod_opens_nothing() {
    let mut graph = NodeGraph::default();
    let mine = User::new("system:node:mine", &[NODES]);
    let mut mirror = pod("p", "mine");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    graph.pod(None, Some(&mirror));
    assert!(!graph.authorize(&ask(&mine, "get", "secrets", "mounted")).is_allowed());
    assert!(graph.authorize(&ask(&mine, "get", "pods", "p")).is_allowed());
}
