//! Probes: one task each, for as long as its container runs.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    cri::{Observed, Runtime, State},
    handler,
    step::{Probed, syncing::started},
};

/// Which question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Has it begun?
    Startup,
    /// May it be asked?
    Readiness,
    /// Is it still of use?
    Liveness,
}

impl Kind {
    /// As events say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// Counts answers against the thresholds: pure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    last: Option<bool>,
    run: i32,
}

impl Tally {
    /// Takes one answer; tells the verdict when a threshold is reached.
    pub fn count(&mut self, well: bool, successes: i32, failures: i32) -> Option<bool> {
        self.run = if self.last == Some(well) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(well);
        let needed = if well { successes } else { failures };
        (self.run >= needed.max(1)).then_some(well)
    }
}

/// Results by container id, shared with the tasks.
pub type Results = Arc<Mutex<HashMap<String, Probed>>>;

/// A failed attempt, for the event: container, kind, what was found.
pub type Report = Arc<dyn Fn(&str, Kind, String) + Send + Sync>;

/// The probes of one pod.
pub struct Probes {
    runtime: Arc<dyn Runtime>,
    results: Results,
    changed: Arc<Notify>,
    report: Report,
    tasks: HashMap<(String, Kind), JoinHandle<()>>,
}

impl Probes {
    /// None yet.
    pub fn new(runtime: Arc<dyn Runtime>, changed: Arc<Notify>, report: Report) -> Self {
        Self { runtime, results: Results::default(), changed, report, tasks: HashMap::new() }
    }

    /// What is known.
    pub fn results(&self) -> HashMap<String, Probed> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what an earlier life of the agent had found, so that a ready container stays ready.
    pub fn adopt(&self, id: &str, probed: Probed) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_insert(probed);
    }

    /// Starts the probes of running containers, and ends those of others. A pod that is `ending` is asked for its
    /// readiness alone.
    pub fn sync<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a Container>,
        observed: &Observed,
        ip: Option<IpAddr>,
        ending: bool,
    ) {
        let mut live = Vec::new();
        for container in wanted {
            let Some(found) = observed.latest(&container.name) else { continue };
            let (State::Running { started: since }, Some(ip)) = (&found.state, ip) else { continue };
            live.push(found.id.clone());
            let probes = [
                (Kind::Startup, &container.startup_probe),
                (Kind::Readiness, &container.readiness_probe),
                (Kind::Liveness, &container.liveness_probe),
            ];
            let probed = self.results().get(&found.id).copied().unwrap_or_default();
            for (kind, probe) in probes {
                let Some(probe) = probe else { continue };
                let key = (found.id.clone(), kind);
                // The others begin once the startup probe has passed; it then has nothing more to ask.
                let due = match kind {
                    Kind::Startup => probed.started.is_none(),
                    _ => started(container, probed),
                };
                if !due || (ending && kind != Kind::Readiness) || self.tasks.contains_key(&key) {
                    continue;
                }
                let task = Task {
                    runtime: self.runtime.clone(),
                    results: self.results.clone(),
                    changed: self.changed.clone(),
                    report: self.report.clone(),
                    id: found.id.clone(),
                    container: container.clone(),
                    probe: probe.clone(),
                    kind,
                    ip,
                };
                self.tasks.insert(key, tokio::spawn(task.run(*since)));
            }
        }
        self.tasks.retain(|(id, kind), task| {
            let keep = live.contains(id) && (!ending || *kind == Kind::Readiness);
            if !keep {
                task.abort();
            }
            keep
        });
        self.results.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| live.contains(id));
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

struct Task {
    runtime: Arc<dyn Runtime>,
    results: Results,
    changed: Arc<Notify>,
    report: Report,
    id: String,
    container: Container,
    probe: Probe,
    kind: Kind,
    ip: IpAddr,
}

impl Task {
    async fn run(self, since: jiff::Timestamp) {
        let seconds = |given: Option<i32>, or: u64| {
            given.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).unwrap_or(or)
        };
        let delay = Duration::from_secs(seconds(self.probe.initial_delay_seconds, 0));
        let age = jiff::Timestamp::now().duration_since(since);
        let age = Duration::try_from(age).unwrap_or_default();
        tokio::time::sleep(delay.saturating_sub(age)).await;
        let period = Duration::from_secs(seconds(self.probe.period_seconds, 10));
        let timeout = Duration::from_secs(seconds(self.probe.timeout_seconds, 1));
        let (successes, failures) =
            (self.probe.success_threshold.unwrap_or(1), self.probe.failure_threshold.unwrap_or(3));
        let mut tally = Tally::default();
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let found = match tokio::time::timeout(timeout, self.ask()).await {
                Ok(found) => found,
                Err(_) => Err(self.too_late(timeout)),
            };
            let well = found.is_ok();
            if let Err(text) = found {
                (self.report)(&self.container.name, self.kind, text);
            }
            if let Some(verdict) = tally.count(well, successes, failures) {
                self.set(verdict);
                if self.kind == Kind::Startup || (self.kind == Kind::Liveness && !verdict) {
                    return;
                }
            }
        }
    }

    fn set(&self, verdict: bool) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = results.entry(self.id.clone()).or_default();
        let slot = match self.kind {
            Kind::Startup => &mut entry.started,
            Kind::Readiness => &mut entry.ready,
            Kind::Liveness => &mut entry.live,
        };
        if slot.replace(verdict) != Some(verdict) {
            self.changed.notify_one();
        }
    }

    /// What is told when no answer came in time.
    fn too_late(&self, timeout: Duration) -> String {
        let host = |given: &Option<String>| given.clone().unwrap_or_else(|| self.ip.to_string());
        if let Some(action) = &self.probe.http_get {
            let url = handler::url(&self.container, self.ip, action).unwrap_or_default();
            return format!(
                "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            );
        }
        if let Some(action) = &self.probe.tcp_socket {
            let port = handler::port(&self.container, &action.port).unwrap_or_default();
            return format!("dial tcp {}:{port}: i/o timeout", host(&action.host));
        }
        if self.probe.grpc.is_some() {
            return format!("timeout: health rpc did not complete within {}s", timeout.as_secs());
        }
        format!("command timed out after {}s", timeout.as_secs())
    }

    async fn ask(&self) -> handler::Found {
        if let Some(action) = &self.probe.exec {
            handler::exec(&*self.runtime, &self.id, action).await
        } else if let Some(action) = &self.probe.http_get {
            handler::http(&*self.runtime, &self.container, self.ip, action).await
        } else if let Some(action) = &self.probe.tcp_socket {
            handler::tcp(&*self.runtime, &self.container, self.ip, action).await
        } else if let Some(action) = &self.probe.grpc {
            handler::grpc(&*self.runtime, self.ip, action).await
        } else {
            Err("the probe asks nothing".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unbroken_run_of_answers_counts() {
        let mut tally = Tally::default();
        let answers = [true, false, false, true, false, false, false];
        let verdicts: Vec<_> = answers.iter().map(|a| tally.count(*a, 1, 3)).collect();
        assert_eq!(verdicts, [Some(true), None, None, Some(true), None, None, Some(false)]);
    }
}
