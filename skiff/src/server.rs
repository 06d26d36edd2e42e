//! The API server's start: store, credentials, listeners.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use nix::sys::socket::{setsockopt, sockopt};
use skiff_apiserver::admission::{Configuration, Switches};
use skiff_apiserver::app::Tolerations;
use skiff_apiserver::{App, Config, serve};
use skiff_storage::lock::DirLock;
use skiff_storage::{Error, Storage, embedded, etcd};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::pki::Pki;
use crate::{at_rest, cli};

/// Cluster IPs.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
const NODE_PORTS: (u16, u16) = (30000, 32767);
/// Who listens, and the flag that says where.
pub const API_SERVER: &str = "the API server";
/// The flag that says where the API is served.
pub const LISTEN: &str = "--listen ADDR:PORT";
/// The gateway of the first node's pods: an address that pods reach, and no one outside does.
const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

/// An API server that answers.
pub struct Running {
    /// It.
    pub app: Arc<App>,
    /// Its address for people and kubeconfigs on this machine.
    pub url: String,
    /// Its address for other machines.
    pub public_url: String,
}

/// The name of this host, as nodes carry it.
pub fn host_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname()?.to_string_lossy().to_ascii_lowercase();
    Ok(name.split('.').next().unwrap_or(&name).to_owned())
}

/// The address of this host that others would reach it at. Nothing is sent to find it out.
pub fn host_ip() -> IpAddr {
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    found.map_or(IpAddr::from(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// Where the API is reached: by people here, and by pods.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For this machine.
    pub local: SocketAddr,
    /// For pods and other machines.
    pub advertise: SocketAddr,
    /// Whether `advertise` needs a listener of its own.
    pub extra: bool,
}

/// Decides where the API is reached.
pub fn addresses(server: &cli::Server) -> Addresses {
    let listen = server.listen;
    let port = listen.port();
    let local =
        if listen.ip().is_unspecified() { SocketAddr::from((Ipv4Addr::LOCALHOST, port)) } else { listen };
    let (ip, extra) = match server.advertise_address {
        Some(ip) => (ip, false),
        None if listen.ip().is_unspecified() => (host_ip(), false),
        None if listen.ip().is_loopback() => (IpAddr::from(POD_GATEWAY), true),
        None => (listen.ip(), false),
    };
    Addresses { local, advertise: SocketAddr::new(ip, port), extra }
}

/// A store, and the embedded one below it if Secrets are sealed there by default.
type Opened = (Arc<dyn Storage>, Option<Arc<embedded::Embedded>>);

async fn open(server: &cli::Server, shutdown: &CancellationToken) -> anyhow::Result<Opened> {
    if server.etcd_servers.is_empty() {
        let dir = server.data_dir.join("store");
        let store = Arc::new(embedded::Embedded::open(&dir, embedded::Options::default())?);
        let compacting = store.clone().keep_compacted(etcd::COMPACTION_INTERVAL);
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(compacting));
        let sealed = at_rest::embedded(store.clone(), &server.data_dir, &server.at_rest, shutdown).await?;
        let by_default = server.at_rest.encryption_provider_config.is_none();
        return Ok((sealed, by_default.then_some(store)));
    }
    let store = etcd::Etcd::connect(&server.etcd_servers, None)
        .await
        .with_context(|| format!("cannot reach etcd at {}", server.etcd_servers.join(", ")))?;
    let store = Arc::new(store);
    let compacting = store.clone().keep_compacted(etcd::COMPACTION_INTERVAL);
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(compacting));
    Ok((at_rest::configured(store, &server.at_rest, None, shutdown)?, None))
}

/// Starts the API server; it answers when this returns.
pub async fn start(server: &cli::Server, pki: &Pki, shutdown: &CancellationToken) -> anyhow::Result<Running> {
    // First, so that a port in use is said before anything is opened.
    let listener = bind(server.listen, API_SERVER, LISTEN).await?;
    let addresses = addresses(server);
    let (storage, by_default) = open(server, shutdown).await?;
    let config = Config {
        service_cidr: SERVICE_CIDR.into(),
        node_ports: NODE_PORTS,
        advertise: (addresses.advertise.ip(), addresses.advertise.port()),
        ca_pem: pki.ca_pem().to_owned(),
        service_account_key_pem: pki.service_account_key_pem().to_owned(),
        node_client_pem: pki.node_client()?,
        aggregation: pki.aggregation()?,
        limits: server.limits.limits(),
        audit: server.audit.options()?,
        admission: Switches {
            enable: server.enable_admission_plugins.clone(),
            disable: server.disable_admission_plugins.clone(),
            configuration: match &server.admission_control_config_file {
                Some(file) => Configuration::read(file).map_err(anyhow::Error::msg)?,
                None => Configuration::default(),
            },
        },
        tolerations: Tolerations {
            not_ready_s: server.default_not_ready_toleration_seconds,
            unreachable_s: server.default_unreachable_toleration_seconds,
        },
        authentication: server.authentication.options()?,
        authorization: server.authorization.options(),
    };
    let app = App::start(config, storage, shutdown.clone()).await?;
    if let Some(store) = by_default {
        at_rest::seal_old(&app, &store).await?;
    }
    let shown = pki.shown()?;
    tokio::spawn(shown.clone().follow(shutdown.clone()));
    let tls = pki.server_config(shown, app.authenticator.client_verifier())?;
    tokio::spawn(serve::serve(app.clone(), listener, tls.clone(), shutdown.clone()));
    if addresses.extra {
        let socket = TcpSocket::new_v4()?;
        // The bridge that will carry this address is made later, by the node agent.
        setsockopt(&socket.as_fd(), sockopt::IpFreebind, &true)?;
        socket.set_reuseaddr(true)?;
        socket
            .bind(addresses.advertise)
            .with_context(|| format!("cannot listen on {}", addresses.advertise))?;
        tokio::spawn(serve::serve(app.clone(), socket.listen(1024)?, tls, shutdown.clone()));
    }
    let url = |address: SocketAddr| format!("https://{address}");
    Ok(Running { app, url: url(addresses.local), public_url: url(addresses.advertise) })
}

async fn bind(address: SocketAddr, who: &str, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "{who} cannot listen on {address}: it is in use by another process. Stop that, or choose another with {flag}."
        ),
        ErrorKind::PermissionDenied => anyhow::anyhow!(
            "{who} may not listen on {address}: that needs root. Choose another with {flag}, or run as root."
        ),
        ErrorKind::AddrNotAvailable => anyhow::anyhow!(
            "{who} cannot listen on {address}: this machine has no such address. Choose another with {flag}."
        ),
        _ => anyhow::Error::new(error).context(format!("{who} cannot listen on {address}")),
    })
}

/// Refuses a port that is taken before anything is started that would need it.
pub async fn probe(address: SocketAddr, who: &str, flag: &str) -> anyhow::Result<()> {
    bind(address, who, flag).await.map(drop)
}

/// Keeps a data directory for one process: a second is refused, and told who has it.
pub fn lock(dir: &Path) -> anyhow::Result<DirLock> {
    DirLock::take(dir).map_err(|error| match error {
        Error::InUse { .. } => {
            anyhow::anyhow!("{error}. Stop it, or choose another directory with --data-dir DIR.")
        }
        other => anyhow::Error::new(other),
    })
}
