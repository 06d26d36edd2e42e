//! The cluster's own certificates and keys, made at first start and kept under `DIR/pki`.
//!
//! Everything is signed by one CA. What is ours to remake (certificates that expire or whose hosts changed) is remade
//! at start; the CA and the key that signs service-account tokens are never overwritten: if one cannot be read, the
//! start fails and names the file.

pub(crate) mod files;
mod issue;
mod kubeconfig;
mod serving;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::server::danger::ClientCertVerifier;

use crate::server::{self, Addresses};
use issue::{Authority, Purpose, Request};
pub use serving::Serving;
use skiff_apiserver::aggregation;

/// The names under which pods and people reach the API server, besides addresses.
const SERVER_NAMES: [&str; 5] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
];

/// The `kubernetes` Service.
const SERVICE_IP: &str = "10.96.0.1";

/// Who gets a client certificate in every cluster: the file's name, the user, the group.
const CLIENTS: [(&str, &str, Option<&str>); 5] = [
    ("admin", "kubernetes-admin", Some("system:masters")),
    ("scheduler", "system:kube-scheduler", None),
    ("controller", "system:kube-controller-manager", None),
    ("proxy", "system:kube-proxy", None),
    (NODE_CLIENT, "kube-apiserver-kubelet-client", Some("system:masters")),
];

/// What it shows to everyone else.
const APISERVER: &str = "apiserver";
/// What the API server shows to extension API servers.
const FRONT_PROXY_CLIENT: &str = "front-proxy-client";
/// The CA of the cluster, and that of the front proxy.
const CA: &str = "ca";
const FRONT_PROXY_CA: &str = "front-proxy-ca";
/// What the API server shows to node agents.
const NODE_CLIENT: &str = "apiserver-kubelet-client";

/// All credentials of a cluster.
pub struct Pki {
    dir: PathBuf,
    authority: Authority,
    front_proxy: Authority,
    service_account_key_pem: String,
    hosts: BTreeSet<String>,
}

/// A certificate and its key, as PEM.
pub type Pair = (String, String);

impl Pki {
    /// Loads what is in `dir` and makes what is missing or outdated, client certificates for `nodes` included.
    pub fn open(dir: &Path, addresses: &Addresses, nodes: &[String]) -> anyhow::Result<Self> {
        let mut hosts = host_addresses();
        hosts.extend([addresses.local.ip(), addresses.advertise.ip()].iter().map(IpAddr::to_string));
        hosts.insert(server::host_name()?);
        Self::open_for(dir, hosts, nodes)
    }

    fn open_for(dir: &Path, hosts: BTreeSet<String>, nodes: &[String]) -> anyhow::Result<Self> {
        files::make_dir(dir)?;
        let authority = Authority::open(dir, CA)?;
        let front_proxy = Authority::open(dir, FRONT_PROXY_CA)?;
        let service_account_key_pem = issue::precious_key(&dir.join("sa.key"))?;
        let hosts = hosts.into_iter().filter(|host| usable(host)).collect();
        let pki = Self { dir: dir.to_owned(), authority, front_proxy, service_account_key_pem, hosts };
        pki.serving()?;
        for (file, ..) in CLIENTS {
            pki.client(file)?;
        }
        for node in nodes {
            pki.node_client_of(node)?;
            pki.node_serving(node)?;
        }
        Ok(pki)
    }

    /// The CA's certificate, for servers and clients alike.
    pub fn ca_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// The CA, for who signs certificate requests.
    pub fn signer(&self, longest: Duration) -> skiff_controller::Signer {
        skiff_controller::Signer::from_pem(self.ca_pem(), self.authority.key_pem(), longest)
    }

    /// The private key that signs service-account tokens.
    pub fn service_account_key_pem(&self) -> &str {
        &self.service_account_key_pem
    }

    /// What the API server shows to node agents.
    pub fn node_client(&self) -> anyhow::Result<Pair> {
        self.client(NODE_CLIENT)
    }

    /// How extension API servers know this one: a CA of its own, so that no other client can speak for someone else.
    pub fn aggregation(&self) -> anyhow::Result<aggregation::Options> {
        let request = Request { name: FRONT_PROXY_CLIENT, group: None, purpose: Purpose::Client };
        let pair = self.front_proxy.pair(&self.dir, FRONT_PROXY_CLIENT, &request)?;
        let ca_pem = self.front_proxy.certificate_pem().to_owned();
        Ok(aggregation::Options { ca_pem, client_pem: Some(pair) })
    }

    /// What a node agent serves with.
    pub fn node_serving(&self, name: &str) -> anyhow::Result<Pair> {
        let mut hosts = self.hosts.clone();
        hosts.extend([name.to_owned(), "localhost".into()]);
        let user = format!("system:node:{name}");
        self.pair(&format!("node-{name}-serving"), &user, Some("system:nodes"), Purpose::Server(hosts))
    }

    /// What the API server shows.
    pub fn shown(&self) -> anyhow::Result<Arc<Serving>> {
        Serving::new(&self.dir, APISERVER, &self.serving()?)
    }

    /// How the API server serves: HTTP/2 and 1.1; a client may show a certificate, which `clients` looks at.
    pub fn server_config(
        &self,
        serving: Arc<Serving>,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(serving);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Writes the admin's kubeconfig to `dir/kubeconfig`, and those of the components to `dir/pki/NAME.kubeconfig`:
    /// `scheduler`, `controller`, `proxy`, and `node-NAME` for each node.
    pub fn write_kubeconfigs(&self, dir: &Path, url: &str, nodes: &[String]) -> anyhow::Result<()> {
        let write = |path: PathBuf, user: &str, pair: &Pair| {
            files::keep(&path, &kubeconfig::render(url, self.ca_pem(), user, &pair.0, &pair.1))
        };
        write(dir.join("kubeconfig"), "kubernetes-admin", &self.client("admin")?)?;
        for (file, user, group) in CLIENTS {
            if group.is_none() {
                write(self.dir.join(format!("{file}.kubeconfig")), user, &self.client(file)?)?;
            }
        }
        for node in nodes {
            let path = self.dir.join(format!("node-{node}.kubeconfig"));
            write(path, &format!("system:node:{node}"), &self.node_client_of(node)?)?;
        }
        Ok(())
    }

    fn serving(&self) -> anyhow::Result<Pair> {
        let mut hosts = self.hosts.clone();
        hosts.extend(SERVER_NAMES.map(str::to_owned));
        hosts.extend([SERVICE_IP.to_owned(), "127.0.0.1".into()]);
        self.pair(APISERVER, "kube-apiserver", None, Purpose::Server(hosts))
    }

    fn client(&self, file: &str) -> anyhow::Result<Pair> {
        let known = CLIENTS.iter().find(|(name, ..)| *name == file);
        let (_, user, group) = known.with_context(|| format!("no client is called {file}"))?;
        self.pair(file, user, *group, Purpose::Client)
    }

    fn node_client_of(&self, name: &str) -> anyhow::Result<Pair> {
        self.pair(
            &format!("node-{name}"),
            &format!("system:node:{name}"),
            Some("system:nodes"),
            Purpose::Client,
        )
    }

    fn pair(&self, file: &str, name: &str, group: Option<&str>, purpose: Purpose) -> anyhow::Result<Pair> {
        self.authority.pair(&self.dir, file, &Request { name, group, purpose })
    }
}

/// The CA that signs the certificate of that name; none for a CA's own.
fn signer(name: &str) -> Option<&'static str> {
    match name {
        CA | FRONT_PROXY_CA => None,
        FRONT_PROXY_CLIENT => Some(FRONT_PROXY_CA),
        _ => Some(CA),
    }
}

/// The names of the certificates in `dir` that a CA there signs.
pub fn pairs(dir: &Path) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".crt").map(str::to_owned))
        .filter(|name| signer(name).is_some())
        .collect();
    names.sort();
    Ok(names)
}

/// Makes a certificate anew, for whom and what it was for; answers with the old pair and the new.
pub fn renew(dir: &Path, name: &str) -> anyhow::Result<[Pair; 2]> {
    let ca =
        signer(name).with_context(|| format!("{name} is a CA: what it signed would be worth nothing"))?;
    Authority::open(dir, ca)?.renew(dir, name)
}

/// Every address of this host that others could reach it at.
fn host_addresses() -> BTreeSet<String> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    });
    // Addresses of pods' bridges and the like come and go; the certificate would be remade at each start for nothing.
    let lasting = addresses.filter(|address| match address {
        IpAddr::V4(v4) => !v4.is_link_local() && v4.octets()[..2] != [10, 244],
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_multicast(),
    });
    lasting.map(|address| address.to_string()).collect()
}

/// Whether a certificate can carry it: an address that means something, or a DNS name.
fn usable(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified(),
        Err(_) => {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        }
    }
}

#[cfg(test)]
mod tests;
