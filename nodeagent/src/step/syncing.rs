//! The part of [`super::step`] for pods that are to run.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container as Wanted, Pod, PodSpec};

use super::{
    Action, CRASH_LOOP, Memory, Plan, Probed, StopReason, Waiting, full_name, is_sidecar, restart_policy,
    restarts,
};
use crate::cri::{Container, Observed, State};

/// Plans sandbox, init containers and containers, in this order.
pub fn sync(
    pod: &Pod,
    spec: &PodSpec,
    observed: &Observed,
    memory: &Memory,
    now: Timestamp,
    plan: &mut Plan,
) {
    let grace_s = spec.termination_grace_period_seconds.unwrap_or(30);
    let Some(sandbox) = observed.live_sandbox() else {
        without_sandbox(observed, memory, now, grace_s, plan);
        return;
    };
    // Containers of an earlier sandbox have lost their network.
    for lost in observed.containers.iter().filter(|c| c.sandbox != sandbox.id) {
        if matches!(lost.state, State::Running { .. }) && !memory.stopping.contains_key(&lost.id) {
            plan.actions.push(stop(lost, grace_s, StopReason::SandboxLost));
        }
    }
    let mut pass = Pass { pod, spec, observed, memory, now, sandbox: &sandbox.id, plan };
    if pass.init() {
        for container in &spec.containers {
            pass.container(container, restart_policy(spec));
        }
    }
}

fn without_sandbox(observed: &Observed, memory: &Memory, now: Timestamp, grace_s: i64, plan: &mut Plan) {
    for lost in observed.containers.iter().filter(|c| matches!(c.state, State::Running { .. })) {
        if !memory.stopping.contains_key(&lost.id) {
            plan.actions.push(stop(lost, grace_s, StopReason::SandboxLost));
        }
    }
    if observed.any_running() {
        return;
    }
    match &memory.sandbox_failure {
        Some(failure) if failure.retry_at > now => plan.wake_at(failure.retry_at),
        _ => {
            let attempt = observed.sandboxes.first().map_or(0, |s| s.attempt + 1);
            plan.actions.push(Action::RunSandbox { attempt });
        }
    }
}

fn stop(container: &Container, grace_s: i64, reason: StopReason) -> Action {
    Action::Stop { id: container.id.clone(), name: container.name.clone(), grace_s, reason }
}

struct Pass<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    observed: &'a Observed,
    memory: &'a Memory,
    now: Timestamp,
    sandbox: &'a str,
    plan: &'a mut Plan,
}

impl Pass<'_> {
    /// Init containers; true when the others may start.
    fn init(&mut self) -> bool {
        let spec = self.spec;
        let begun = spec
            .containers
            .iter()
            .any(|c| self.observed.latest(&c.name).is_some_and(|found| found.sandbox == self.sandbox));
        for container in spec.init_containers.iter().flatten() {
            let current = self.observed.latest(&container.name).filter(|c| c.sandbox == self.sandbox);
            if is_sidecar(container) {
                self.container(container, "Always");
                let started = current.is_some_and(|c| {
                    matches!(c.state, State::Running { .. })
                        && started(container, self.memory.probes.get(&c.id).copied().unwrap_or_default())
                });
                if !started && !begun {
                    return false;
                }
                continue;
            }
            if begun {
                continue;
            }
            match current.map(|c| &c.state) {
                Some(State::Exited { code: 0, .. }) => {}
                Some(State::Running { .. }) => return false,
                // A new sandbox runs its init containers again, whatever they did in the last one.
                None => {
                    self.start(container, self.observed.latest(&container.name), false);
                    return false;
                }
                Some(_) => {
                    // A pod restarted as a whole restarts its init containers until they succeed.
                    let policy = if restart_policy(spec) == "Never" { "Never" } else { "OnFailure" };
                    self.container(container, policy);
                    return false;
                }
            }
        }
        true
    }

    fn container(&mut self, wanted: &Wanted, policy: &str) {
        let Some(found) = self.observed.latest(&wanted.name) else {
            self.start(wanted, None, false);
            return;
        };
        match &found.state {
            State::Running { .. } if found.sandbox == self.sandbox => self.check(wanted, found),
            // Being stopped, see above.
            State::Running { .. } => {}
            State::Created => self.start(wanted, Some(found), false),
            State::Exited { code, .. } => {
                if restarts(policy, *code) {
                    self.start(wanted, Some(found), true);
                }
            }
        }
    }

    /// Stops what its probes gave up.
    fn check(&mut self, wanted: &Wanted, found: &Container) {
        if self.memory.stopping.contains_key(&found.id) {
            return;
        }
        let probed = self.memory.probes.get(&found.id).copied().unwrap_or_default();
        let (probe, reason) = if probed.started == Some(false) {
            (&wanted.startup_probe, StopReason::Startup)
        } else if probed.live == Some(false) {
            (&wanted.liveness_probe, StopReason::Liveness)
        } else {
            return;
        };
        let own = probe.as_ref().and_then(|p| p.termination_grace_period_seconds);
        let grace_s = own.or(self.spec.termination_grace_period_seconds).unwrap_or(30);
        self.plan.actions.push(stop(found, grace_s, reason));
    }

    fn start(&mut self, wanted: &Wanted, last: Option<&Container>, crashed: bool) {
        let name = &wanted.name;
        let mut backoff = None;
        if let (true, Some(Container { state: State::Exited { finished, .. }, .. })) = (crashed, last) {
            let known = self.memory.backoff.get(name).copied();
            if let Some(until) = known.and_then(|b| b.until(*finished)).filter(|until| *until > self.now) {
                let delay = known.map(|b| b.delay).unwrap_or_default();
                self.plan.waiting.insert(name.clone(), crash_loop(name, &full_name(self.pod), delay));
                self.plan.wake_at(until);
                return;
            }
            backoff = Some(crate::backoff::Backoff::next(known, *finished, self.now));
        }
        if let Some(failure) = self.memory.failures.get(name) {
            self.plan.waiting.insert(name.clone(), failure.waiting.clone());
            if failure.retry_at > self.now {
                self.plan.wake_at(failure.retry_at);
                return;
            }
        }
        let created = |c: &&Container| c.state == State::Created;
        self.plan.actions.push(Action::Start {
            name: name.clone(),
            attempt: last.map_or(0, |c| if c.state == State::Created { c.attempt } else { c.attempt + 1 }),
            replaces: last.filter(created).map(|c| c.id.clone()),
            backoff,
        });
    }
}

/// Whether a running container has passed its startup probe, if it has one.
pub fn started(wanted: &Wanted, probed: Probed) -> bool {
    wanted.startup_probe.is_none() || probed.started == Some(true)
}

fn crash_loop(name: &str, pod: &str, delay: SignedDuration) -> Waiting {
    Waiting {
        reason: CRASH_LOOP.into(),
        message: Some(format!(
            "back-off {} restarting failed container={name} pod={pod}",
            crate::backoff::display(delay)
        )),
    }
}
