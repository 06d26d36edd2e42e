//! An engine without containers: what is started runs at once, in memory, with an invented address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, stream::BoxStream};
use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::{
    cri::{
        Chunk, Container, ContainerSpec, Credentials, EngineInfo, ExecSpec, Image, LogQuery, Observed,
        PodKey, Runtime, Sandbox, SandboxSpec, Session, State, label,
    },
    error::{Error, Result},
};

/// Where addresses begin when the node has no range.
const FALLBACK_RANGE: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 0);

#[derive(Default)]
struct World {
    next: u64,
    range: Option<Ipv4Addr>,
    next_ip: u32,
    pods: HashMap<String, (PodKey, Observed)>,
    /// Which pod a container or sandbox belongs to.
    owners: HashMap<String, String>,
}

/// A node without containers.
pub struct SimulatedRuntime {
    world: Mutex<World>,
    events: broadcast::Sender<String>,
}

impl Default for SimulatedRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedRuntime {
    /// An empty one.
    pub fn new() -> Self {
        Self { world: Mutex::default(), events: broadcast::channel(1024).0 }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a running container, as if its program had.
    pub fn exit(&self, id: &str, code: i32) {
        self.change(id, |c| {
            if let State::Running { started } = c.state {
                let finished = Timestamp::now();
                c.state = State::Exited {
                    started: Some(started),
                    finished,
                    code,
                    oom: false,
                    error: String::new(),
                };
            }
        });
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Container)) {
        let mut world = self.world();
        let Some(uid) = world.owners.get(id).cloned() else { return };
        let pod = world.pods.get_mut(&uid).map(|(_, observed)| observed);
        if let Some(container) = pod.and_then(|p| p.containers.iter_mut().find(|c| c.id == id)) {
            change(container);
        }
        drop(world);
        let _ = self.events.send(uid);
    }
}

fn key(labels: &std::collections::BTreeMap<String, String>) -> PodKey {
    let get = |name: &str| labels.get(name).cloned().unwrap_or_default();
    PodKey { uid: get(label::POD_UID), namespace: get(label::POD_NAMESPACE), name: get(label::POD_NAME) }
}

fn attempt(labels: &std::collections::BTreeMap<String, String>) -> u32 {
    labels.get(label::ATTEMPT).and_then(|a| a.parse().ok()).unwrap_or_default()
}

impl World {
    fn id(&mut self) -> String {
        self.next += 1;
        format!("{:064x}", self.next)
    }
}

#[async_trait::async_trait]
impl Runtime for SimulatedRuntime {
    fn simulated(&self) -> bool {
        true
    }

    async fn info(&self) -> Result<EngineInfo> {
        Ok(EngineInfo {
            version: "simulated://1.0".into(),
            os_image: "simulated".into(),
            kernel: "simulated".into(),
            cpus: 32,
            memory_bytes: 256 << 30,
            root_dir: "/".into(),
        })
    }

    async fn prepare(&self, pod_cidr: Option<&str>) -> Result<()> {
        let base = pod_cidr.and_then(|c| c.split('/').next()?.parse().ok());
        self.world().range = base.or(Some(FALLBACK_RANGE));
        Ok(())
    }

    async fn clean(&self) -> Result<()> {
        *self.world() = World::default();
        Ok(())
    }

    async fn pods(&self) -> Result<Vec<PodKey>> {
        Ok(self.world().pods.values().map(|(key, _)| key.clone()).collect())
    }

    async fn observe(&self, uid: &str) -> Result<Observed> {
        Ok(self.world().pods.get(uid).map(|(_, observed)| observed.clone()).unwrap_or_default())
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<String>>> {
        let events = tokio_stream::wrappers::BroadcastStream::new(self.events.subscribe());
        // A lost event is made good by the next pass.
        Ok(events.filter_map(|e| async move { e.ok().map(Ok) }).chain(futures::stream::pending()).boxed())
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<String> {
        let mut world = self.world();
        let id = world.id();
        world.next_ip = (world.next_ip + 1) % 252;
        let base = world.range.unwrap_or(FALLBACK_RANGE);
        let ip =
            (!spec.host_network).then(|| IpAddr::from(Ipv4Addr::from(u32::from(base) + 2 + world.next_ip)));
        let key = key(&spec.labels);
        world.owners.insert(id.clone(), key.uid.clone());
        let sandbox =
            Sandbox { id: id.clone(), attempt: attempt(&spec.labels), running: true, ip, pid: None };
        world
            .pods
            .entry(key.uid.clone())
            .or_insert_with(|| (key, Observed::default()))
            .1
            .sandboxes
            .insert(0, sandbox);
        Ok(id)
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        let mut world = self.world();
        let id = world.id();
        let key = key(&spec.labels);
        world.owners.insert(id.clone(), key.uid.clone());
        let get = |name: &str| spec.labels.get(name).cloned().unwrap_or_default();
        let container = Container {
            id: id.clone(),
            name: get(label::CONTAINER_NAME),
            attempt: attempt(&spec.labels),
            sandbox: spec.sandbox.clone(),
            state: State::Created,
            image: get(label::IMAGE),
            image_id: spec.image.clone(),
            termination_file: None,
            created: Some(Timestamp::now()),
        };
        world
            .pods
            .entry(key.uid.clone())
            .or_insert_with(|| (key, Observed::default()))
            .1
            .containers
            .insert(0, container);
        Ok(id)
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.change(id, |c| c.state = State::Running { started: Timestamp::now() });
        Ok(())
    }

    async fn stop(&self, id: &str, _grace_s: i64) -> Result<()> {
        self.exit(id, 0);
        let mut world = self.world();
        if let Some(uid) = world.owners.get(id).cloned()
            && let Some((_, pod)) = world.pods.get_mut(&uid)
            && let Some(sandbox) = pod.sandboxes.iter_mut().find(|s| s.id == id)
        {
            sandbox.running = false;
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let mut world = self.world();
        let Some(uid) = world.owners.remove(id) else { return Ok(()) };
        if let Some((_, pod)) = world.pods.get_mut(&uid) {
            pod.containers.retain(|c| c.id != id);
            pod.sandboxes.retain(|s| s.id != id);
            if pod.containers.is_empty() && pod.sandboxes.is_empty() {
                world.pods.remove(&uid);
            }
        }
        Ok(())
    }

    async fn exec(&self, _id: &str, _spec: &ExecSpec) -> Result<Session> {
        Ok(Session {
            output: futures::stream::empty().boxed(),
            input: Box::pin(tokio::io::sink()),
            id: "simulated".into(),
        })
    }

    async fn exec_code(&self, _exec: &str) -> Result<Option<i32>> {
        Ok(Some(0))
    }

    async fn resize(&self, _id: &str, _exec: bool, _width: u16, _height: u16) -> Result<()> {
        Ok(())
    }

    async fn attach(&self, _id: &str, _spec: &ExecSpec) -> Result<Session> {
        Err(Error::Invalid("a simulated container has no streams".into()))
    }

    async fn logs(&self, _id: &str, _query: &LogQuery) -> Result<BoxStream<'static, Result<Chunk>>> {
        Ok(futures::stream::empty().boxed())
    }

    async fn image(&self, name: &str) -> Result<Option<Image>> {
        use sha2::Digest;
        let digest: String =
            sha2::Sha256::digest(name.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        Ok(Some(Image { id: format!("sha256:{digest}"), tags: vec![name.to_owned()], ..Image::default() }))
    }

    async fn pull(&self, _name: &str, _credentials: Option<Credentials>) -> Result<()> {
        Ok(())
    }

    async fn images(&self) -> Result<Vec<Image>> {
        Ok(Vec::new())
    }
}
