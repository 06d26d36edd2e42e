//! Port-forward over SPDY: two streams a connection, one for data and one for errors, paired by a request's number.

use std::collections::HashMap;

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::session::{self, Stream};
use crate::server::{
    Answer,
    forward::{Target, connect},
    text,
};

const PROTOCOL: &str = "portforward.k8s.io";
/// Error streams that wait for their data stream; more are refused.
const MAX_WAITING: usize = 256;

/// Answers, then carries.
pub fn upgrade(request: Request<Incoming>, target: Target) -> Answer {
    if !super::offered(&request).iter().any(|o| o == PROTOCOL) {
        return text(
            StatusCode::FORBIDDEN,
            format!("unable to negotiate protocol: server supports [{PROTOCOL}]"),
        );
    }
    super::accept(request, PROTOCOL, move |io| serve(io, target))
}

/// Carries until the client leaves.
pub async fn serve<S>(io: S, target: Target)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut opened = session::serve(io);
    let mut waiting: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = opened.recv().await {
        // Old clients send no number; the port then tells.
        let number =
            stream.header("requestid").or_else(|| stream.header("port")).unwrap_or_default().to_owned();
        match stream.header("streamtype") {
            Some("error") if waiting.len() < MAX_WAITING => {
                waiting.insert(number, stream);
            }
            Some("data") => {
                tokio::spawn(one(stream, waiting.remove(&number), target));
            }
            _ => stream.out.reset().await,
        }
    }
}

async fn one(mut data: Stream, error: Option<Stream>, target: Target) {
    let port = data.header("port").and_then(|p| p.parse::<u16>().ok());
    let connected = match port {
        Some(port) => connect(target, port).await.map_err(|e| e.to_string()),
        None => Err("the port is not a number".to_owned()),
    };
    match connected {
        Ok(stream) => {
            let (mut read, mut write) = stream.into_split();
            let inbound = async {
                while let Some(bytes) = data.data.recv().await {
                    if write.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                let _ = write.shutdown().await;
            };
            let out = &data.out;
            let outbound = async {
                let mut buffer = vec![0; 32 * 1024];
                while let Ok(count) = read.read(&mut buffer).await {
                    if count == 0 || !out.send(Bytes::copy_from_slice(&buffer[..count])).await {
                        break;
                    }
                }
                out.close().await;
            };
            let mut inbound = std::pin::pin!(inbound);
            // The pod's end closes the forward, whether or not the client has more to say.
            tokio::select! {
                () = outbound => {}
                () = async { inbound.as_mut().await; std::future::pending::<()>().await; } => {}
            }
        }
        Err(message) => {
            if let Some(error) = &error {
                error.out.send(message.into()).await;
            }
            data.out.close().await;
        }
    }
    if let Some(error) = error {
        error.out.close().await;
    }
}
