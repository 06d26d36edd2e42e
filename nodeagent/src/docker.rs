//! The engine is Docker, 20.10 (API 1.41) or newer, reached through bollard.
//!
//! A pod is a sandbox container that holds its network and IPC namespaces, and containers that join it. Docker's own
//! restart policy is never used: what runs again, and when, is decided by [`crate::step`].

mod create;
mod image;
mod network;
mod observe;
mod pause;
mod stream;

use std::{collections::HashMap, time::Duration};

use bollard::{
    Docker,
    query_parameters::{
        EventsOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
        StartContainerOptions, StopContainerOptionsBuilder,
    },
};
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::OnceCell;

use crate::{
    config::LogLimits,
    cri::{
        Chunk, ContainerSpec, Credentials, EngineInfo, ExecSpec, Image, LogQuery, Observed, PodKey, Runtime,
        SandboxSpec, Session, label,
    },
    error::{Error, Result},
};

/// The engine may take long to make a container on a loaded machine, but not for ever.
const TIMEOUT_S: u64 = 120;

/// A node on a Docker engine.
pub struct DockerRuntime {
    node: String,
    logs: LogLimits,
    host: Option<String>,
    /// Connected when it is first needed: an engine that has never run has not even a socket.
    docker: OnceCell<Docker>,
}

impl DockerRuntime {
    /// Does not connect yet: the engine may come later.
    pub fn new(host: Option<&str>, node: &str, logs: &LogLimits) -> Self {
        let host =
            host.map(str::to_owned).or_else(|| std::env::var("DOCKER_HOST").ok()).filter(|h| !h.is_empty());
        Self { node: node.to_owned(), logs: logs.clone(), host, docker: OnceCell::new() }
    }

    /// The client, with the API version that both sides speak.
    async fn docker(&self) -> Result<&Docker> {
        self.docker.get_or_try_init(|| connect(self.host.as_deref())).await
    }

    /// Filters that keep what belongs to this node.
    fn mine(&self, more: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
        let mut labels = vec![format!("{}={}", label::NODE, self.node)];
        labels.extend(more.iter().map(|(k, v)| format!("{k}={v}")));
        HashMap::from([("label".to_owned(), labels)])
    }
}

async fn connect(host: Option<&str>) -> Result<Docker> {
    let version = bollard::API_DEFAULT_VERSION;
    let docker = match host {
        None => Docker::connect_with_unix("/var/run/docker.sock", TIMEOUT_S, version),
        Some(h) if h.starts_with("unix://") || h.starts_with('/') => {
            Docker::connect_with_unix(h, TIMEOUT_S, version)
        }
        Some(h) => Docker::connect_with_http(h, TIMEOUT_S, version),
    };
    let asked = docker.map_err(engine_error)?.negotiate_version();
    match tokio::time::timeout(Duration::from_secs(10), asked).await {
        Ok(result) => result.map_err(engine_error),
        Err(_) => Err(Error::EngineDown("no answer within 10 s".into())),
    }
}

/// bollard's errors, told apart by whether the engine answered.
pub(crate) fn engine_error(error: bollard::errors::Error) -> Error {
    use bollard::errors::Error as E;
    match error {
        E::DockerResponseServerError { status_code, message } => {
            Error::Engine { status: status_code, message: message.trim().to_owned() }
        }
        E::DockerStreamError { error } => Error::Engine { status: 500, message: error.trim().to_owned() },
        other => Error::EngineDown(chain(&other)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    text
}

#[async_trait::async_trait]
impl Runtime for DockerRuntime {
    async fn info(&self) -> Result<EngineInfo> {
        let docker = self.docker().await?;
        let asked = tokio::time::timeout(Duration::from_secs(15), docker.info()).await;
        let info =
            asked.map_err(|_| Error::EngineDown("no answer within 15 s".into()))?.map_err(engine_error)?;
        Ok(EngineInfo {
            version: format!("docker://{}", info.server_version.unwrap_or_default()),
            os_image: info.operating_system.unwrap_or_default(),
            kernel: info.kernel_version.unwrap_or_default(),
            cpus: info.ncpu.unwrap_or_default(),
            memory_bytes: info.mem_total.unwrap_or_default(),
            root_dir: info.docker_root_dir.unwrap_or_default(),
        })
    }

    async fn prepare(&self, pod_cidr: Option<&str>) -> Result<()> {
        pause::ensure(self.docker().await?).await?;
        match pod_cidr {
            Some(cidr) => network::ensure(self.docker().await?, &self.node, cidr).await,
            None => Ok(()),
        }
    }

    async fn clean(&self) -> Result<()> {
        let docker = self.docker().await?;
        let options = ListContainersOptionsBuilder::default().all(true).filters(&self.mine(&[])).build();
        let found = docker.list_containers(Some(options)).await.map_err(engine_error)?;
        let ids = found.into_iter().filter_map(|c| c.id);
        let removed = futures::stream::iter(ids)
            .map(|id| async move { self.remove(&id).await })
            .buffer_unordered(8)
            .collect::<Vec<_>>()
            .await;
        removed.into_iter().collect::<Result<Vec<()>>>()?;
        network::remove(docker, &self.node).await?;
        pause::remove(docker).await
    }

    async fn pods(&self) -> Result<Vec<PodKey>> {
        observe::pods(self.docker().await?, &self.mine(&[])).await
    }

    async fn observe(&self, uid: &str) -> Result<Observed> {
        observe::observe(self.docker().await?, &self.mine(&[(label::POD_UID, uid)]), &self.node).await
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<String>>> {
        let docker = self.docker().await?.clone();
        let mut filters = self.mine(&[]);
        filters.insert("type".into(), vec!["container".into()]);
        filters.insert("event".into(), ["start", "die", "oom", "destroy"].map(String::from).to_vec());
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        // Of a cloned client the stream does not borrow.
        let events = async_stream(docker, move |docker| docker.events(Some(options)).boxed());
        Ok(events
            .filter_map(|event| async move {
                match event {
                    Ok(event) => event.actor?.attributes?.remove(label::POD_UID).map(Ok),
                    Err(error) => Some(Err(engine_error(error))),
                }
            })
            .boxed())
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<String> {
        let docker = self.docker().await?;
        let body = create::sandbox(spec, &self.node, &self.logs);
        let id = match create::create(docker, &spec.name, body.clone()).await {
            // The image may have been pruned since the start.
            Err(error) if error.is_not_found() => {
                pause::ensure(docker).await?;
                create::create(docker, &spec.name, body).await?
            }
            other => other?,
        };
        if let Err(error) = self.start(&id).await {
            // A sandbox that never ran is of no use, and its name is wanted for the next try.
            let _ = self.remove(&id).await;
            return Err(error);
        }
        Ok(id)
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        create::create(self.docker().await?, &spec.name, create::container(spec, &self.node, &self.logs))
            .await
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.docker().await?.start_container(id, None::<StartContainerOptions>).await.map_err(engine_error)
    }

    async fn stop(&self, id: &str, grace_s: i64) -> Result<()> {
        let grace = i32::try_from(grace_s.max(0)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(grace).build();
        // The engine answers when the container ended, so it must be given the whole grace period.
        let timeout = Duration::from_secs(TIMEOUT_S.saturating_add(grace.unsigned_abs().into()));
        let docker = self.docker().await?.clone().with_timeout(timeout);
        match docker.stop_container(id, Some(options)).await.map_err(engine_error) {
            Err(Error::Engine { status: 304 | 404, .. }) => Ok(()),
            other => other,
        }
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker().await?.remove_container(id, Some(options)).await.map_err(engine_error) {
            // 409: another removal is under way.
            Err(Error::Engine { status: 404 | 409, .. }) => Ok(()),
            other => other,
        }
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<Session> {
        stream::exec(self.docker().await?, id, spec).await
    }

    async fn exec_code(&self, exec: &str) -> Result<Option<i32>> {
        stream::exec_code(self.docker().await?, exec).await
    }

    async fn resize(&self, id: &str, exec: bool, width: u16, height: u16) -> Result<()> {
        stream::resize(self.docker().await?, id, exec, width, height).await
    }

    async fn attach(&self, id: &str, spec: &ExecSpec) -> Result<Session> {
        stream::attach(self.docker().await?, id, spec).await
    }

    async fn logs(&self, id: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<Chunk>>> {
        Ok(stream::logs(self.docker().await?.clone(), id, query))
    }

    async fn image(&self, name: &str) -> Result<Option<Image>> {
        image::find(self.docker().await?, name).await
    }

    async fn pull(&self, name: &str, credentials: Option<Credentials>) -> Result<()> {
        image::pull(self.docker().await?, name, credentials).await
    }

    async fn images(&self) -> Result<Vec<Image>> {
        image::list(self.docker().await?).await
    }
}

/// Runs a stream that borrows the client in a task of its own, and hands its items on.
fn async_stream<T: Send + 'static>(
    docker: Docker,
    make: impl FnOnce(&Docker) -> futures::stream::BoxStream<'_, T> + Send + 'static,
) -> BoxStream<'static, T> {
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        let mut stream = make(&docker);
        loop {
            let item = tokio::select! {
                item = stream.next() => item,
                () = sender.closed() => None,
            };
            let Some(item) = item else { return };
            if sender.send(item).await.is_err() {
                return;
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver).boxed()
}
