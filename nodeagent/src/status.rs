//! A pod's status, computed from what exists: pure.

mod container;
mod qos;

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{HostIP, Pod, PodCondition, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

pub use qos::{Qos, qos};

use crate::{
    cri::Observed,
    step::{Memory, Plan, Stage, is_sidecar},
};

/// What the status needs besides the pod.
pub struct Facts<'a> {
    /// Address of the node.
    pub node_ip: IpAddr,
    /// Address that the pod had last, for a pod whose sandbox is gone.
    pub last_ip: Option<IpAddr>,
    /// Last words of a container, by engine id.
    pub last_words: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

/// Computes the whole status; conditions that others own (`PodScheduled`, readiness gates) are kept.
pub fn status(
    pod: &Pod,
    observed: &Observed,
    plan: &Plan,
    memory: &Memory,
    facts: &Facts<'_>,
    now: Timestamp,
) -> PodStatus {
    let Some(spec) = &pod.spec else { return PodStatus::default() };
    let old = pod.status.clone().unwrap_or_default();
    let init_total = spec.init_containers.as_ref().map_or(0, Vec::len);
    let init =
        container::statuses(spec.init_containers.iter().flatten(), pod, observed, plan, memory, facts, true);
    let main =
        container::statuses(spec.containers.iter(), pod, observed, plan, memory, facts, init_total > 0);
    let initialized = container::initialized(spec, &init, &main);
    let phase = match &plan.verdict {
        Some(verdict) if plan.stage == Stage::Terminated || !observed.any_running() => verdict.phase,
        _ => match container::phase(spec, &init, &main, initialized) {
            // Sidecars still run: nobody may take the pod for ended yet.
            "Succeeded" | "Failed" if observed.any_running() => "Running",
            phase => phase,
        },
    };
    let ip = if spec.host_network == Some(true) {
        observed.sandboxes.first().map(|_| facts.node_ip)
    } else {
        observed.live_sandbox().and_then(|s| s.ip).or(facts.last_ip)
    };
    let done = matches!(phase, "Succeeded" | "Failed");
    let mut conditions = Conditions {
        old: old.conditions.clone().unwrap_or_default(),
        now,
        new: Vec::new(),
        generation: pod.metadata.generation,
    };
    let unready: Vec<&str> = main.iter().filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
    let sidecars_ready = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| is_sidecar(c))
        .all(|c| init.iter().any(|s| s.name == c.name && s.ready));
    let sandboxed =
        observed.live_sandbox().is_some_and(|s| s.ip.is_some() || spec.host_network == Some(true));
    conditions.set("PodReadyToStartContainers", sandboxed, None, None);
    let waiting_init: Vec<&str> = init
        .iter()
        .filter(|s| {
            s.state.as_ref().and_then(|s| s.terminated.as_ref()).is_none_or(|t| t.exit_code != 0)
                && s.started != Some(true)
        })
        .map(|s| s.name.as_str())
        .collect();
    if initialized || done && phase == "Succeeded" {
        conditions.set("Initialized", true, done.then_some("PodCompleted"), None);
    } else {
        let message = format!("containers with incomplete status: [{}]", waiting_init.join(" "));
        conditions.set("Initialized", false, Some("ContainersNotInitialized"), Some(message));
    }
    let containers_ready = !done && initialized && unready.is_empty() && sidecars_ready && !main.is_empty();
    let message =
        (!unready.is_empty()).then(|| format!("containers with unready status: [{}]", unready.join(" ")));
    let reason = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => (!containers_ready).then_some("ContainersNotReady"),
    };
    let message = message.filter(|_| !done);
    let gates_open = spec
        .readiness_gates
        .iter()
        .flatten()
        .all(|gate| conditions.old.iter().any(|c| c.type_ == gate.condition_type && c.status == "True"));
    if containers_ready && !gates_open {
        let closed = "the status of some readiness gates is not \"True\"".to_owned();
        conditions.set("Ready", false, Some("ReadinessGatesNotReady"), Some(closed));
    } else {
        conditions.set("Ready", containers_ready, reason, message.clone());
    }
    conditions.set("ContainersReady", containers_ready, reason, message);
    PodStatus {
        phase: Some(phase.to_owned()),
        reason: plan.verdict.as_ref().and_then(|v| v.reason.clone()),
        message: plan.verdict.as_ref().and_then(|v| v.message.clone()),
        conditions: Some(conditions.finish()),
        host_ip: Some(facts.node_ip.to_string()),
        host_ips: Some(vec![HostIP { ip: facts.node_ip.to_string() }]),
        pod_ip: ip.map(|ip| ip.to_string()),
        pod_ips: ip.map(|ip| vec![PodIP { ip: ip.to_string() }]),
        start_time: old.start_time.or(Some(Time(now))),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(main),
        qos_class: old.qos_class.or_else(|| Some(qos(spec).as_str().to_owned())),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// Conditions with their times of change.
struct Conditions {
    old: Vec<PodCondition>,
    now: Timestamp,
    new: Vec<PodCondition>,
    generation: Option<i64>,
}

const OWNED: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

impl Conditions {
    fn set(&mut self, kind: &str, status: bool, reason: Option<&str>, message: Option<String>) {
        let status = if status { "True" } else { "False" };
        let before = self.old.iter().find(|c| c.type_ == kind && c.status == status);
        self.new.push(PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: before
                .and_then(|c| c.last_transition_time.clone())
                .or(Some(Time(self.now))),
            observed_generation: self.generation,
            ..PodCondition::default()
        });
    }

    fn finish(mut self) -> Vec<PodCondition> {
        let kept = self.old.into_iter().filter(|c| !OWNED.contains(&c.type_.as_str()));
        self.new.extend(kept);
        self.new
    }
}
