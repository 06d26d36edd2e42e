//! What a node agent is told at its start.

mod file;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{certificate::Rotation, field::Allocatable};

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
    /// Whether the node's HTTPS server runs.
    pub serve: bool,
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
    /// What the node's provider calls it.
    pub provider_id: Option<String>,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// What is kept from pods, for the system and for Skiff.
    pub reserved: Allocatable,
    /// How many images the Node's status names; none for no limit.
    pub max_images: Option<usize>,
    /// The pod range, when it is not left to a controller.
    pub pod_cidr: Option<String>,
    /// How long the Lease holds, in seconds; it is renewed four times in this time, as upstream.
    pub lease_duration_s: u32,
    /// How often the Node's status is written though nothing changed.
    pub status_interval: Duration,
    /// What the engine keeps of a container's log.
    pub container_log: LogLimits,
    /// Where `/healthz` and `/livez` are served without credentials, if anywhere.
    pub healthz: Option<SocketAddr>,
    /// Files of the certificates above, for who reads them; a change of them counts at once.
    pub files: CertificateFiles,
    /// How the node's certificates are renewed, if by itself.
    pub rotation: Option<Rotation>,
}

/// What the engine keeps of a container's log.
#[derive(Clone, Debug)]
pub struct LogLimits {
    /// The size at which a new file begins, as the engine reads it: `10m`, or bytes.
    pub max_size: String,
    /// How many files there are at most.
    pub max_files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { max_size: "10m".into(), max_files: 5 }
    }
}

/// Where certificates are read from.
#[derive(Clone, Debug, Default)]
pub struct CertificateFiles {
    /// The certificate that the node shows.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// The CA of the clients that are let in.
    pub client_ca: Option<PathBuf>,
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
            serve: true,
            tls_cert_pem: None,
            tls_key_pem: None,
            client_ca_pem: None,
            cluster_dns: vec![IpAddr::from([10, 96, 0, 10])],
            cluster_domain: "cluster.local".into(),
            resolv_conf: default_resolv_conf(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            provider_id: None,
            max_pods: 110,
            reserved: Allocatable::default(),
            max_images: Some(50),
            pod_cidr: None,
            lease_duration_s: 40,
            status_interval: Duration::from_secs(300),
            container_log: LogLimits::default(),
            healthz: None,
            files: CertificateFiles::default(),
            rotation: None,
        }
    }

    /// Reads a `KubeletConfiguration` (`kubelet.config.k8s.io/v1beta1`) over these settings. Beside the outcome come
    /// warnings, each naming a field that is set and known but does nothing here.
    ///
    /// # Errors
    /// What cannot be read, an unknown field and a wrong value.
    pub fn with_file(self, path: &Path) -> Result<(Self, Vec<String>), skiff_runtime::Error> {
        file::SCHEMA.read(path, self)
    }

    /// How often the Lease is renewed.
    pub fn lease_interval(&self) -> Duration {
        Duration::from_secs(self.lease_duration_s.into()) / 4
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
