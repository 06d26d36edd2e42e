//! Container statuses, and the phase that follows from them.

use k8s_openapi::{
    api::core::v1::{
        Container as Wanted, ContainerState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting, ContainerStatus, Pod, PodSpec,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::Facts;
use crate::{
    cri::{Container, Observed, State},
    step::{Memory, Plan, Stage, is_sidecar, restart_policy, syncing::started},
};

/// One status a container, in the order of the names, as upstream sorts them by the spec.
pub fn statuses<'a>(
    wanted: impl Iterator<Item = &'a Wanted>,
    pod: &Pod,
    observed: &Observed,
    plan: &Plan,
    memory: &Memory,
    facts: &Facts<'_>,
    after_init: bool,
) -> Vec<ContainerStatus> {
    wanted.map(|one| status(one, pod, observed, plan, memory, facts, after_init)).collect()
}

fn status(
    wanted: &Wanted,
    pod: &Pod,
    observed: &Observed,
    plan: &Plan,
    memory: &Memory,
    facts: &Facts<'_>,
    after_init: bool,
) -> ContainerStatus {
    let mut instances = observed.containers.iter().filter(|c| c.name == wanted.name);
    let latest = instances.next();
    let before = instances.next();
    let terminated = |c: Option<&Container>| c.and_then(|c| self::terminated(c, facts));
    let default_reason = if after_init { "PodInitializing" } else { "ContainerCreating" };
    let waiting = plan.waiting.get(&wanted.name).cloned();
    let mut state = ContainerState::default();
    let mut last = ContainerState::default();
    let probed = latest.and_then(|c| memory.probes.get(&c.id)).copied().unwrap_or_default();
    let mut is_started = false;
    let mut ready = false;
    let is_init =
        pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten()).any(|c| c.name == wanted.name);
    match latest.map(|c| &c.state) {
        Some(State::Running { started: since }) => {
            state.running = Some(ContainerStateRunning { started_at: Some(Time(*since)) });
            last.terminated = terminated(before);
            is_started = started(wanted, probed);
            let opened = latest.is_some_and(|found| !memory.opening.contains(&found.id));
            let answers = if wanted.readiness_probe.is_some() { probed.ready == Some(true) } else { opened };
            // Also on its way out: then it is its Services' last resort.
            ready = is_started && answers && (!is_init || is_sidecar(wanted));
        }
        Some(State::Exited { code, .. }) => match waiting {
            Some(waiting) => {
                state.waiting =
                    Some(ContainerStateWaiting { reason: Some(waiting.reason), message: waiting.message });
                last.terminated = terminated(latest);
            }
            None => {
                state.terminated = terminated(latest);
                last.terminated = terminated(before);
                ready = is_init && !is_sidecar(wanted) && *code == 0;
            }
        },
        Some(State::Created) | None => {
            let reason = waiting.as_ref().map_or(default_reason.to_owned(), |w| w.reason.clone());
            state.waiting = Some(ContainerStateWaiting {
                reason: Some(reason),
                message: waiting.and_then(|w| w.message),
            });
            last.terminated = terminated(before);
        }
    }
    // What was reported once is not forgotten when the engine forgot it.
    let reported = pod.status.iter().flat_map(|s| {
        s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten())
    });
    let reported = reported.into_iter().find(|s| s.name == wanted.name);
    if latest.is_none()
        && plan.stage != Stage::Syncing
        && let Some(reported) = reported
    {
        return ContainerStatus { ready: false, started: Some(false), ..reported.clone() };
    }
    ContainerStatus {
        name: wanted.name.clone(),
        image: latest.map_or_else(|| wanted.image.clone().unwrap_or_default(), |c| c.image.clone()),
        image_id: latest.map(|c| image_id(&c.image_id)).unwrap_or_default(),
        container_id: latest.map(|c| format!("docker://{}", c.id)),
        restart_count: latest.map_or(0, |c| i32::try_from(c.attempt).unwrap_or(i32::MAX)),
        ready,
        started: Some(is_started),
        state: Some(state),
        last_state: Some(last),
        resources: wanted.resources.clone(),
        ..ContainerStatus::default()
    }
}

fn image_id(engine: &str) -> String {
    if engine.is_empty() { String::new() } else { format!("docker://{engine}") }
}

fn terminated(container: &Container, facts: &Facts<'_>) -> Option<ContainerStateTerminated> {
    let State::Exited { started, finished, code, oom, error } = &container.state else { return None };
    let reason = match (oom, code, error.is_empty()) {
        (true, ..) => "OOMKilled",
        (_, _, false) => "ContainerCannotRun",
        (_, 0, _) => "Completed",
        _ => "Error",
    };
    let message = if error.is_empty() { (facts.last_words)(&container.id) } else { Some(error.clone()) };
    Some(ContainerStateTerminated {
        exit_code: *code,
        reason: Some(reason.to_owned()),
        message,
        started_at: started.map(Time),
        finished_at: Some(Time(*finished)),
        container_id: Some(format!("docker://{}", container.id)),
        ..ContainerStateTerminated::default()
    })
}

/// Whether all init containers are through.
pub fn initialized(spec: &PodSpec, init: &[ContainerStatus], main: &[ContainerStatus]) -> bool {
    let begun = main.iter().any(|s| s.container_id.is_some());
    spec.init_containers.iter().flatten().all(|wanted| {
        let Some(status) = init.iter().find(|s| s.name == wanted.name) else { return false };
        if is_sidecar(wanted) {
            return begun || status.started == Some(true);
        }
        let ended = status.state.as_ref().and_then(|s| s.terminated.as_ref());
        begun || ended.is_some_and(|t| t.exit_code == 0)
    })
}

/// As upstream's `getPhase`.
pub fn phase(
    spec: &PodSpec,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    initialized: bool,
) -> &'static str {
    let policy = restart_policy(spec);
    let code =
        |s: &ContainerStatus| s.state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code);
    if !initialized {
        let failed = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|c| !is_sidecar(c))
            .any(|c| init.iter().any(|s| s.name == c.name && code(s).is_some_and(|code| code != 0)));
        return if failed && policy == "Never" { "Failed" } else { "Pending" };
    }
    let (mut waiting, mut running, mut stopped, mut succeeded) = (0, 0, 0, 0);
    for status in main {
        let state = status.state.clone().unwrap_or_default();
        let ended_before = status.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
        if state.running.is_some() {
            running += 1;
        } else if let Some(ended) = state.terminated {
            stopped += 1;
            succeeded += i32::from(ended.exit_code == 0);
        } else if ended_before {
            stopped += 1;
        } else {
            waiting += 1;
        }
    }
    match (waiting, running, stopped) {
        (1.., ..) => "Pending",
        (_, 1.., _) => "Running",
        (_, _, 1..) if policy == "Always" => "Running",
        (_, _, 1..) if stopped == succeeded => "Succeeded",
        (_, _, 1..) if policy == "Never" => "Failed",
        (_, _, 1..) => "Running",
        _ => "Pending",
    }
}
