use super::*;
use crate::claim::claim;
use serde_json::{Value, json};

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn deployment(spec: Value) -> Arc<Deployment> {
    let mut whole = json!({
        "replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
        "template": template(2),
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let whole = json!({"metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1}, "spec": whole});
    Arc::new(serde_json::from_value(whole).unwrap())
}

fn template(version: i32) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": format!("web:{version}")}]},
    })
}

/// (version of the template, size, available, desired-replicas annotation)
type Set = (i32, i32, i32, i32);
/// (name, size)
type Sizes = &'static [(&'static str, i32)];

fn sets(sets: &[Set]) -> Vec<Arc<ReplicaSet>> {
    let set = |(version, size, available, desired): &Set| {
        let name = format!("web-{version}");
        let mut template = template(*version);
        template["metadata"]["labels"]["pod-template-hash"] = json!(version.to_string());
        Arc::new(serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": name, "generation": 1, "labels": {"app": "web"},
                "creationTimestamp": Timestamp::from_second(i64::from(*version)).unwrap().to_string(),
                "annotations": {
                    "deployment.kubernetes.io/revision": version.to_string(),
                    "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                    "deployment.kubernetes.io/max-replicas": (desired + 1).to_string(),
                },
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}
                ],
            },
            "spec": {"replicas": size, "selector": {}, "template": template},
            "status": {
                "replicas": size, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1,
            },
        })).unwrap())
    };
    sets.iter().map(set).collect()
}

fn plan(spec: Value, present: &[Set]) -> Plan {
    let mut deployment = Deployment::clone(&deployment(spec));
    let available: i32 = present.iter().map(|set| set.2).sum();
    deployment.status = Some(DeploymentStatus {
        replicas: Some(present.iter().map(|set| set.1).sum()),
        ready_replicas: Some(available),
        available_replicas: Some(available),
        ..Default::default()
    });
    let deployment = Arc::new(deployment);
    let selector = crate::claim::selector(&deployment.spec.as_ref().unwrap().selector);
    let claim = claim(&deployment.metadata, &selector, sets(present));
    decide(&World { deployment, claim, pods: vec![] }, now())
}

fn sizes(plan: &Plan) -> Vec<(String, i32)> {
    let mut sizes: Vec<_> =
        plan.update.iter().map(|set| (set.metadata.name.clone().unwrap(), size(set))).collect();
    sizes.sort();
    sizes
}

#[test]
fn rolling_updates_stay_within_their_bounds() {
    // Of four: at most five at a time, at least three available.
    let table: [(&str, &[Set], Sizes); 8] = [
        ("the new one grows into the surge", &[(1, 4, 4, 4), (2, 0, 0, 4)], &[("web-2", 1)]),
        ("then the old one makes room", &[(1, 4, 4, 4), (2, 1, 0, 4)], &[("web-1", 3)]),
        ("then the new one grows again", &[(1, 3, 3, 4), (2, 1, 1, 4)], &[("web-2", 2)]),
        ("nothing while too few are available", &[(1, 3, 3, 4), (2, 2, 0, 4)], &[]),
        ("broken old pods go first", &[(1, 4, 2, 4), (2, 1, 0, 4)], &[("web-1", 3)]),
        ("the last old ones go", &[(1, 1, 1, 4), (2, 4, 4, 4)], &[("web-1", 0)]),
        ("all done", &[(1, 0, 0, 4), (2, 4, 4, 4)], &[]),
        ("too many new ones", &[(1, 0, 0, 4), (2, 6, 4, 4)], &[("web-2", 4)]),
    ];
    for (name, present, expected) in table {
        let plan = plan(json!({}), present);
        let expected: Vec<_> = expected.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
        assert_eq!(sizes(&plan), expected, "{name}");
        assert!(plan.create.is_none(), "{name}");
    }
}

#[test]
fn scaling_in_the_middle_keeps_proportions() {
    let table: [(i32, &[Set], Sizes); 5] = [
        (8, &[(2, 4, 4, 4)], &[("web-2", 8)]),
        (1, &[(2, 4, 4, 4)], &[("web-2", 1)]),
        (9, &[(1, 3, 3, 4), (2, 2, 0, 4)], &[("web-1", 6), ("web-2", 4)]),
        (0, &[(1, 3, 3, 4), (2, 2, 0, 4)], &[("web-1", 0), ("web-2", 0)]),
        (6, &[(1, 1, 1, 4), (2, 6, 6, 6)], &[("web-1", 0)]),
    ];
    for (replicas, present, expected) in table {
        let sizes = sizes(&plan(json!({"replicas": replicas}), present));
        for (name, size) in expected {
            assert!(sizes.contains(&((*name).to_owned(), *size)), "{replicas}: {name} {size} in {sizes:?}");
        }
    }
}

#[test]
fn a_new_template_gets_a_set_with_the_next_revision() {
    let plan = plan(json!({"template": template(3)}), &[(1, 0, 0, 4), (2, 4, 4, 4)]);
    let set = plan.create.expect("a set");
    let hash = set.metadata.labels.as_ref().unwrap()["pod-template-hash"].clone();
    assert_eq!(set.metadata.name, Some(format!("web-{hash}")));
    assert_eq!(set.spec.as_ref().unwrap().selector.match_labels.as_ref().unwrap()["pod-template-hash"], hash);
    assert_eq!(size(&set), 1);
    assert_eq!(revision::text(&set).as_deref(), Some("3"));
    assert_eq!(plan.revision.as_deref(), Some("3"));
    let status = plan.status.unwrap();
    assert!(status.conditions.unwrap().iter().any(|c| c.reason.as_deref() == Some("NewReplicaSetCreated")));
}

#[test]
fn going_back_gives_the_old_set_a_new_number() {
    let plan = plan(json!({"template": template(1)}), &[(1, 0, 0, 4), (2, 4, 4, 4)]);
    assert!(plan.create.is_none());
    let set = plan.update.iter().find(|set| set.metadata.name.as_deref() == Some("web-1")).unwrap();
    assert_eq!(revision::text(set).as_deref(), Some("3"));
    assert_eq!(set.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let plan = plan(json!({"paused": true, "template": template(3)}), &[(2, 4, 4, 4)]);
    assert!(plan.create.is_none() && plan.update.is_empty());
    assert!(
        plan.status
            .unwrap()
            .conditions
            .unwrap()
            .iter()
            .any(|c| c.reason.as_deref() == Some("DeploymentPaused"))
    );
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    let recreate = json!({"strategy": {"type": "Recreate"}, "template": template(3)});
    let first = plan(recreate.clone(), &[(2, 4, 4, 4)]);
    assert_eq!(sizes(&first), [("web-2".to_owned(), 0)]);
    assert!(first.create.is_none());
    let second = plan(recreate, &[(2, 0, 0, 4)]);
    assert_eq!(second.create.map(|set| size(&set)), Some(4));
}

#[test]
fn old_sets_beyond_the_limit_are_deleted() {
    let present = &[(1, 0, 0, 4), (2, 4, 4, 4), (0, 0, 0, 4)];
    let plan = plan(json!({"revisionHistoryLimit": 1}), present);
    let deleted: Vec<_> = plan.delete.iter().filter_map(|set| set.metadata.name.as_deref()).collect();
    assert_eq!(deleted, ["web-0"]);
}

#[test]
fn percentages_are_rounded_up_for_surge_and_down_for_unavailability() {
    let table = [
        (json!("25%"), json!("25%"), 3, (1, 0)),
        (json!("25%"), json!("25%"), 10, (3, 2)),
        (json!(0), json!("25%"), 3, (0, 1)),
        (json!("100%"), json!(9), 4, (4, 4)),
    ];
    for (surge, unavailable, replicas, expected) in table {
        let bounds = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let spec =
            json!({"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": bounds}});
        let Strategy::Rolling { max_surge, max_unavailable } = strategy(&deployment(spec)) else {
            panic!("rolling")
        };
        assert_eq!((max_surge, max_unavailable), expected, "{bounds}");
    }
}

#[test]
fn a_rollout_that_does_not_move_times_out() {
    let mut stuck = Deployment::clone(&deployment(json!({})));
    let since = now() - jiff::SignedDuration::from_secs(601);
    stuck.status = serde_json::from_value(json!({
        "replicas": 5, "updatedReplicas": 2, "readyReplicas": 3, "availableReplicas": 3,
        "conditions": [{
            "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": since.to_string(),
        }],
    }))
    .unwrap();
    let selector = crate::claim::selector(&stuck.spec.as_ref().unwrap().selector);
    let claim = claim(&stuck.metadata, &selector, sets(&[(1, 3, 3, 4), (2, 2, 0, 4)]));
    let plan = decide(&World { deployment: Arc::new(stuck), claim, pods: vec![] }, now());
    let conditions = plan.status.unwrap().conditions.unwrap();
    assert!(conditions.iter().any(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded")));
    assert_eq!(plan.again, None);
}
