use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::cri::Sandbox;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "p", "uid": "u" }, "spec": spec })).unwrap()
}

fn plain() -> Pod {
    pod(json!({ "containers": [{ "name": "c", "image": "i" }] }))
}

fn sandbox(id: &str, attempt: u32, running: bool) -> Sandbox {
    Sandbox { id: id.into(), attempt, running, ip: None, pid: None }
}

fn container(name: &str, attempt: u32, state: State) -> Container {
    Container {
        id: format!("{name}{attempt}"),
        name: name.into(),
        attempt,
        sandbox: "s".into(),
        state,
        image: "i".into(),
        image_id: String::new(),
        termination_file: None,
        created: None,
    }
}

fn running() -> State {
    State::Running { started: at(0) }
}

fn exited(code: i32, second: i64) -> State {
    State::Exited { started: Some(at(0)), finished: at(second), code, oom: false, error: String::new() }
}

fn with(containers: Vec<Container>) -> Observed {
    Observed { sandboxes: vec![sandbox("s", 0, true)], containers }
}

/// The plan's actions in a few words.
fn said(plan: &Plan) -> Vec<String> {
    let words = plan.actions.iter().map(|a| match a {
        Action::RunSandbox { attempt } => format!("sandbox {attempt}"),
        Action::Start { name, attempt, .. } => format!("start {name} {attempt}"),
        Action::Stop { id, grace_s, .. } => format!("stop {id} {grace_s}"),
        Action::StopSandbox { id } => format!("stop sandbox {id}"),
        Action::Remove { id } => format!("remove {id}"),
        Action::Finish => "finish".into(),
    });
    words.collect()
}

fn check(pod: &Pod, observed: &Observed, memory: &Memory, want: &[&str]) -> Plan {
    let plan = step(pod, observed, memory, at(100));
    assert_eq!(said(&plan), want);
    plan
}

fn deleted(mut pod: Pod, grace_s: i64) -> Pod {
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(99)));
    pod.metadata.deletion_grace_period_seconds = Some(grace_s);
    pod
}

#[test]
fn a_pod_gets_its_sandbox_then_its_containers_then_peace() {
    let memory = Memory::default();
    check(&plain(), &Observed::default(), &memory, &["sandbox 0"]);
    check(&plain(), &with(vec![]), &memory, &["start c 0"]);
    check(&plain(), &with(vec![container("c", 0, running())]), &memory, &[]);
}

#[test]
fn a_crash_restarts_at_once_and_then_waits_longer_each_time() {
    let crashed = with(vec![container("c", 0, exited(1, 99))]);
    let plan = check(&plain(), &crashed, &Memory::default(), &["start c 1"]);
    let Action::Start { backoff: Some(backoff), .. } = plan.actions[0] else {
        panic!("a restart has a back-off")
    };
    assert_eq!(backoff.delay, SignedDuration::from_secs(10));
    let memory = Memory { backoff: [("c".to_owned(), backoff)].into(), ..Memory::default() };
    let plan = check(&plain(), &with(vec![container("c", 1, exited(1, 99))]), &memory, &[]);
    assert_eq!(plan.waiting["c"].reason, "CrashLoopBackOff");
    assert_eq!(plan.wake, Some(at(109)));
    check(&plain(), &with(vec![container("c", 1, exited(1, 90))]), &memory, &["start c 2"]);
}

#[test]
fn the_restart_policy_decides_what_an_end_means() {
    let cases = [
        ("Never", 0, Some("Succeeded"), &[][..]),
        ("Never", 1, Some("Failed"), &[]),
        ("OnFailure", 0, Some("Succeeded"), &[]),
        ("OnFailure", 1, None, &["start c 1"]),
        ("Always", 0, None, &["start c 1"]),
    ];
    for (policy, code, phase, want) in cases {
        let pod = pod(json!({ "restartPolicy": policy, "containers": [{ "name": "c" }] }));
        let plan = step(&pod, &with(vec![container("c", 0, exited(code, 99))]), &Memory::default(), at(100));
        assert_eq!(plan.verdict.as_ref().map(|v| v.phase), phase, "{policy} {code}");
        if phase.is_none() {
            assert_eq!(said(&plan), want, "{policy} {code}");
        } else {
            assert_eq!(said(&plan), ["stop sandbox s"], "{policy} {code}");
        }
    }
}

#[test]
fn init_containers_come_one_after_the_other_and_sidecars_stay() {
    let pod = pod(json!({
        "containers": [{ "name": "c" }],
        "initContainers": [{ "name": "a" }, { "name": "side", "restartPolicy": "Always" }, { "name": "b" }],
    }));
    let memory = Memory::default();
    let mut seen = vec![];
    check(&pod, &with(seen.clone()), &memory, &["start a 0"]);
    seen.push(container("a", 0, running()));
    check(&pod, &with(seen.clone()), &memory, &[]);
    seen[0].state = exited(0, 50);
    check(&pod, &with(seen.clone()), &memory, &["start side 0"]);
    seen.push(container("side", 0, running()));
    check(&pod, &with(seen.clone()), &memory, &["start b 0"]);
    seen.push(container("b", 0, exited(0, 60)));
    check(&pod, &with(seen.clone()), &memory, &["start c 0"]);
    seen.push(container("c", 0, running()));
    check(&pod, &with(seen.clone()), &memory, &[]);
    seen[1].state = exited(1, 70);
    check(&pod, &with(seen.clone()), &memory, &["start side 1"]);
}

#[test]
fn a_lost_sandbox_takes_its_containers_with_it() {
    let mut observed = with(vec![container("c", 0, running())]);
    observed.sandboxes[0].running = false;
    check(&plain(), &observed, &Memory::default(), &["stop c0 30"]);
    observed.containers[0].state = exited(137, 99);
    check(&plain(), &observed, &Memory::default(), &["sandbox 1"]);
    observed.sandboxes.insert(0, Sandbox { id: "t".into(), attempt: 1, ..sandbox("t", 1, true) });
    check(&plain(), &observed, &Memory::default(), &["start c 1", "remove s"]);
}

#[test]
fn failed_probes_stop_their_container_once() {
    let pod = pod(
        json!({ "terminationGracePeriodSeconds": 5, "containers": [{ "name": "c", "livenessProbe": { "terminationGracePeriodSeconds": 2 } }] }),
    );
    let mut memory = Memory::default();
    memory.probes.insert("c0".into(), Probed { live: Some(false), ..Probed::default() });
    check(&pod, &with(vec![container("c", 0, running())]), &memory, &["stop c0 2"]);
    memory.stopping.insert("c0".into(), 2);
    check(&pod, &with(vec![container("c", 0, running())]), &memory, &[]);
}

#[test]
fn deletion_stops_the_main_containers_then_sidecars_then_all() {
    let pod = deleted(
        pod(
            json!({ "containers": [{ "name": "c" }], "initContainers": [{ "name": "side", "restartPolicy": "Always" }] }),
        ),
        7,
    );
    let mut seen = vec![container("c", 0, running()), container("side", 0, running())];
    let mut memory = Memory::default();
    check(&pod, &with(seen.clone()), &memory, &["stop c0 7"]);
    memory.stopping.insert("c0".into(), 7);
    check(&pod, &with(seen.clone()), &memory, &[]);
    // Asked again with less patience.
    check(&deleted(pod.clone(), 1), &with(seen.clone()), &memory, &["stop c0 1"]);
    seen[0].state = exited(0, 99);
    check(&pod, &with(seen.clone()), &memory, &["stop side0 7"]);
    seen[1].state = exited(0, 99);
    check(&pod, &with(seen.clone()), &memory, &["stop sandbox s"]);
    let mut observed = with(seen);
    observed.sandboxes[0].running = false;
    let plan = check(&pod, &observed, &memory, &["finish"]);
    assert_eq!(plan.stage, Stage::Terminated);
}

#[test]
fn a_pod_never_goes_back() {
    let memory = Memory { stage: Stage::Terminating, ..Memory::default() };
    check(&plain(), &with(vec![]), &memory, &["stop sandbox s"]);
    let late = pod(json!({ "activeDeadlineSeconds": 10, "containers": [{ "name": "c" }] }));
    let mut late = late;
    late.status = serde_json::from_value(json!({ "startTime": at(0).to_string() })).unwrap();
    let plan = check(&late, &with(vec![container("c", 0, running())]), &Memory::default(), &["stop c0 30"]);
    assert_eq!(plan.verdict.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn doing_what_is_planned_reaches_rest() {
    let pod =
        pod(json!({ "containers": [{ "name": "c" }, { "name": "d" }], "initContainers": [{ "name": "a" }] }));
    let (mut observed, memory) = (Observed::default(), Memory::default());
    for _ in 0..10 {
        let plan = step(&pod, &observed, &memory, at(100));
        if plan.actions.is_empty() {
            assert!(observed.latest("c").is_some() && observed.latest("d").is_some());
            return;
        }
        for action in plan.actions {
            match action {
                Action::RunSandbox { attempt } => observed.sandboxes.insert(0, sandbox("s", attempt, true)),
                Action::Start { name, attempt, .. } => {
                    let state = if name == "a" { exited(0, 1) } else { running() };
                    observed.containers.insert(0, container(&name, attempt, state));
                }
                other => panic!("not expected: {other:?}"),
            }
        }
    }
    panic!("it does not come to rest");
}
