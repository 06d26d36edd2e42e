use super::*;
use k8s_openapi::api::core::v1::{PodCondition, PodSpec, PodStatus};
use serde_json::json;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn set(replicas: i32) -> Arc<ReplicaSet> {
    let set = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "set", "generation": 2},
        "spec": {
            "replicas": replicas, "minReadySeconds": 10,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": {"containers": []}},
        },
    });
    Arc::new(serde_json::from_value(set).unwrap())
}

/// Letters: `u` not scheduled, `p` pending, `r` running, `R` ready for 5 s, `A` available, `t` terminating, `f` failed,
/// `o` an orphan that matches. In upper case on node `a`, else on `b`.
fn pods(states: &str) -> Vec<Arc<Pod>> {
    states.chars().enumerate().map(|(index, state)| Arc::new(pod(index, state))).collect()
}

fn pod(index: usize, state: char) -> Pod {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": format!("{state}{index}"), "namespace": "default", "uid": format!("{index}"),
            "labels": {"app": "web"},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true}
            ],
        },
    }))
    .unwrap();
    let ready = |seconds| PodCondition {
        type_: "Ready".into(),
        status: "True".into(),
        last_transition_time: Some(Time(now() - jiff::SignedDuration::from_secs(seconds))),
        ..Default::default()
    };
    let (phase, conditions) = match state {
        'u' | 'p' => ("Pending", vec![]),
        'f' => ("Failed", vec![]),
        'R' => ("Running", vec![ready(5)]),
        'A' => ("Running", vec![ready(60)]),
        _ => ("Running", vec![]),
    };
    if state == 't' {
        pod.metadata.deletion_timestamp = Some(Time(now()));
    }
    if state == 'o' {
        pod.metadata.owner_references = None;
    }
    let node = if state.is_uppercase() { "a" } else { "b" };
    pod.spec = Some(PodSpec { node_name: (state != 'u').then(|| node.to_owned()), ..Default::default() });
    pod.status =
        Some(PodStatus { phase: Some(phase.into()), conditions: Some(conditions), ..Default::default() });
    pod
}

#[test]
fn missing_pods_are_created_and_surplus_ones_deleted() {
    let table: [(i32, &str, usize, &[&str]); 10] = [
        (3, "", 3, &[]),
        (3, "pp", 1, &[]),
        (3, "AAA", 0, &[]),
        (3, "AAt", 1, &[]),
        (3, "AAf", 1, &[]),
        (3, "AAo", 0, &[]),
        (2, "AAo", 0, &["o2"]),
        (1, "ApuR", 0, &["u2", "p1", "R3"]),
        (0, "Ar", 0, &["r1", "A0"]),
        (600, "", 500, &[]),
    ];
    for (replicas, states, create, delete) in table {
        let world = World { set: set(replicas), pods: pods(states), siblings: vec![set(replicas)] };
        let plan = decide(&world, now());
        let deleted: Vec<_> = plan.delete.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
        assert_eq!(
            (plan.create, deleted.as_slice()),
            (create, delete.map_str().as_slice()),
            "{replicas} {states}"
        );
    }
}

trait MapStr {
    fn map_str(&self) -> Vec<String>;
}

impl MapStr for &[&str] {
    fn map_str(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn status_counts_what_runs() {
    let (status, again) = status(&set(4), &pods("pRAt"), None, now());
    assert_eq!(status.replicas, 3);
    assert_eq!(status.ready_replicas, Some(2));
    assert_eq!(status.available_replicas, Some(1));
    assert_eq!(status.terminating_replicas, Some(1));
    assert_eq!(status.fully_labeled_replicas, None);
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(again, Some(Duration::from_secs(5)));
}

#[test]
fn a_set_being_deleted_leaves_its_pods_to_the_garbage_collector() {
    let mut leaving = ReplicaSet::clone(&set(3));
    leaving.metadata.deletion_timestamp = Some(Time(now()));
    let world = World { set: Arc::new(leaving), pods: pods("A"), siblings: vec![] };
    let plan = decide(&world, now());
    assert_eq!((plan.create, plan.delete.len()), (0, 0));
}
