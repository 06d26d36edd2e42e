//! What the agent asks of an engine: a dozen calls, shaped like Kubernetes' CRI.

use std::{collections::BTreeMap, net::IpAddr, pin::Pin};

use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::io::AsyncWrite;

use crate::error::Result;

/// Labels that let a restarted agent know its containers again.
pub mod label {
    /// UID of the pod.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Namespace of the pod.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Name of the pod.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Name of the container in the pod.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// How often the container was restarted before this instance; the sandbox's attempt.
    pub const ATTEMPT: &str = "io.kubernetes.container.restartCount";
    /// The sandbox that the container lives in.
    pub const SANDBOX: &str = "io.kubernetes.sandbox.id";
    /// `podsandbox` or `container`.
    pub const TYPE: &str = "io.kubernetes.docker.type";
    /// The image as the pod names it.
    pub const IMAGE: &str = "skiff.dev/image";
    /// Name of the node; several nodes may share one engine.
    pub const NODE: &str = "skiff.dev/node";
    /// Grace period of the pod, for containers whose pod was removed while the agent was away.
    pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
    /// Host file that holds the container's termination message.
    pub const TERMINATION_FILE: &str = "skiff.dev/termination-file";
}

/// A host port that leads to a port of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Port inside.
    pub container_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// Address on the host; all when absent.
    pub host_ip: Option<String>,
}

/// What a sandbox is made of.
#[derive(Clone, Debug, Default)]
pub struct SandboxSpec {
    /// The engine's name for it.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The pod's host name.
    pub hostname: String,
    /// Uses the host's network.
    pub host_network: bool,
    /// Uses the host's processes.
    pub host_pid: bool,
    /// Uses the host's IPC.
    pub host_ipc: bool,
    /// Host ports.
    pub ports: Vec<PortMapping>,
    /// Kernel settings of the sandbox's namespaces.
    pub sysctls: BTreeMap<String, String>,
}

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    /// Path on the host.
    pub host: String,
    /// Path in the container.
    pub container: String,
    /// Not writable.
    pub read_only: bool,
    /// `rprivate`, `rslave` or `rshared`.
    pub propagation: &'static str,
}

/// Limits for the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Relative weight, cgroup v1 scale (1024 a core).
    pub cpu_shares: i64,
    /// Microseconds a 100 ms period; 0 is no limit.
    pub cpu_quota_us: i64,
    /// Bytes; 0 is no limit.
    pub memory_bytes: i64,
    /// Preference of the kernel's out-of-memory killer.
    pub oom_score_adj: i64,
}

/// What a container may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// `UID`, `UID:GID` or empty for the image's.
    pub user: String,
    /// Further groups.
    pub groups: Vec<i64>,
    /// All rights.
    pub privileged: bool,
    /// Capabilities added.
    pub cap_add: Vec<String>,
    /// Capabilities taken.
    pub cap_drop: Vec<String>,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// No program may gain rights.
    pub no_new_privs: bool,
    /// `/proc` is not masked.
    pub unmasked_proc: bool,
    /// `unconfined` when system calls are not filtered.
    pub seccomp: Option<String>,
}

/// What a container is made of.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// The engine's name for it.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Id of a present image.
    pub image: String,
    /// Replaces the image's entry point.
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Working directory; the image's when absent.
    pub working_dir: Option<String>,
    /// Mounts.
    pub mounts: Vec<MountSpec>,
    /// The sandbox whose namespaces it joins.
    pub sandbox: String,
    /// Uses the host's network.
    pub host_network: bool,
    /// Uses the host's processes.
    pub host_pid: bool,
    /// Uses the host's IPC.
    pub host_ipc: bool,
    /// Sees the processes of the sandbox.
    pub share_pid: bool,
    /// A terminal.
    pub tty: bool,
    /// Standard input stays open.
    pub stdin: bool,
    /// Standard input closes after the first attached client leaves.
    pub stdin_once: bool,
    /// Limits.
    pub resources: Resources,
    /// Rights.
    pub security: Security,
    /// Signal that asks it to end.
    pub stop_signal: Option<String>,
}

/// A sandbox as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Engine's id.
    pub id: String,
    /// Which try it is, from 0.
    pub attempt: u32,
    /// Whether its process runs.
    pub running: bool,
    /// Address; none with the host's network.
    pub ip: Option<IpAddr>,
    /// Process on the host.
    pub pid: Option<i32>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, not started.
    Created,
    /// Runs.
    Running {
        /// Since.
        started: Timestamp,
    },
    /// Ended.
    Exited {
        /// Start.
        started: Option<Timestamp>,
        /// End.
        finished: Timestamp,
        /// Exit code.
        code: i32,
        /// Ended by the kernel for lack of memory.
        oom: bool,
        /// Why it could not start, if so.
        error: String,
    },
}

/// A container as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Engine's id.
    pub id: String,
    /// Name in the pod.
    pub name: String,
    /// Restarts before this instance.
    pub attempt: u32,
    /// Its sandbox.
    pub sandbox: String,
    /// State.
    pub state: State,
    /// Image as the pod names it.
    pub image: String,
    /// Image as the engine names it.
    pub image_id: String,
    /// File with its last words.
    pub termination_file: Option<String>,
    /// Made at.
    pub created: Option<Timestamp>,
}

/// All that exists of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub containers: Vec<Container>,
}

impl Observed {
    /// The newest instance of a container.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest sandbox, if it runs.
    pub fn live_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.running)
    }

    /// Whether any container runs.
    pub fn any_running(&self) -> bool {
        self.containers.iter().any(|c| matches!(c.state, State::Running { .. }))
    }
}

/// A pod that the engine knows, by its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodKey {
    /// UID.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// An image as the engine has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Engine's id.
    pub id: String,
    /// Names with tag.
    pub tags: Vec<String>,
    /// Names with digest.
    pub digests: Vec<String>,
    /// Bytes.
    pub size: i64,
    /// The user that the image asks for.
    pub user: String,
}

/// Name and password for a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
    /// Registry.
    pub server: String,
}

/// A piece of a container's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Standard output, or the terminal.
    Out(Bytes),
    /// Standard error.
    Err(Bytes),
}

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Goes on with what comes.
    pub follow: bool,
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// Only since.
    pub since: Option<Timestamp>,
    /// Each line begins with its time.
    pub timestamps: bool,
}

/// A running exec or attach.
pub struct Session {
    /// Output.
    pub output: BoxStream<'static, Result<Chunk>>,
    /// Input.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// What to ask the exit code of; the container itself for attach.
    pub id: String,
}

/// How a command is run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// The command.
    pub command: Vec<String>,
    /// Input wanted.
    pub stdin: bool,
    /// Output wanted.
    pub stdout: bool,
    /// Errors wanted.
    pub stderr: bool,
    /// On a terminal.
    pub tty: bool,
}

/// The engine, for the Node's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// `docker://29.1`.
    pub version: String,
    /// Name of the operating system.
    pub os_image: String,
    /// Kernel.
    pub kernel: String,
    /// CPUs.
    pub cpus: i64,
    /// Bytes.
    pub memory_bytes: i64,
    /// Where the engine keeps images.
    pub root_dir: String,
}

/// An engine. Every call may fail with [`crate::Error::EngineDown`], and is asked again later.
#[async_trait::async_trait]
pub trait Runtime: Send + Sync {
    /// Whether containers exist in memory only: what asks them over the network is answered without asking.
    fn simulated(&self) -> bool {
        false
    }
    /// Whether it answers, and what it is.
    async fn info(&self) -> Result<EngineInfo>;
    /// Prepares what pods need: the sandbox image, the network with this range.
    async fn prepare(&self, pod_cidr: Option<&str>) -> Result<()>;
    /// Removes all that was made for this node.
    async fn clean(&self) -> Result<()>;
    /// The pods that have a sandbox or container.
    async fn pods(&self) -> Result<Vec<PodKey>>;
    /// All that exists of one pod.
    async fn observe(&self, uid: &str) -> Result<Observed>;
    /// UIDs of pods in which something happened; ends when the engine goes.
    async fn events(&self) -> Result<BoxStream<'static, Result<String>>>;
    /// Makes and starts a sandbox.
    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<String>;
    /// Makes a container.
    async fn create(&self, spec: &ContainerSpec) -> Result<String>;
    /// Starts it.
    async fn start(&self, id: &str) -> Result<()>;
    /// Asks it to end, and ends it after `grace_s`.
    async fn stop(&self, id: &str, grace_s: i64) -> Result<()>;
    /// Removes it; absent is well.
    async fn remove(&self, id: &str) -> Result<()>;
    /// Runs a command with streams.
    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<Session>;
    /// Exit code of an exec, once it ended.
    async fn exec_code(&self, exec: &str) -> Result<Option<i32>>;
    /// Sets the terminal of an exec or, with `exec` false, a container.
    async fn resize(&self, id: &str, exec: bool, width: u16, height: u16) -> Result<()>;
    /// Joins the streams of the main process.
    async fn attach(&self, id: &str, spec: &ExecSpec) -> Result<Session>;
    /// Reads the log.
    async fn logs(&self, id: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<Chunk>>>;
    /// An image, if present.
    async fn image(&self, name: &str) -> Result<Option<Image>>;
    /// Fetches an image.
    async fn pull(&self, name: &str, credentials: Option<Credentials>) -> Result<()>;
    /// All images.
    async fn images(&self) -> Result<Vec<Image>>;
}
