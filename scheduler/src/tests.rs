//! Whole decisions on small clusters: pods beside pods, spreading, preemption; and what holds for any cluster.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::pod::Needs;
use crate::preemption::plan;
use crate::schedule::schedule;
use crate::snapshot::{NodeInfo, Snapshot};

/// Nodes `a` and `b` in zone `z`, `c` in zone `y`; two CPUs each.
fn cluster(pods: &[(&str, Value)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, zone) in [("a", "z"), ("b", "z"), ("c", "y")] {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"zone": zone, "kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}},
        }))
        .unwrap();
        snapshot.nodes.insert(name.into(), Arc::new(NodeInfo::new(Arc::new(node))));
    }
    for (number, (node, pod)) in pods.iter().enumerate() {
        let needs = Arc::new(Needs::of(&read(pod)));
        Arc::make_mut(snapshot.nodes.get_mut(*node).unwrap()).add(&format!("uid-{number}"), needs);
    }
    snapshot
}

fn read(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).unwrap()
}

fn pod(app: &str, spec: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": app, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "c"}]},
    });
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn asks(cpu: &str, priority: i32) -> Value {
    let requests = json!({"requests": {"cpu": cpu}});
    json!({"priority": priority, "containers": [{"name": "c", "resources": requests}]})
}

/// The nodes that some seed chooses, or why none is.
fn check(pods: &[(&str, Value)], new: &Value, expected: Result<&[&str], &str>) {
    let snapshot = cluster(pods);
    let new = read(new);
    let answers = (0..12).map(|seed| schedule(&new, &Needs::of(&new), &snapshot, seed));
    let answers: Result<std::collections::BTreeSet<String>, _> = answers.collect();
    let answers: Result<Vec<String>, String> =
        answers.map(|names| names.into_iter().collect()).map_err(|error| error.to_string());
    let expected =
        expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect()).map_err(str::to_owned);
    assert_eq!(answers, expected);
}

fn beside(field: &str, app: &str, key: &str) -> Value {
    let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}});
    json!({"affinity": {field: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

#[test]
fn pods_keep_to_company_and_away_from_it() {
    let plain = || pod("web", json!({}));
    let near = pod("x", beside("podAffinity", "web", "zone"));
    check(&[("c", plain())], &near, Ok(&["c"]));
    check(&[], &near, Err("0/3 nodes are available: 3 node(s) didn't match pod affinity rules."));
    let far = pod("x", beside("podAntiAffinity", "web", "zone"));
    check(&[("a", plain())], &far, Ok(&["c"]));
    check(
        &[("a", plain()), ("c", plain())],
        &far,
        Err("0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."),
    );
    // The first of a group that wants to be together may start it.
    check(&[], &pod("web", beside("podAffinity", "web", "zone")), Ok(&["a", "b", "c"]));
    let hermit = || pod("hermit", beside("podAntiAffinity", "x", "kubernetes.io/hostname"));
    check(
        &[("a", hermit()), ("b", hermit()), ("c", hermit())],
        &pod("x", json!({})),
        Err("0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules."),
    );
}

#[test]
fn pods_are_spread_as_they_ask_and_by_default() {
    let constraint = |key: &str| {
        json!({"topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}},
        }]})
    };
    let web = |spec: Value| pod("web", spec);
    check(&[("a", web(json!({})))], &web(constraint("zone")), Ok(&["c"]));
    check(
        &[],
        &web(constraint("rack")),
        Err(
            "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required label).",
        ),
    );
    let owned = || {
        let mut pod = web(json!({}));
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]);
        pod
    };
    check(&[("a", owned()), ("b", owned())], &owned(), Ok(&["c"]));
}

/// The node cleared and the priorities of the victims, or why none is.
fn check_preemption(pods: &[(&str, Value)], new: &Value, expected: Result<(&str, &[i32]), &str>) {
    let snapshot = cluster(pods);
    let new = read(new);
    let needs = Needs::of(&new);
    let error = schedule(&new, &needs, &snapshot, 0).expect_err("the pod must not fit");
    let planned = plan(&new, &needs, &snapshot, &error);
    let planned =
        planned.map(|plan| (plan.node, plan.victims.iter().map(|(_, pod)| pod.priority).collect::<Vec<_>>()));
    assert_eq!(planned, expected.map(|(node, all)| (node.to_owned(), all.to_vec())).map_err(str::to_owned));
}

#[test]
fn the_least_important_make_room_and_no_more_than_needed() {
    let full = |a: i32, b: i32, c: i32| {
        [("a", pod("p", asks("2", a))), ("b", pod("p", asks("2", b))), ("c", pod("p", asks("2", c)))]
    };
    check_preemption(&full(5, 3, 4), &pod("n", asks("1", 10)), Ok(("b", &[3])));
    check_preemption(
        &[
            ("a", pod("p", asks("2", 20))),
            ("b", pod("p", asks("1", 2))),
            ("b", pod("p", asks("1", 1))),
            ("c", pod("p", asks("2", 20))),
        ],
        &pod("n", asks("1", 10)),
        Ok(("b", &[1])),
    );
    let none = "0/3 nodes are available: 3 No preemption victims found for incoming pod.";
    check_preemption(&full(5, 5, 5), &pod("n", asks("1", 5)), Err(none));
    let useless = "0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    check_preemption(&full(0, 0, 0), &pod("n", asks("3", 5)), Err(useless));
    let mut never = pod("n", asks("1", 10));
    never["spec"]["preemptionPolicy"] = "Never".into();
    check_preemption(&full(0, 0, 0), &never, Err("not eligible due to preemptionPolicy=Never."));
}

#[test]
fn no_node_is_ever_overfull_and_a_refused_pod_fits_nowhere() {
    for seed in 0..50 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut snapshot = cluster(&[]);
        for number in 0..40 {
            let cpu = random.random_range(1..900);
            let pod = read(&pod("p", asks(&format!("{cpu}m"), 0)));
            let needs = Arc::new(Needs::of(&pod));
            let room = |info: &NodeInfo| {
                let used = info.requested.get("cpu").copied().unwrap_or(0);
                used + i128::from(cpu) <= 2000 && info.pods.len() < 10
            };
            match schedule(&pod, &needs, &snapshot, random.random()) {
                Ok(node) => {
                    let info = snapshot.nodes.get_mut(&node).unwrap();
                    assert!(room(info), "seed {seed}: {node} was full");
                    Arc::make_mut(info).add(&format!("uid-{number}"), needs);
                }
                Err(_) => {
                    assert!(!snapshot.nodes.values().any(|info| room(info)), "seed {seed}: there was room")
                }
            }
        }
    }
}
