//! The words of the command line.

mod at_rest;
mod audit;
pub mod authentication;
pub mod authorization;
pub mod certs;
mod limits;
pub mod token;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use skiff_nodeagent::RuntimeKind;

pub use at_rest::AtRest;
pub use audit::Audit;
pub use limits::Limits;

/// Skiff: a Kubernetes-compatible container orchestrator in one binary.
#[derive(Debug, Parser)]
#[command(name = "skiff", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What `skiff` can be.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole cluster in this process.
    Up(Up),
    /// Remove the containers, networks and rules that `up` made.
    Down(Down),
    /// Run the API server alone.
    Apiserver(Apiserver),
    /// Run the scheduler alone.
    Scheduler(Component),
    /// Run the controllers alone.
    Controller(Controller),
    /// Run a node agent alone.
    Nodeagent(Nodeagent),
    /// Run the service proxy and cluster DNS alone.
    Proxy(Proxy),
    /// Make, list and take back the tokens that new nodes join with.
    Token(token::Token),
    /// Show and renew the certificates of a data directory.
    Certs(certs::Certs),
    /// Print the completion script of a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where things are kept and served.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// Where the cluster's data, keys and kubeconfig are kept.
    #[arg(long, default_value_os_t = default_data_dir())]
    pub data_dir: PathBuf,
    /// Where the API is served.
    #[arg(long, default_value = "0.0.0.0:6443")]
    pub listen: SocketAddr,
    /// The address that others reach the API at; found out if not given.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// An etcd cluster to keep the data in, such as http://127.0.0.1:2379; embedded if not given.
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// How much is done at once.
    #[command(flatten)]
    pub limits: Limits,
    /// What is recorded of requests.
    #[command(flatten)]
    pub audit: Audit,
    /// How values are kept.
    #[command(flatten)]
    pub at_rest: AtRest,
    /// How many seconds a pod stays on a node that is not ready, unless the pod itself says so.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub default_not_ready_toleration_seconds: i64,
    /// How many seconds a pod stays on a node that cannot be reached, unless the pod itself says so.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub default_unreachable_toleration_seconds: i64,
    /// Admission plugins to switch on beyond the default ones, by Kubernetes' names.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Default admission plugins to switch off.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// A file that configures admission plugins, an AdmissionConfiguration.
    #[arg(long, value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,
    #[command(flatten)]
    pub authentication: authentication::Authentication,
    #[command(flatten)]
    pub authorization: authorization::Authorization,
}

/// `skiff up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    #[command(flatten)]
    pub server: Server,
    /// How many nodes to run here; none leaves the cluster to nodes that join.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub nodes: u16,
    /// Where the first node serves logs and exec to the API server; further nodes take the ports after it.
    #[arg(long, value_name = "PORT", default_value_t = 10250)]
    pub agent_port: u16,
    /// What runs the containers.
    #[arg(long, value_enum, default_value_t = Runtime::Docker)]
    pub runtime: Runtime,
    #[command(flatten)]
    pub lifecycle: Lifecycle,
    #[command(flatten)]
    pub signing: Signing,
}

/// For how long certificate requests are signed.
#[derive(Debug, Clone, Args)]
pub struct Signing {
    /// The longest life of a certificate that is signed on request.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    pub cluster_signing_duration: Duration,
}

/// How nodes are watched; the defaults are upstream's.
#[derive(Debug, Clone, Args)]
pub struct Lifecycle {
    /// How often heartbeats are looked at.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub node_monitor_period: Duration,
    /// How long a node may be silent before it is not ready.
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = duration)]
    pub node_monitor_grace_period: Duration,
    /// How long a new node may take to report for the first time.
    #[arg(long, value_name = "DURATION", default_value = "1m0s", value_parser = duration)]
    pub node_startup_grace_period: Duration,
    /// How many finished pods are kept before the oldest are deleted; 0 keeps all.
    #[arg(long, value_name = "N", default_value_t = 12_500)]
    pub terminated_pod_gc_threshold: usize,
}

impl Lifecycle {
    /// The controllers' settings, with these.
    pub fn config(&self) -> skiff_controller::Config {
        skiff_controller::Config {
            node_monitor_period: self.node_monitor_period,
            node_monitor_grace_period: self.node_monitor_grace_period,
            node_startup_grace_period: self.node_startup_grace_period,
            terminated_pod_gc_threshold: self.terminated_pod_gc_threshold,
            ..Default::default()
        }
    }
}

/// What runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// A Docker engine.
    Docker,
    /// None: containers are imagined.
    Simulated,
}

impl Runtime {
    /// What the node agent is told; where Docker is, DOCKER_HOST says.
    pub fn kind(self) -> RuntimeKind {
        match self {
            Self::Docker => RuntimeKind::Docker { host: None },
            Self::Simulated => RuntimeKind::Simulated,
        }
    }
}

/// `skiff down`.
#[derive(Debug, Clone, Args)]
pub struct Down {
    /// Where the cluster's data is kept.
    #[arg(long, default_value_os_t = default_data_dir())]
    pub data_dir: PathBuf,
    /// Remove the data too.
    #[arg(long)]
    pub purge: bool,
}

/// `skiff apiserver`.
#[derive(Debug, Clone, Args)]
pub struct Apiserver {
    #[command(flatten)]
    pub server: Server,
    /// Write credentials for a node agent of this name, and for the other components, to DIR/pki.
    #[arg(long, value_delimiter = ',')]
    pub credentials_for_nodes: Vec<String>,
}

/// What the scheduler and the controllers need to run alone.
#[derive(Debug, Clone, Args)]
pub struct Component {
    /// How to reach the API, and as whom.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Whether to wait for a Lease before doing anything, so that of several processes one acts.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub leader_elect: bool,
}

/// `skiff controller`.
#[derive(Debug, Clone, Args)]
pub struct Controller {
    #[command(flatten)]
    pub component: Component,
    /// The CA that pods verify the API with.
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// The CA that certificate requests are signed with; without it none is.
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// The key (PEM) that signs the tokens that Secrets hold; none are made without it.
    #[arg(long, value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,
    /// Whether nodes are given pod ranges.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub allocate_node_cidrs: bool,
    /// The range that nodes' pod ranges are cut from.
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16")]
    pub cluster_cidr: String,
    /// The prefix length of a node's pod range.
    #[arg(long, value_name = "BITS", default_value_t = 24)]
    pub node_cidr_mask_size: u8,
    #[command(flatten)]
    pub lifecycle: Lifecycle,
    #[command(flatten)]
    pub signing: Signing,
}

/// `skiff nodeagent`.
#[derive(Debug, Clone, Args)]
pub struct Nodeagent {
    /// How to reach the API, and as whom; what was kept when the node joined, if not given.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The API server of a cluster to join; `skiff token create` prints the whole command.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        requires = "token",
        requires = "ca_cert_hash",
        conflicts_with = "kubeconfig"
    )]
    pub join: Option<String>,
    /// The token to join with.
    #[arg(long, env = "SKIFF_JOIN_TOKEN", hide_env_values = true, value_name = "TOKEN", requires = "join")]
    pub token: Option<String>,
    /// What the cluster's CA is known by: sha256:…, may be given several times.
    #[arg(long, value_name = "HASH", requires = "join")]
    pub ca_cert_hash: Vec<String>,
    /// A `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1). Flags given here win over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The node's name; the host's if not given.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// The node's address; found out if not given.
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Labels of the node: key=value,…
    #[arg(long, value_name = "LABELS", value_delimiter = ',', value_parser = label)]
    pub node_labels: Vec<(String, String)>,
    /// The address at which the node serves logs and exec; 0.0.0.0 if nothing says otherwise.
    #[arg(long)]
    pub address: Option<IpAddr>,
    /// The port at which it does; 10250 if nothing says otherwise.
    #[arg(long)]
    pub port: Option<u16>,
    /// Where pods' files are kept.
    #[arg(long, visible_alias = "root-dir", value_name = "DIR", default_value = "/var/lib/skiff-node")]
    pub data_dir: PathBuf,
    /// The certificate that the node shows. Without one, logs and exec are not served.
    #[arg(long, value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    pub tls_private_key_file: Option<PathBuf>,
    /// The CA of the clients that are let in.
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// What runs the containers.
    #[arg(long, value_enum, default_value_t = Runtime::Docker)]
    pub runtime: Runtime,
}

/// `skiff proxy`.
#[derive(Debug, Clone, Args)]
pub struct Proxy {
    /// How to reach the API, and as whom; the configuration file may say it too.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// A `KubeProxyConfiguration` (kubeproxy.config.k8s.io/v1alpha1).
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The nodes on this machine; the host's name if not given.
    #[arg(long, value_delimiter = ',')]
    pub hostname_override: Vec<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    skiff_api::duration::parse(text).ok_or_else(|| "write it as 40s, 1m30s or 500ms".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `/var/lib/skiff` for root, below the home folder for others.
fn default_data_dir() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return "/var/lib/skiff".into();
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".local/share/skiff")
}
