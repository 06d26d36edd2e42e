//! `/healthz` and `/livez`, upstream's answer to whether this proxy works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until shutdown, if there is an address. An address that cannot be had is told, and done without.
pub async fn run(address: Option<SocketAddr>, healthy: Arc<AtomicBool>, shutdown: CancellationToken) {
    let Some(address) = address else { return };
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%address, %error, "cannot serve health");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        // One at a time: probes are rare, and each is short.
        if let Ok((stream, _)) = accepted {
            let _ = tokio::time::timeout(PATIENCE, answer(stream, healthy.load(Ordering::Relaxed))).await;
        }
    }
}

async fn answer(mut stream: TcpStream, healthy: bool) -> std::io::Result<()> {
    let mut head = vec![0; 1024];
    let length = stream.read(&mut head).await?;
    let head = String::from_utf8_lossy(&head[..length]);
    let status = match head.split_whitespace().nth(1) {
        Some("/livez") => "200 OK",
        Some("/healthz") if healthy => "200 OK",
        Some("/healthz") => "503 Service Unavailable",
        _ => "404 Not Found",
    };
    let body = if status.starts_with("200") { "ok" } else { status };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await
}
