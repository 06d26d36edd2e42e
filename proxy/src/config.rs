//! What the proxy needs to know, and the file it can be read from.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::net::Cidr;

mod file;

/// How the proxy runs. The default fits a cluster made by `skiff up`, except for `node_names`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The nodes of this machine: endpoints on them are local.
    pub node_names: Vec<String>,
    /// All pods.
    pub cluster_cidr: Cidr,
    /// All services.
    pub service_cidr: Cidr,
    /// Where node ports are served; empty for every address of the machine, 127.0.0.1 included.
    pub node_port_addresses: Vec<Cidr>,
    /// Whether clients of cluster IPs are always hidden behind the machine.
    pub masquerade_all: bool,
    /// Whether to answer names.
    pub dns: bool,
    /// The address that names are asked at, port 53; an interface made for it carries it.
    pub dns_ip: Ipv4Addr,
    /// The domain of the cluster, without a dot at its end.
    pub cluster_domain: String,
    /// Names the resolvers for all other domains; read again when it changes.
    pub upstream_resolv_conf: PathBuf,
    /// Where `/healthz` and `/livez` are served, if anywhere.
    pub healthz_bind_address: Option<SocketAddr>,
    /// How to reach the API server, for who makes the client.
    pub kubeconfig: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_names: Vec::new(),
            cluster_cidr: Cidr::new(Ipv4Addr::new(10, 244, 0, 0), 16),
            service_cidr: Cidr::new(Ipv4Addr::new(10, 96, 0, 0), 16),
            node_port_addresses: Vec::new(),
            masquerade_all: false,
            dns: true,
            dns_ip: Ipv4Addr::new(10, 96, 0, 10),
            cluster_domain: "cluster.local".to_owned(),
            upstream_resolv_conf: PathBuf::from("/etc/resolv.conf"),
            healthz_bind_address: None,
            kubeconfig: None,
        }
    }
}

impl Config {
    /// Reads a `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`). Beside the configuration come warnings,
    /// each naming a field that is set and known but does nothing here. What cannot be read, an unknown field and a
    /// wrong value are errors.
    pub fn from_file(path: &Path) -> Result<(Self, Vec<String>), skiff_runtime::Error> {
        file::SCHEMA.read(path, Self::default())
    }
}
