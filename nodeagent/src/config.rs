//! What a node agent is told at its start.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Which engine runs the containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// A Docker engine.
    Docker {
        /// `unix:///…` or `tcp://…`; without it DOCKER_HOST, then the default socket.
        host: Option<String>,
    },
    /// Containers that exist in memory only.
    Simulated,
}

/// The node agent's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Node object.
    pub node_name: String,
    /// The engine.
    pub runtime: RuntimeKind,
    /// Where pods' volumes and files live; the agent makes `pods/` below it.
    pub data_dir: PathBuf,
    /// The node's address, as seen by pods and the API server.
    pub node_ip: IpAddr,
    /// Where the node's HTTPS server listens.
    pub listen: SocketAddr,
    /// Port told to the API server, when it differs from `listen` (0 there means: take any).
    pub advertise_port: Option<u16>,
    /// Certificate chain of the HTTPS server; without it no server is started.
    pub tls_cert_pem: Option<String>,
    /// Its private key.
    pub tls_key_pem: Option<String>,
    /// The authority that client certificates must come from.
    pub client_ca_pem: Option<String>,
    /// Addresses of the cluster's DNS service.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain, `cluster.local`.
    pub cluster_domain: String,
    /// The resolver file handed on to pods.
    pub resolv_conf: PathBuf,
    /// Further labels of the Node.
    pub labels: BTreeMap<String, String>,
    /// Taints the Node is registered with: `key=value:Effect`.
    pub taints: Vec<String>,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// The pod range, when it is not left to a controller.
    pub pod_cidr: Option<String>,
    /// How often the Lease is renewed.
    pub lease_interval: Duration,
    /// How often the Node's status is written though nothing changed.
    pub status_interval: Duration,
    /// Size at which the engine rotates a container's log.
    pub container_log_max_size: String,
}

impl Config {
    /// Settings for a node of this name and address, all else at its default.
    pub fn new(node_name: impl Into<String>, node_ip: IpAddr, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_name: node_name.into(),
            runtime: RuntimeKind::Docker { host: None },
            data_dir: data_dir.into(),
            node_ip,
            listen: SocketAddr::from(([0, 0, 0, 0], 10250)),
            advertise_port: None,
            tls_cert_pem: None,
            tls_key_pem: None,
            client_ca_pem: None,
            cluster_dns: vec![IpAddr::from([10, 96, 0, 10])],
            cluster_domain: "cluster.local".into(),
            resolv_conf: default_resolv_conf(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            max_pods: 110,
            pod_cidr: None,
            lease_interval: Duration::from_secs(10),
            status_interval: Duration::from_secs(300),
            container_log_max_size: "10m".into(),
        }
    }

    /// Folder of one pod's files.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.data_dir.join("pods").join(uid)
    }
}

/// systemd-resolved's stub on loopback is of no use inside a pod; its upstream file is.
fn default_resolv_conf() -> PathBuf {
    let resolved = PathBuf::from("/run/systemd/resolve/resolv.conf");
    if resolved.exists() { resolved } else { PathBuf::from("/etc/resolv.conf") }
}
