//! Starting one container: image, volumes, environment, then the engine.

use std::{net::IpAddr, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use skiff_runtime::event::Type;

use super::{
    Worker,
    act::{Done, run_hook},
};
use crate::{
    cri::Observed,
    dns,
    env::{Sources, environment},
    error::{Context, Error, Result},
    image,
    references::Resolved,
    spec::{Parts, container},
    step::{Failure, StopReason, Waiting},
    volume,
};

/// Why a start failed, for the status, and whether an event was recorded already.
struct Failed {
    reason: &'static str,
    error: Error,
}

impl Worker {
    pub(super) async fn start(
        &mut self,
        name: &str,
        attempt: u32,
        replaces: Option<&str>,
        observed: &Observed,
    ) -> Done {
        let (Some(wanted), Some(sandbox)) = (self.wanted(name), observed.live_sandbox()) else {
            return Done::Wait;
        };
        let pod = self.pod.clone();
        if let Some(id) = replaces
            && let Err(error) = self.shared.runtime.remove(id).await
        {
            tracing::warn!(%id, %error, "not removed");
            return Done::Failed;
        }
        // A pull may take long; a pod that goes away meanwhile does not wait for it.
        let mut incoming = self.incoming.clone();
        let leaving = async move {
            let leaves =
                |p: &Option<Arc<Pod>>| p.as_ref().is_none_or(|p| p.metadata.deletion_timestamp.is_some());
            if incoming.wait_for(leaves).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let ip = if pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true)) {
            Some(self.shared.config.node_ip)
        } else {
            sandbox.ip
        };
        let sandbox = sandbox.id.clone();
        let result = tokio::select! {
            result = self.try_start(&pod, &wanted, attempt, &sandbox, ip) => result,
            () = leaving => return Done::Again,
        };
        match result {
            Ok(()) => {
                self.memory.failures.remove(name);
                self.pull_tries.remove(name);
            }
            Err(failure) => {
                self.memory.failures.insert(name.to_owned(), failure);
            }
        }
        Done::Again
    }

    async fn try_start(
        &mut self,
        pod: &Pod,
        wanted: &Container,
        attempt: u32,
        sandbox: &str,
        ip: Option<IpAddr>,
    ) -> Result<(), Failure> {
        let name = wanted.name.clone();
        let later = |seconds| Timestamp::now() + SignedDuration::from_secs(seconds);
        let failure = |reason: &str, message: String, seconds| Failure {
            waiting: Waiting { reason: reason.to_owned(), message: Some(message) },
            retry_at: later(seconds),
        };
        let resolved = match self.shared.references.resolve(pod).await {
            Ok(resolved) => resolved,
            Err(error) => {
                self.event(None, Type::Warning, "FailedMount", error.to_string());
                return Err(failure("ContainerCreating", error.to_string(), 2));
            }
        };
        let paths = match self.volumes(pod, &resolved, ip).await {
            Ok(paths) => paths,
            Err(error) => {
                self.event(None, Type::Warning, "FailedMount", error.to_string());
                return Err(Failure {
                    waiting: Waiting { reason: "ContainerCreating".into(), message: None },
                    retry_at: later(3),
                });
            }
        };
        let tries = self.pull_tries.get(&name).copied().unwrap_or_default();
        let runtime = self.shared.runtime.clone();
        let outcome = image::ensure(&*runtime, pod, wanted, &resolved, tries, Timestamp::now()).await;
        for (warning, reason, text) in outcome.events {
            self.event(Some(&name), if warning { Type::Warning } else { Type::Normal }, reason, text);
        }
        let image = outcome.result.inspect_err(|_| {
            *self.pull_tries.entry(name.clone()).or_default() += 1;
        });
        // The wait counts from the end of the pull, which may itself have been long.
        let image =
            image.map_err(|f| Failure { retry_at: later(image::pull_delay(tries).as_secs()), ..f })?;
        match self.make(pod, wanted, attempt, sandbox, ip, &resolved, &paths, &image).await {
            Ok(id) => self.after_start(wanted, &id, ip).await,
            Err(Failed { reason, error }) => {
                self.event(Some(&name), Type::Warning, "Failed", format!("Error: {error}"));
                return Err(failure(reason, error.to_string(), 10));
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    async fn make(
        &self,
        pod: &Pod,
        wanted: &Container,
        attempt: u32,
        sandbox: &str,
        ip: Option<IpAddr>,
        resolved: &Resolved,
        paths: &volume::Paths,
        image: &crate::cri::Image,
    ) -> Result<String, Failed> {
        let config = |error| Failed { reason: "CreateContainerConfigError", error };
        let services = self.shared.services.list();
        let allocatable = self.shared.allocatable();
        let node_ip = self.shared.config.node_ip;
        let sources = Sources { pod, pod_ip: ip, node_ip, resolved, services: &services, allocatable };
        let env = environment(wanted, &sources).map_err(config)?;
        let dir = self.shared.config.pod_dir(&self.uid);
        let parts =
            Parts { image, env, volumes: paths, dir: &dir, sandbox, node_memory: allocatable.memory_bytes };
        let spec = container(pod, wanted, attempt, parts).map_err(config)?;
        let runtime = &self.shared.runtime;
        let id =
            runtime.create(&spec).await.map_err(|error| Failed { reason: "CreateContainerError", error })?;
        self.event(
            Some(&wanted.name),
            Type::Normal,
            "Created",
            format!("Created container: {}", wanted.name),
        );
        if let Err(error) = runtime.start(&id).await {
            // Left in place: its state and message are shown, and it counts as one restart.
            return Err(Failed { reason: "RunContainerError", error });
        }
        self.event(Some(&wanted.name), Type::Normal, "Started", format!("Started container {}", wanted.name));
        Ok(id)
    }

    async fn after_start(&mut self, wanted: &Container, id: &str, ip: Option<IpAddr>) {
        let Some(hook) = wanted.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return };
        let ip = ip.unwrap_or(self.shared.config.node_ip);
        if let Err(text) = run_hook(&*self.shared.runtime, id, wanted, hook, ip).await {
            // What the hook said may be secret: it is logged, and not told.
            tracing::info!(%id, %text, "hook after the start failed");
            self.event(Some(&wanted.name), Type::Warning, "FailedPostStartHook", "PostStartHook failed");
            let grace_s = self.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
            self.stop(id, &wanted.name, grace_s.unwrap_or(30), &StopReason::PostStart);
        }
    }

    /// Has what volumes and environment are made of, and the tokens, at hand. What cannot be had is told by the start that
    /// lacks it.
    pub(super) async fn fetch_ahead(&mut self) {
        let pod = self.pod.clone();
        let tokens = self.tokens.get(&self.shared.client, &pod, Timestamp::now());
        let (_, tokens) = tokio::join!(self.shared.references.resolve(&pod), tokens);
        if let Err(error) = tokens {
            tracing::debug!(pod = %self.uid, %error, "no tokens yet");
        }
    }

    /// Makes the pod's volumes and its resolver and hosts files.
    async fn volumes(&mut self, pod: &Pod, resolved: &Resolved, ip: Option<IpAddr>) -> Result<volume::Paths> {
        let (tokens, due) = self.tokens.get(&self.shared.client, pod, Timestamp::now()).await?;
        self.token_due = due;
        let config = &self.shared.config;
        let dir = config.pod_dir(&self.uid);
        std::fs::create_dir_all(&dir).context(|| format!("create {}", dir.display()))?;
        let spec = pod.spec.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let host = dns::Resolver::parse(&std::fs::read_to_string(&config.resolv_conf).unwrap_or_default());
        let resolver = dns::resolver(&spec, namespace, &host, &config.cluster_dns, &config.cluster_domain);
        put(&dir.join("resolv.conf"), &resolver.render())?;
        if let Some(ip) = ip {
            let host_file = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            put(&dir.join("etc-hosts"), &dns::hosts(pod, ip, &config.cluster_domain, &host_file))?;
        }
        volume::set_up(&volume::Inputs {
            pod,
            dir: &dir,
            resolved,
            tokens: &tokens,
            pod_ip: ip,
            node_ip: config.node_ip,
            allocatable: self.shared.allocatable(),
        })
    }

    /// Brings the volumes of a running pod up to date, when something that they show has changed.
    pub(super) async fn keep_volumes(&mut self, observed: &Observed, now: Timestamp) {
        let due = self.token_due.is_some_and(|at| at <= now);
        let refresh = self.refresh_wanted();
        // What was lacking may be there now.
        if refresh {
            for failure in self.memory.failures.values_mut() {
                if matches!(
                    failure.waiting.reason.as_str(),
                    "CreateContainerConfigError" | "ContainerCreating"
                ) {
                    failure.retry_at = now;
                    self.wake.notify_one();
                }
            }
        }
        if !(due || refresh) || !observed.any_running() || self.memory.stage != crate::step::Stage::Syncing {
            return;
        }
        let pod = self.pod.clone();
        let updated = match self.shared.references.resolve(&pod).await {
            Ok(resolved) => self.volumes(&pod, &resolved, self.last_ip).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = updated {
            tracing::warn!(pod = %self.uid, %error, "volumes not brought up to date");
            self.token_due = self.token_due.map(|_| now + SignedDuration::from_secs(30));
        }
    }
}

/// Writes in place, if different: the file is mounted, so it must stay the same inode. A container's own changes to its
/// hosts file are kept as long as ours stays as it was at the start.
fn put(path: &std::path::Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).context(|| format!("write {}", path.display()))
}
