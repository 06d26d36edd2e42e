//! A small HTTP server for `/healthz`, `/livez`, `/readyz` and `/metrics`, for components that run as processes of their
//! own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::metrics::Metrics;

/// Connections served at once; further ones wait in the kernel.
pub const MAX_CONNECTIONS: usize = 64;

/// Tells whether the component is ready.
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// A server that listens.
pub struct Server(TcpListener);

/// Listens.
///
/// # Errors
/// The address cannot be listened on.
pub async fn bind(address: SocketAddr) -> Result<Server, Error> {
    TcpListener::bind(address).await.map(Server).map_err(|source| Error::Listen { address, source })
}

impl Server {
    /// Serves until `shutdown`.
    pub async fn serve(self, ready: Ready, metrics: Metrics, shutdown: CancellationToken) {
        serve(self.0, ready, metrics, shutdown).await;
    }
}

async fn serve(listener: TcpListener, ready: Ready, metrics: Metrics, shutdown: CancellationToken) {
    let slots = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = shutdown.cancelled() => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (ready, metrics, shutdown) = (ready.clone(), metrics.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let answer = answer(request.uri().path(), ready(), || metrics.render());
                async move { Ok::<_, Infallible>(answer) }
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::select! {
                _ = server.serve_connection(TokioIo::new(stream), service) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

fn answer(path: &str, ready: bool, metrics: impl FnOnce() -> String) -> Response<Full> {
    let (status, text) = match path {
        "/healthz" | "/livez" => (StatusCode::OK, "ok".to_owned()),
        "/readyz" if ready => (StatusCode::OK, "ok".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not ready".to_owned()),
        "/metrics" => (StatusCode::OK, metrics()),
        _ => (StatusCode::NOT_FOUND, "404 page not found".to_owned()),
    };
    let mut response = Response::new(Full(Some(Bytes::from(text))));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A body of one piece.
struct Full(Option<Bytes>);

impl hyper::body::Body for Full {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_answer() {
        let table =
            [("/livez", false, 200), ("/readyz", false, 503), ("/readyz", true, 200), ("/x", true, 404)];
        for (path, ready, status) in table {
            assert_eq!(answer(path, ready, String::new).status().as_u16(), status, "{path} {ready}");
        }
    }
}
