//! What goes with a namespace and with an owner, as an unmodified kubectl sees it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use skiff_tests::{Cluster, eventually};

fn gone(cluster: &Cluster, object: &[&str]) {
    eventually(&format!("{object:?} to be gone"), 20, || {
        match cluster.try_ctl(&[&["get"], object].concat()) {
            Ok(there) => Err(there),
            Err(said) if said.contains("not found") => Ok(()),
            Err(said) => Err(said),
        }
    });
}

fn map(name: &str, owners: &[&Value]) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|owner| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true,
            })
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}})
}

/// Makes a ConfigMap that belongs to others.
fn make(cluster: &Cluster, name: &str, owners: &[&Value]) -> Value {
    cluster.apply(&map(name, owners));
    cluster.get(&["configmap", name])
}

fn finalizers(cluster: &Cluster, object: &[&str], finalizers: &Value) {
    let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
    cluster.kubectl(&[&["patch"], object, &["--type=merge", "-p", &patch]].concat());
}

#[test]
fn a_namespace_goes_with_all_in_it_once_nothing_holds_it() {
    let cluster = Cluster::simulated(&[]);
    for namespace in ["shop", "other"] {
        cluster.kubectl(&["create", "namespace", namespace]);
        let with = |words: &[&str]| cluster.kubectl(&[&["-n", namespace], words].concat());
        with(&["create", "deployment", "till", "--image=nginx", "--replicas=2"]);
        with(&["expose", "deployment", "till", "--port=80"]);
        with(&["create", "configmap", "prices", "--from-literal=a=b"]);
        with(&["create", "secret", "generic", "key", "--from-literal=a=b"]);
        with(&["create", "serviceaccount", "clerk"]);
        with(&["create", "role", "reader", "--verb=get", "--resource=pods"]);
        with(&["create", "rolebinding", "reader", "--role=reader", "--serviceaccount=shop:clerk"]);
    }
    cluster.kubectl(&["-n", "shop", "rollout", "status", "deployment/till", "--timeout=30s"]);
    let everything = "deployments,replicasets,pods,services,endpoints,endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings";
    let held = |namespace: &str| cluster.kubectl(&["-n", namespace, "get", everything, "-o", "name"]);
    // Deployment, ReplicaSet, two pods, Service, Endpoints, EndpointSlice, Secret, Role, RoleBinding, two ConfigMaps, two
    // ServiceAccounts.
    let whole = |namespace: &str| {
        eventually(&format!("all of {namespace}"), 30, || {
            let held = held(namespace);
            if held.lines().count() == 14 { Ok(()) } else { Err(held) }
        });
    };
    whole("shop");
    whole("other");

    // One object is held by somebody else.
    finalizers(&cluster, &["-n", "shop", "configmap", "prices"], &json!(["example.com/hold"]));
    cluster.kubectl(&["delete", "namespace", "shop", "--wait=false"]);
    eventually("all but the one that is held to go", 30, || {
        let left = held("shop");
        if left.trim() == "configmap/prices" { Ok(()) } else { Err(left) }
    });
    let said =
        cluster.try_ctl(&["-n", "shop", "create", "configmap", "late", "--from-literal=a=b"]).unwrap_err();
    assert!(said.contains("because it is being terminated"), "{said}");
    let condition =
        "jsonpath={.status.phase} {.status.conditions[?(@.type==\"NamespaceFinalizersRemaining\")].message}";
    eventually("the namespace to say what holds it", 20, || {
        let said = cluster.ctl(&["get", "namespace", "shop", "-o", condition]);
        if said.starts_with("Terminating ") && said.contains("example.com/hold") { Ok(()) } else { Err(said) }
    });
    finalizers(&cluster, &["-n", "shop", "configmap", "prices"], &Value::Null);
    gone(&cluster, &["namespace", "shop"]);
    assert_eq!(held("other").lines().count(), 14, "another namespace keeps what it has: {}", held("other"));
}

#[test]
fn what_is_owned_goes_with_its_owner_in_the_way_that_was_asked() {
    let cluster = Cluster::simulated(&[]);

    // In the background: the owner at once, then all below it.
    let owner = make(&cluster, "a", &[]);
    let below = make(&cluster, "a-1", &[&owner]);
    make(&cluster, "a-1-1", &[&below]);
    let stays = make(&cluster, "b", &[]);
    make(&cluster, "shared", &[&owner, &stays]);
    cluster.kubectl(&["delete", "configmap", "a"]);
    for name in ["a", "a-1", "a-1-1"] {
        gone(&cluster, &["configmap", name]);
    }
    eventually("what another owns too to be left to that one", 20, || {
        let shared = cluster.get(&["configmap", "shared"]);
        let owners = &shared["metadata"]["ownerReferences"];
        if owners.as_array().is_some_and(|owners| owners.len() == 1 && owners[0]["name"] == "b") {
            Ok(())
        } else {
            Err(owners.to_string())
        }
    });

    // In the foreground: the owner waits for what blocks it.
    let owner = make(&cluster, "c", &[]);
    make(&cluster, "c-1", &[&owner]);
    finalizers(&cluster, &["configmap", "c-1"], &json!(["example.com/hold"]));
    cluster.kubectl(&["delete", "configmap", "c", "--cascade=foreground", "--wait=false"]);
    eventually("the dependent to be marked", 20, || {
        let below = cluster.get(&["configmap", "c-1"]);
        if below["metadata"]["deletionTimestamp"].is_string() { Ok(()) } else { Err(below.to_string()) }
    });
    let waiting = cluster.get(&["configmap", "c"]);
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    finalizers(&cluster, &["configmap", "c-1"], &Value::Null);
    gone(&cluster, &["configmap", "c-1"]);
    gone(&cluster, &["configmap", "c"]);

    // In a circle, nobody waits for ever.
    let first = make(&cluster, "d-1", &[]);
    let second = make(&cluster, "d-2", &[&first]);
    let third = make(&cluster, "d-3", &[&second]);
    cluster.apply(&map("d-1", &[&third]));
    cluster.kubectl(&["delete", "configmap", "d-1", "--cascade=foreground", "--wait=false"]);
    for name in ["d-1", "d-2", "d-3"] {
        gone(&cluster, &["configmap", name]);
    }

    // Orphaned: it stays and belongs to nobody; a Deployment's pods run on.
    cluster.kubectl(&["create", "deployment", "web", "--image=nginx", "--replicas=2"]);
    let pods = cluster.ready_pods("app=web", 2, 30);
    cluster.kubectl(&["delete", "deployment", "web", "--cascade=orphan"]);
    gone(&cluster, &["deployment", "web"]);
    let sets = cluster.get(&["replicasets", "-l", "app=web"]);
    assert_eq!(sets["items"].as_array().map(Vec::len), Some(1));
    assert!(sets["items"][0]["metadata"]["ownerReferences"].is_null(), "{sets}");
    assert_eq!(cluster.ready_pods("app=web", 2, 30), pods);

    // An owner that does not exist has gone.
    let nobody = json!({"metadata": {"name": "nobody", "uid": "00000000-0000-0000-0000-000000000000"}});
    cluster.apply(&map("stray", &[&nobody]));
    gone(&cluster, &["configmap", "stray"]);
}
