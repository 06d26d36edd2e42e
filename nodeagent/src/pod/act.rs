//! Doing what was planned.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use skiff_runtime::event::Type;

use super::{Worker, reference, reference_to};
use crate::{
    cri::{Observed, Runtime},
    error::{Error, Result},
    handler, serving,
    step::{Action, Failure, StopReason, Waiting},
    volume,
};

/// However short the grace period, a container has so many seconds, as upstream.
const MIN_GRACE_S: i64 = 2;

/// What came of an action.
pub enum Done {
    /// Look again at once.
    Again,
    /// Something else will wake us.
    Wait,
    /// Try again a little later.
    Failed,
    /// Nothing is left of the pod.
    Ended,
}

impl Worker {
    pub(super) fn event(&self, container: Option<&str>, kind: Type, reason: &str, text: impl Into<String>) {
        let about = match container {
            Some(name) => reference_to(&self.pod, name),
            None => reference(&self.pod),
        };
        self.shared.recorder.event(&about, kind, reason, text);
    }

    pub(super) fn wanted(&self, name: &str) -> Option<Container> {
        let spec = self.pod.spec.as_ref()?;
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name).cloned()
    }

    pub(super) async fn act(&mut self, action: &Action, observed: &Observed) -> Done {
        match action {
            Action::RunSandbox { attempt } => self.run_sandbox(*attempt).await,
            Action::Start { name, attempt, replaces, backoff } => {
                let done = self.start(name, *attempt, replaces.as_deref(), observed).await;
                if let (Done::Again, Some(backoff)) = (&done, backoff) {
                    self.memory.backoff.insert(name.clone(), *backoff);
                }
                done
            }
            Action::Stop { id, name, grace_s, reason } => {
                self.stop(id, name, *grace_s, reason);
                Done::Wait
            }
            Action::StopSandbox { id } => self.plain(self.shared.runtime.stop(id, 0).await),
            Action::Remove { id } => match self.shared.runtime.remove(id).await {
                Ok(()) => Done::Wait,
                Err(error) => self.plain(Err(error)),
            },
            Action::Finish => self.finish(observed).await,
        }
    }

    fn plain(&self, result: Result<()>) -> Done {
        match result {
            Ok(()) => Done::Again,
            Err(error) => {
                tracing::warn!(pod = %self.uid, %error, "engine refused");
                Done::Failed
            }
        }
    }

    async fn run_sandbox(&mut self, attempt: u32) -> Done {
        let host_network = self.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
        let ready = self.shared.engine.borrow().network_ready;
        let result = if host_network || ready {
            let spec = crate::spec::sandbox(&self.pod, attempt, &self.shared.config.cluster_domain);
            let runtime = self.shared.runtime.clone();
            // What the first container will need is fetched meanwhile.
            tokio::join!(runtime.run_sandbox(&spec), self.fetch_ahead()).0
        } else {
            let mut engine = self.shared.engine.clone();
            // Waits for the network, but not past the pod's own changes.
            let waited =
                tokio::time::timeout(Duration::from_secs(2), engine.wait_for(|e| e.network_ready)).await;
            match waited {
                Ok(Ok(_)) => return Done::Again,
                _ => Err(Error::Invalid("network is not ready: the node has no pod range yet".into())),
            }
        };
        match result {
            Ok(_) => {
                self.memory.sandbox_failure = None;
                Done::Again
            }
            Err(error) => {
                let text = format!("Failed to create pod sandbox: {error}");
                self.event(None, Type::Warning, "FailedCreatePodSandBox", text.clone());
                let retry_at = Timestamp::now() + SignedDuration::from_secs(5);
                let waiting = Waiting { reason: "ContainerCreating".into(), message: Some(text) };
                self.memory.sandbox_failure = Some(Failure { waiting, retry_at });
                Done::Again
            }
        }
    }

    /// Begins to stop a container; the task goes on meanwhile.
    pub(super) fn stop(&mut self, id: &str, name: &str, grace_s: i64, reason: &StopReason) {
        self.memory.stopping.insert(id.to_owned(), grace_s);
        let text = match reason {
            StopReason::PodEnds => format!("Stopping container {name}"),
            StopReason::SandboxLost => format!("Stopping container {name}: its sandbox is gone"),
            StopReason::Liveness => format!("Container {name} failed liveness probe, will be restarted"),
            StopReason::Startup => format!("Container {name} failed startup probe, will be restarted"),
            StopReason::PostStart => "FailedPostStartHook".to_owned(),
        };
        self.event(Some(name), Type::Normal, "Killing", text);
        let leaving = match reason {
            StopReason::PodEnds
                if grace_s > 0 && serving::services_of(&self.services(), &self.pod).next().is_some() =>
            {
                serving::LEAVING
            }
            _ => Duration::ZERO,
        };
        let hook = self.wanted(name).and_then(|c| Some((c.clone(), c.lifecycle?.pre_stop?)));
        let ip = self.last_ip.unwrap_or(self.shared.config.node_ip);
        let (runtime, stopped, wake) = (self.shared.runtime.clone(), self.stopped.clone(), self.wake.clone());
        let (id, recorder, about) =
            (id.to_owned(), self.shared.recorder.clone(), reference_to(&self.pod, name));
        tokio::spawn(async move {
            let begun = Instant::now();
            if let Some((container, hook)) = hook.filter(|_| grace_s > 0) {
                // The hook's time is taken from the grace period.
                let limit = Duration::from_secs(grace_s.unsigned_abs());
                let run = run_hook(&*runtime, &id, &container, &hook, ip);
                if let Ok(Err(text)) = tokio::time::timeout(limit, run).await {
                    tracing::info!(%id, %text, "hook before the stop failed");
                    recorder.event(&about, Type::Warning, "FailedPreStopHook", "PreStopHook failed");
                }
            }
            tokio::time::sleep(leaving.saturating_sub(begun.elapsed())).await;
            let used = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
            let rest = (grace_s - used).max(MIN_GRACE_S);
            if let Err(error) = runtime.stop(&id, rest).await {
                tracing::warn!(%id, %error, "container not stopped");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            stopped.lock().unwrap_or_else(PoisonError::into_inner).push(id);
            wake.notify_one();
        });
    }

    /// Removes all that is left, then the API object.
    async fn finish(&mut self, observed: &Observed) -> Done {
        let ids = observed.containers.iter().map(|c| &c.id).chain(observed.sandboxes.iter().map(|s| &s.id));
        for id in ids {
            if let Err(error) = self.shared.runtime.remove(id).await {
                return self.plain(Err(error));
            }
        }
        if let Err(error) = volume::tear_down(&self.shared.config.pod_dir(&self.uid)) {
            tracing::warn!(pod = %self.uid, %error, "folder not removed");
        }
        if self.gone {
            return Done::Ended;
        }
        let (name, namespace) = (self.pod.metadata.name.clone(), self.pod.metadata.namespace.clone());
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &namespace.unwrap_or_default());
        let uid = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(uid),
            ..DeleteParams::default()
        };
        match api.delete(&name.unwrap_or_default(), &params).await {
            Ok(_) => Done::Ended,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Done::Ended,
            Err(error) => {
                tracing::warn!(pod = %self.uid, %error, "pod not deleted");
                Done::Failed
            }
        }
    }
}

/// Runs a lifecycle hook.
pub(super) async fn run_hook(
    runtime: &dyn Runtime,
    id: &str,
    container: &Container,
    hook: &LifecycleHandler,
    ip: std::net::IpAddr,
) -> handler::Found {
    if let Some(action) = &hook.exec {
        handler::exec(runtime, id, action).await
    } else if let Some(action) = &hook.http_get {
        handler::http(runtime, container, ip, action).await
    } else if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(action.seconds.unsigned_abs())).await;
        Ok(String::new())
    } else {
        Err("invalid handler".into())
    }
}
