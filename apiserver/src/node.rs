//! The way to node agents: logs, and streams into pods.
//!
//! A stream's protocol (WebSocket or SPDY) is spoken by the node agent; here the upgraded
//! connections are joined byte for byte.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls_pemfile::{certs, private_key};
use serde_json::Value;
use skiff_api::status::Status;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::app::{App, Call, Config};
use crate::write;

/// How long connecting to a node may take.
const CONNECT_S: u64 = 10;

/// Connects to node agents, as the API server.
pub struct NodeDialer {
    connector: TlsConnector,
}

impl NodeDialer {
    /// With the certificate that node agents let in.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for cert in certs(&mut config.ca_pem.as_bytes()) {
            roots.add(cert?)?;
        }
        let (cert, key) = &config.node_client_pem;
        let chain: Vec<CertificateDer<'static>> = certs(&mut cert.as_bytes()).collect::<Result<_, _>>()?;
        let key: PrivateKeyDer<'static> = private_key(&mut key.as_bytes())?
            .ok_or_else(|| anyhow::anyhow!("the key for node agents holds no private key"))?;
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(tls)) })
    }

    /// Sends a request to a node agent over a connection of its own.
    async fn send(
        &self,
        address: IpAddr,
        port: u16,
        request: Request<Body>,
    ) -> anyhow::Result<Response<Body>> {
        let connect = async {
            let stream = TcpStream::connect((address, port)).await?;
            stream.set_nodelay(true)?;
            self.connector.connect(ServerName::from(address), stream).await
        };
        let stream = tokio::time::timeout(std::time::Duration::from_secs(CONNECT_S), connect).await??;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a node ended");
            }
        });
        Ok(sender.send_request(request).await?.map(Body::new))
    }
}

/// The pod of a call, with its node's address.
struct Place {
    pod: Value,
    node: String,
    address: IpAddr,
    port: u16,
}

async fn locate(call: &Call) -> Result<Place, Status> {
    call.app.cache.catch_up().await?;
    let item = call.app.cache.of(&call.kind)?.get(call.namespace(), call.name());
    let pod = item.ok_or_else(|| call.not_found())?.object(&call.kind, &call.version);
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", call.name())));
    }
    let (address, port) = address_of(&call.app, &node)?;
    Ok(Place { pod, node, address, port })
}

/// Where a node's agent listens.
fn address_of(app: &App, node: &str) -> Result<(IpAddr, u16), Status> {
    let nodes = app.cache.find("", "nodes").ok_or_else(Status::no_such_path)?;
    let found = nodes.get("", node).ok_or_else(|| Status::not_found("", "nodes", node))?;
    let found = found.object(nodes.kind(), "v1");
    let addresses = found["status"]["addresses"].as_array().cloned().unwrap_or_default();
    let address = addresses
        .iter()
        .find(|address| address["type"] == "InternalIP")
        .and_then(|address| address["address"].as_str()?.parse().ok())
        .ok_or_else(|| Status::internal(format!("node {node} has no address")))?;
    let port = found["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap_or(10250);
    Ok((address, u16::try_from(port).unwrap_or(10250)))
}

/// Sends a request to a node's agent, for its own proxy.
pub async fn send_to(app: &App, node: &str, mut request: Request<Body>) -> Result<Response<Body>, Status> {
    let (address, port) = address_of(app, node)?;
    let host = address.to_string().parse().map_err(Status::internal)?;
    request.headers_mut().insert(header::HOST, host);
    app.nodes
        .send(address, port, request)
        .await
        .map_err(|error| Status::internal(format!("error dialing node {node} at {address}:{port}: {error}")))
}

/// Joins two upgraded connections until either ends.
pub fn join(client: OnUpgrade, other: OnUpgrade) {
    tokio::spawn(async move {
        match tokio::try_join!(client, other) {
            Ok((client, other)) => {
                let (mut client, mut other) = (TokioIo::new(client), TokioIo::new(other));
                // Either side may just close; that is how such streams end.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut other).await;
            }
            Err(error) => tracing::debug!(%error, "a stream was not joined"),
        }
    });
}

/// The container that a call means: the one it names, or the pod's only (or default) one.
fn container(call: &Call, pod: &Value) -> Result<String, Status> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let names = |list: &str| -> Vec<String> {
        let list = pod["spec"][list].as_array().into_iter().flatten();
        list.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    let asked = call.query.get("container").to_owned();
    if !asked.is_empty() {
        return if lists.iter().any(|list| names(list).contains(&asked)) {
            Ok(asked)
        } else {
            Err(Status::bad_request(format!("container {asked} is not valid for pod {}", call.name())))
        };
    }
    let own = names("containers");
    let default = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    match (own.as_slice(), default) {
        (_, Some(name)) if own.iter().any(|own| own == name) => Ok(name.to_owned()),
        ([one], _) => Ok(one.clone()),
        _ => {
            let mut text = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                call.name(),
                own.join(" ")
            );
            let init = names("initContainers");
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(text))
        }
    }
}

/// Answers a request for a container's log, also by a WebSocket.
pub async fn log(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let place = locate(call).await?;
    let container = container(call, &place.pod)?;
    let path = format!("/containerLogs/{}/{}/{container}", call.namespace(), call.name());
    if request.headers().contains_key(header::UPGRADE) {
        return upgrade(call, &place, &path, request).await;
    }
    let request = Request::get(uri(&path, &call.info_query())).header(header::HOST, &place.node);
    let request = request.body(Body::empty()).map_err(Status::internal)?;
    let response = send(call, &place, request).await?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(refused(response).await)
}

/// Joins a client with a stream into a pod.
pub async fn stream(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    if !request.headers().contains_key(header::UPGRADE) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let place = locate(call).await?;
    let path = match call.info.subresource.as_str() {
        "portforward" => format!("/portForward/{}/{}", call.namespace(), call.name()),
        sub => format!("/{sub}/{}/{}/{}", call.namespace(), call.name(), container(call, &place.pod)?),
    };
    upgrade(call, &place, &path, request).await
}

/// Hands an upgrade on to the node agent, and joins the connections if it agrees.
async fn upgrade(
    call: &Call,
    place: &Place,
    path: &str,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let client = hyper::upgrade::on(&mut request);
    let mut onward = Request::builder().method(request.method().clone()).uri(uri(path, &call.info_query()));
    if let Some(headers) = onward.headers_mut() {
        copy_headers(request.headers(), headers);
        headers.insert(header::HOST, place.address.to_string().parse().map_err(Status::internal)?);
    }
    let mut response = send(call, place, onward.body(Body::empty()).map_err(Status::internal)?).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(response).await);
    }
    join(client, hyper::upgrade::on(&mut response));
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    copy_headers(response.headers(), answer.headers_mut());
    Ok(answer)
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if *name != header::AUTHORIZATION
            && *name != header::HOST
            && !name.as_str().starts_with("impersonate-")
        {
            to.append(HeaderName::clone(name), value.clone());
        }
    }
}

fn uri(path: &str, query: &str) -> Uri {
    let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    text.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

async fn send(call: &Call, place: &Place, request: Request<Body>) -> Result<Response<Body>, Status> {
    call.app.nodes.send(place.address, place.port, request).await.map_err(|error| {
        let why = format!("error dialing node {} at {}:{}: {error}", place.node, place.address, place.port);
        Status::internal(why)
    })
}

/// What a node agent said when it refused.
async fn refused(response: Response<Body>) -> Status {
    let code = response.status().as_u16();
    let body = write::read_all(Request::new(response.into_body())).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    match code {
        404 => Status::new(404, "NotFound", text),
        400 => Status::bad_request(text),
        _ => Status::internal(text),
    }
}

impl Call {
    /// The query as the client wrote it.
    fn info_query(&self) -> String {
        self.query.text().to_owned()
    }
}
