//! The door: TLS, client certificates, HTTP/1 and HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Identity};
use crate::audit::Peer;

/// How long a client may take to say hello.
const HANDSHAKE_S: u64 = 10;
/// The longest header that is read, in bytes.
const HEADERS_MAX: usize = 64 << 10;

/// Serves a listener until `shutdown`.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let peer = Peer(peer.ip());
                tokio::spawn(connection(app.clone(), acceptor.clone(), stream, peer, shutdown.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to come free.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    app: Arc<App>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: Peer,
    shutdown: CancellationToken,
) {
    let handshake = tokio::time::timeout(Duration::from_secs(HANDSHAKE_S), acceptor.accept(stream));
    let Ok(Ok(stream)) = handshake.await else { return };
    let identity = match stream.get_ref().1.peer_certificates() {
        Some(chain) => Identity::Certificate(Arc::new(app.authenticator.certificate(chain))),
        None => Identity::Unknown,
    };
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        let (app, identity) = (app.clone(), identity.clone());
        async move { Ok::<_, std::convert::Infallible>(app.handle(request.map(Body::new), identity).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .max_buf_size(HEADERS_MAX * 4);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(250)
        .max_header_list_size(u32::try_from(HEADERS_MAX).expect("64 Ki fits"))
        .keep_alive_interval(Duration::from_secs(30));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => if let Err(error) = result {
            tracing::debug!(%error, "a connection ended");
        },
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(Duration::from_secs(5), connection).await;
        }
    }
}
