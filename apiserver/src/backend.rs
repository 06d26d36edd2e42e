//! Servers outside that the API server calls: webhooks, converters, extension API servers.
//!
//! A [`Backend`] says where one is and whom to believe; [`Backends`] holds the connections, which are kept
//! and used again. Nothing is resolved before a connection is made, and then from the cache, so that a call
//! follows the Service as it is now. Failures are worded as Go's clients word them: people look for these
//! sentences. Matched to `apiserver/pkg/util/webhook/client.go`.

mod failure;
pub mod resolve;
mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub use failure::Failure;
pub use tls::{Identity, bundle_error};

use crate::cache::Cache;

/// Backends whose connections are kept; the one that was used longest ago goes first.
const BACKENDS: usize = 200;
/// Connections to one backend that are kept while nobody uses them.
const IDLE: usize = 25;
/// How long a connection is kept while nobody uses it.
const IDLE_FOR: Duration = Duration::from_secs(90);
/// How long connecting may take, the handshake included.
const CONNECT: Duration = Duration::from_secs(30);

/// Where a server is, and how one knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backend {
    /// Where.
    pub place: Place,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Whether the front proxy's certificate is shown.
    pub shows_certificate: bool,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Behind a Service of this cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The port of the Service.
        port: u16,
    },
    /// Anywhere.
    Host {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those that this machine believes.
    System,
    /// Those signed by one of these, as PEM.
    Bundle(Arc<[u8]>),
    /// All.
    Anyone,
}

impl Place {
    /// What the server's certificate must be made out to.
    pub fn server_name(&self) -> String {
        match self {
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
            Self::Host { host, .. } => host.clone(),
        }
    }

    /// As it stands in a URL.
    pub fn authority(&self) -> String {
        let (Self::Service { port, .. } | Self::Host { port, .. }) = self;
        let name = self.server_name();
        if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
    }
}

/// The connections to backends.
pub struct Backends {
    cache: Arc<Cache>,
    identity: Option<Identity>,
    pools: Mutex<HashMap<Backend, Arc<Pool>>>,
}

/// The way to one backend.
struct Pool {
    connector: TlsConnector,
    idle: Mutex<Vec<Idle>>,
    used: Mutex<Instant>,
}

/// A connection that nobody uses.
struct Idle {
    sender: SendRequest<Body>,
    to: SocketAddr,
    since: Instant,
}

impl Backends {
    /// Connections that are resolved by this cache and may show this certificate.
    pub fn new(cache: Arc<Cache>, identity: Option<Identity>) -> Self {
        Self { cache, identity, pools: Mutex::default() }
    }

    /// Sends a request; the path and the query of its address are used, the rest of it comes from the backend.
    pub async fn send(
        &self,
        backend: &Backend,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let pool = self.pool(backend)?;
        // A Service leads where it leads now, whoever is still there to answer.
        let targets = match &backend.place {
            Place::Service { namespace, name, port } => {
                Some(resolve::service(&self.cache, namespace, name, *port).map_err(Failure::Other)?)
            }
            Place::Host { .. } => None,
        };
        loop {
            let (mut sender, to, fresh) = match pool.take(targets.as_deref()) {
                Some(idle) => (idle.sender, idle.to, false),
                None => {
                    let (sender, to) = connect(&backend.place, targets.as_deref(), &pool.connector).await?;
                    (sender, to, true)
                }
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let pool = pool.clone();
                    // It can be used again when the answer has been read.
                    tokio::spawn(async move {
                        if sender.ready().await.is_ok() {
                            pool.put(Idle { sender, to, since: Instant::now() });
                        }
                    });
                    return Ok(response);
                }
                // The other side closed it while nobody used it: nothing was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(Failure::of(error.into_error())),
                },
            }
        }
    }

    fn pool(&self, backend: &Backend) -> Result<Arc<Pool>, Failure> {
        let mut pools = self.pools.lock().expect("no holder of this lock panics");
        if let Some(pool) = pools.get(backend) {
            *pool.used.lock().expect("no holder of this lock panics") = Instant::now();
            return Ok(pool.clone());
        }
        if pools.len() >= BACKENDS {
            let oldest = pools
                .iter()
                .min_by_key(|(_, pool)| *pool.used.lock().expect("no holder of this lock panics"));
            if let Some(oldest) = oldest.map(|(backend, _)| backend.clone()) {
                pools.remove(&oldest);
            }
        }
        let identity = self.identity.as_ref().filter(|_| backend.shows_certificate);
        let connector = tls::connector(&backend.trust, identity)?;
        let pool = Arc::new(Pool { connector, idle: Mutex::default(), used: Mutex::new(Instant::now()) });
        pools.insert(backend.clone(), pool.clone());
        Ok(pool)
    }
}

async fn connect(
    place: &Place,
    targets: Option<&[SocketAddr]>,
    connector: &TlsConnector,
) -> Result<(SendRequest<Body>, SocketAddr), Failure> {
    let name = place.server_name();
    let name = ServerName::try_from(name.clone())
        .map_err(|_| Failure::Other(format!("the host name {name:?} is not one")))?;
    let connect = async {
        let (stream, to) = match (place, targets) {
            (_, Some(targets)) => dial(targets).await?,
            (Place::Host { host, port } | Place::Service { name: host, port, .. }, None) => {
                dial(&resolve::host(host, *port).await?).await?
            }
        };
        let stream = connector.connect(name, stream).await.map_err(Failure::of_handshake)?;
        Ok::<_, Failure>((stream, to))
    };
    let (stream, to) = tokio::time::timeout(CONNECT, connect).await.map_err(|_| Failure::Timeout)??;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::of)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a server outside ended");
        }
    });
    Ok((sender, to))
}

/// Connects to the first of these that takes it.
async fn dial(targets: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut failed = Failure::Other("no address".into());
    for target in targets {
        match TcpStream::connect(target).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok((stream, *target));
            }
            Err(error) => failed = Failure::of_dial(*target, &error),
        }
    }
    Err(failed)
}

impl Pool {
    /// A connection that is still good; with `targets`, one that leads to one of them.
    fn take(&self, targets: Option<&[SocketAddr]>) -> Option<Idle> {
        let mut idle = self.idle();
        idle.retain(|idle| targets.is_none_or(|targets| targets.contains(&idle.to)));
        idle.pop()
    }

    fn put(&self, back: Idle) {
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push(back);
        }
    }

    /// Those that are still good.
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        let mut idle = self.idle.lock().expect("no holder of this lock panics");
        idle.retain(|idle| idle.since.elapsed() < IDLE_FOR && !idle.sender.is_closed());
        idle
    }
}
