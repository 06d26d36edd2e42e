//! The node's HTTPS server: what the API server hands on to it — logs, exec, attach, port-forward.

mod access;
mod exec;
pub(crate) mod forward;
mod logs;
pub(crate) mod remote;
pub(crate) mod websocket;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use skiff_runtime::view::View;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    cri::Container,
    error::{Error, Result},
    pod::Shared,
    tls::Serving,
};

/// A body that may be a stream.
pub(crate) type Body = UnsyncBoxBody<Bytes, Error>;
/// An answer.
pub(crate) type Answer = Response<Body>;

/// How long a client may take for TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    serving: Arc<Serving>,
}

/// Listens; `None` when the settings hold no certificate, and none will come.
pub async fn bind(config: &Config) -> anyhow::Result<Option<Server>> {
    use anyhow::Context;
    let serving = Arc::new(Serving::default());
    if let Some(ca) = &config.client_ca_pem {
        serving.trust(ca).context("the CA of the node's clients")?;
    }
    match (&config.tls_cert_pem, &config.tls_key_pem) {
        _ if !config.serve => return Ok(None),
        (Some(cert), Some(key)) => serving.set(cert, key).context("the node's certificate")?,
        _ if config.rotation.is_some() => {}
        _ => return Ok(None),
    }
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    Ok(Some(Server { listener, address, serving }))
}

/// What each request needs.
pub(crate) struct Site {
    pub shared: Arc<Shared>,
    pub pods: View<Pod>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it serves with.
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.clone()
    }

    /// Serves until `shutdown`.
    pub async fn serve(self, shared: Arc<Shared>, pods: View<Pod>, shutdown: CancellationToken) {
        let site = Arc::new(Site { shared, pods });
        let places = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, _) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Such as too many open files: it passes.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Before it has a certificate it answers nobody.
            let Some(tls) = self.serving.current() else { continue };
            let (site, shutdown) = (site.clone(), shutdown.clone());
            tokio::spawn(async move {
                let _place = place;
                tokio::select! {
                    () = connection(site, tls, stream) => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
    }
}

async fn connection(site: Arc<Site>, tls: TlsAcceptor, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS failed"),
        Err(_) => return,
    };
    let trusted = access::trusted(stream.get_ref().1.peer_certificates());
    let service = hyper::service::service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(answer(site, trusted, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.with_upgrades().await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer(site: Arc<Site>, access: access::Access, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    if let ["healthz"] = parts[..] {
        return text(StatusCode::OK, "ok");
    }
    match access {
        access::Access::Unknown => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        access::Access::Denied => return text(StatusCode::FORBIDDEN, "Forbidden"),
        access::Access::Granted => {}
    }
    match parts[..] {
        ["pods"] => pods(&site),
        ["containerLogs", namespace, pod, container] => {
            logs::serve(&site, namespace, pod, container, request).await
        }
        ["exec", namespace, pod, container] => {
            exec::serve(site.clone(), namespace, pod, container, request, false).await
        }
        ["attach", namespace, pod, container] => {
            exec::serve(site.clone(), namespace, pod, container, request, true).await
        }
        ["portForward", namespace, pod] => forward::serve(site.clone(), namespace, pod, request).await,
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// A short answer.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    let body = Full::new(Bytes::from(text.into())).map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// An error as an answer.
pub(crate) fn failure(error: &Error) -> Answer {
    let status = match error {
        Error::Reference(_) => StatusCode::NOT_FOUND,
        Error::Invalid(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, error.to_string())
}

fn pods(site: &Site) -> Answer {
    let items: Vec<_> =
        site.pods.list().iter().map(|p| serde_json::to_value(&**p).unwrap_or_default()).collect();
    let list = serde_json::json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items });
    let mut answer = text(StatusCode::OK, list.to_string());
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    answer
}

impl Site {
    fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Pod>> {
        let found = self.pods.get(namespace, name);
        found.ok_or_else(|| Error::Reference(format!("pod \"{name}\" not found on this node")))
    }

    /// A container's instances, newest first.
    async fn instances(&self, pod: &Pod, container: &str) -> Result<Vec<Container>> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let observed = self.shared.runtime.observe(&uid).await?;
        let found: Vec<Container> = observed.containers.into_iter().filter(|c| c.name == container).collect();
        Ok(found)
    }

    async fn running(&self, pod: &Pod, container: &str) -> Result<Container> {
        let newest = self.instances(pod, container).await?.into_iter().next();
        newest
            .filter(|c| matches!(c.state, crate::cri::State::Running { .. }))
            .ok_or_else(|| Error::Reference(format!("container not found (\"{container}\")")))
    }
}

/// The query, decoded, in order.
pub(crate) fn query(of: Option<&str>) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let mut out = Vec::with_capacity(text.len());
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let code = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
            let code = code.and_then(|c| u8::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok());
            out.push(code.unwrap_or(if bytes[at] == b'+' { b' ' } else { bytes[at] }));
            at += if code.is_some() { 3 } else { 1 };
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let pairs = of.unwrap_or_default().split('&').filter(|p| !p.is_empty());
    pairs.map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_in_order() {
        let pairs = query(Some("command=sh&command=-c&command=echo+%22a%26b%22&tty"));
        let values: Vec<&str> = pairs.iter().map(|(_, v)| v.as_str()).collect();
        assert_eq!(values, ["sh", "-c", "echo \"a&b\"", ""]);
    }
}
