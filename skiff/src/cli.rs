//! The words of the command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
}

/// `skiff up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    #[command(flatten)]
    pub server: Server,
    /// How many nodes to run here; none leaves the cluster to nodes that join.
    #[arg(long, default_value_t = 1)]
    pub nodes: u16,
    /// What runs the containers.
    #[arg(long, value_enum, default_value_t = Runtime::Docker)]
    pub runtime: Runtime,
    #[command(flatten)]
    pub lifecycle: Lifecycle,
}

/// How nodes are watched; the defaults are upstream's.
#[derive(Debug, Clone, Args)]
pub struct Lifecycle {
    /// How often heartbeats are looked at, in seconds.
    #[arg(long, default_value_t = 5)]
    pub node_monitor_period: u64,
    /// How long a node may be silent before it is not ready, in seconds.
    #[arg(long, default_value_t = 50)]
    pub node_monitor_grace_period: u64,
}

/// What runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// A Docker engine.
    Docker,
    /// None: containers are imagined.
    Simulated,
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

/// A component that needs a way to the API and nothing else.
#[derive(Debug, Clone, Args)]
pub struct Component {
    /// How to reach the API, and as whom.
    #[arg(long)]
    pub kubeconfig: PathBuf,
}

/// `skiff controller`.
#[derive(Debug, Clone, Args)]
pub struct Controller {
    #[command(flatten)]
    pub component: Component,
    /// The CA that pods verify the API with.
    #[arg(long)]
    pub root_ca_file: Option<PathBuf>,
    #[command(flatten)]
    pub lifecycle: Lifecycle,
}

/// `skiff nodeagent`.
#[derive(Debug, Clone, Args)]
pub struct Nodeagent {
    /// How to reach the API, and as whom; without it, from the configuration file.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// A `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1).
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The node's name; the host's if not given.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// The node's address; found out if not given.
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Where the node serves logs and exec.
    #[arg(long, default_value = "0.0.0.0:10250")]
    pub listen: SocketAddr,
    /// Where pods' files are kept.
    #[arg(long, default_value = "/var/lib/skiff-node")]
    pub data_dir: PathBuf,
    /// The certificate that the node shows.
    #[arg(long)]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    pub tls_private_key_file: Option<PathBuf>,
    /// The CA of the clients that are let in.
    #[arg(long)]
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

/// `/var/lib/skiff` for root, below the home folder for others.
fn default_data_dir() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return "/var/lib/skiff".into();
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".local/share/skiff")
}
