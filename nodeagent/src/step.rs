//! What to do next for one pod: a pure function of what is wanted, what exists and what is known.
//!
//! A pod moves forward only: syncing, terminating, terminated. Each call looks at everything anew, so an action that
//! failed or was lost is simply planned again.

pub(crate) mod syncing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Wanted, Pod, PodSpec};

use crate::{
    backoff::Backoff,
    cri::{Container, Observed, State},
};

/// Why a container waits that ended too soon too often.
pub const CRASH_LOOP: &str = "CrashLoopBackOff";

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its containers are to run.
    #[default]
    Syncing,
    /// Its containers are to end.
    Terminating,
    /// None runs any more, and none will.
    Terminated,
}

/// Why a pod ended by itself, kept once known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `Succeeded` or `Failed`.
    pub phase: &'static str,
    /// Such as `DeadlineExceeded`.
    pub reason: Option<String>,
    /// For people.
    pub message: Option<String>,
}

/// Why a container is not running yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `CrashLoopBackOff`, `ImagePullBackOff`, …
    pub reason: String,
    /// For people.
    pub message: Option<String>,
}

/// A start that failed, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to show meanwhile.
    pub waiting: Waiting,
    /// Not before.
    pub retry_at: Timestamp,
}

/// What probes found of one container; `None` is not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The startup probe passed; `Some(false)` is its final failure.
    pub started: Option<bool>,
    /// The readiness probe's last word.
    pub ready: Option<bool>,
    /// `Some(false)`: the liveness probe's final failure.
    pub live: Option<bool>,
}

/// What the agent knows of a pod besides what the engine and the API tell.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// How far the pod came.
    pub stage: Stage,
    /// Crash back-off by container.
    pub backoff: BTreeMap<String, Backoff>,
    /// Failed starts by container.
    pub failures: BTreeMap<String, Failure>,
    /// The sandbox's failed start.
    pub sandbox_failure: Option<Failure>,
    /// Ids of containers that run and take no connections yet, though Services lead to them.
    pub opening: BTreeSet<String>,
    /// Probe results by container id.
    pub probes: BTreeMap<String, Probed>,
    /// Containers being stopped, with the grace they were given.
    pub stopping: BTreeMap<String, i64>,
    /// The end, once it came.
    pub verdict: Option<Verdict>,
}

/// Why a container is stopped; becomes the event's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The pod goes away.
    PodEnds,
    /// The pod's sandbox died under it.
    SandboxLost,
    /// The liveness probe failed for good.
    Liveness,
    /// The startup probe failed for good.
    Startup,
    /// The hook after the start failed.
    PostStart,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make and start a sandbox.
    RunSandbox {
        /// Which try.
        attempt: u32,
    },
    /// Make and start a container.
    Start {
        /// Its name.
        name: String,
        /// Restarts so far.
        attempt: u32,
        /// An instance that was made and never started gives way.
        replaces: Option<String>,
        /// The back-off to remember, when this is a restart.
        backoff: Option<Backoff>,
    },
    /// Stop a container.
    Stop {
        /// Engine's id.
        id: String,
        /// Its name.
        name: String,
        /// Seconds.
        grace_s: i64,
        /// Why.
        reason: StopReason,
    },
    /// Stop a sandbox.
    StopSandbox {
        /// Engine's id.
        id: String,
    },
    /// Remove what is of no more use.
    Remove {
        /// Engine's id.
        id: String,
    },
    /// All has ended and the API object is to go: remove everything, then delete it.
    Finish,
}

/// What follows from a look at a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Where the pod is now.
    pub stage: Stage,
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// Why containers wait.
    pub waiting: BTreeMap<String, Waiting>,
    /// Look again at this time even if nothing happens.
    pub wake: Option<Timestamp>,
    /// The end, if it came.
    pub verdict: Option<Verdict>,
}

impl Plan {
    /// Whether all that is planned is to begin something: then nobody has to be told first.
    pub fn only_begins(&self) -> bool {
        self.actions.iter().all(|action| matches!(action, Action::RunSandbox { .. } | Action::Start { .. }))
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }
}

/// Decides. `now` is the only clock.
pub fn step(pod: &Pod, observed: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let Some(spec) = &pod.spec else { return Plan::default() };
    let deleted = pod.metadata.deletion_timestamp.is_some();
    let mut plan = Plan {
        verdict: memory.verdict.clone().or_else(|| ended_before(pod)).or_else(|| deadline(pod, now)),
        stage: memory.stage,
        ..Plan::default()
    };
    if plan.verdict.is_none() && !deleted && memory.stage == Stage::Syncing {
        plan.verdict = completed(spec, observed);
    }
    if deleted || plan.verdict.is_some() || memory.stage > Stage::Syncing {
        terminate(pod, spec, observed, memory, deleted, &mut plan);
        return plan;
    }
    if let Some(at) = deadline_at(pod) {
        plan.wake_at(at);
    }
    syncing::sync(pod, spec, observed, memory, now, &mut plan);
    collect_garbage(observed, &mut plan);
    plan
}

/// Whether an init container goes on beside the others.
pub fn is_sidecar(container: &Wanted) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// A pod as messages name it: `web_default(6f2…)`.
pub fn full_name(pod: &Pod) -> String {
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    let meta = &pod.metadata;
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}

/// The pod's restart policy.
pub fn restart_policy(spec: &PodSpec) -> &str {
    spec.restart_policy.as_deref().unwrap_or("Always")
}

/// Whether a container that ended with `code` runs again.
fn restarts(policy: &str, code: i32) -> bool {
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// The pod ended in an earlier life of the agent.
fn ended_before(pod: &Pod) -> Option<Verdict> {
    let status = pod.status.as_ref()?;
    let phase = match status.phase.as_deref()? {
        "Succeeded" => "Succeeded",
        "Failed" => "Failed",
        _ => return None,
    };
    Some(Verdict { phase, reason: status.reason.clone(), message: status.message.clone() })
}

fn deadline_at(pod: &Pod) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let start = pod.status.as_ref()?.start_time.as_ref()?.0;
    start.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
}

fn deadline(pod: &Pod, now: Timestamp) -> Option<Verdict> {
    (deadline_at(pod)? <= now).then(|| Verdict {
        phase: "Failed",
        reason: Some("DeadlineExceeded".into()),
        message: Some("Pod was active on the node longer than the specified deadline".into()),
    })
}

/// Whether every container has ended and none will run again.
fn completed(spec: &PodSpec, observed: &Observed) -> Option<Verdict> {
    let policy = restart_policy(spec);
    let end = |phase| Some(Verdict { phase, reason: None, message: None });
    if policy == "Never" {
        let failed_init = spec.init_containers.iter().flatten().filter(|c| !is_sidecar(c)).any(|c| {
            matches!(observed.latest(&c.name), Some(Container { state: State::Exited { code, .. }, .. }) if *code != 0)
        });
        if failed_init && !observed.any_running() {
            return end("Failed");
        }
    }
    let mut failed = false;
    for container in &spec.containers {
        match observed.latest(&container.name).map(|c| &c.state) {
            Some(State::Exited { code, .. }) if !restarts(policy, *code) => failed |= *code != 0,
            _ => return None,
        }
    }
    end(if failed { "Failed" } else { "Succeeded" })
}

fn terminate(
    pod: &Pod,
    spec: &PodSpec,
    observed: &Observed,
    memory: &Memory,
    deleted: bool,
    plan: &mut Plan,
) {
    plan.stage = Stage::Terminating;
    let grace_s = pod
        .metadata
        .deletion_grace_period_seconds
        .filter(|_| deleted)
        .or(spec.termination_grace_period_seconds)
        .unwrap_or(30);
    let sidecars: Vec<&str> =
        spec.init_containers.iter().flatten().filter(|c| is_sidecar(c)).map(|c| c.name.as_str()).collect();
    let running: Vec<&Container> =
        observed.containers.iter().filter(|c| matches!(c.state, State::Running { .. })).collect();
    let (beside, main): (Vec<_>, Vec<_>) =
        running.into_iter().partition(|c| sidecars.contains(&c.name.as_str()));
    // Sidecars outlive the others, and end in the reverse order of their start.
    let last = sidecars.iter().rev().find_map(|name| beside.iter().find(|c| c.name == **name).copied());
    let stop = if main.is_empty() { last.into_iter().collect() } else { main };
    if !stop.is_empty() {
        for container in stop {
            if memory.stopping.get(&container.id).is_none_or(|given| grace_s < *given) {
                plan.actions.push(Action::Stop {
                    id: container.id.clone(),
                    name: container.name.clone(),
                    grace_s,
                    reason: StopReason::PodEnds,
                });
            }
        }
        return;
    }
    plan.actions.extend(
        observed.sandboxes.iter().filter(|s| s.running).map(|s| Action::StopSandbox { id: s.id.clone() }),
    );
    if plan.actions.is_empty() {
        plan.stage = Stage::Terminated;
        if deleted {
            plan.actions.push(Action::Finish);
        }
    }
}

/// Of each container the newest two are kept (the present one and its `lastState`), of sandboxes the newest.
fn collect_garbage(observed: &Observed, plan: &mut Plan) {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for container in &observed.containers {
        let count = seen.entry(&container.name).or_default();
        *count += 1;
        if *count > 2 && !matches!(container.state, State::Running { .. }) {
            plan.actions.push(Action::Remove { id: container.id.clone() });
        }
    }
    for sandbox in observed.sandboxes.iter().skip(1) {
        plan.actions.push(Action::Remove { id: sandbox.id.clone() });
    }
}
