//! SPDY/3.1, as far as exec, attach and port-forward speak it.

mod dictionary;
pub mod exec;
pub mod forward;
mod frame;
mod inflate;
mod session;
pub mod tunnel;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;

use crate::server::Answer;

const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// Whether the client wants SPDY.
pub fn asked<B>(request: &Request<B>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok());
    upgrade.is_some_and(|v| v.eq_ignore_ascii_case(SPDY))
}

/// The protocols that the client offers on top.
fn offered<B>(request: &Request<B>) -> Vec<String> {
    let all = request.headers().get_all(STREAM_PROTOCOL).iter();
    all.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(|p| p.trim().to_owned()).collect()
}

/// Answers with the upgrade; the connection comes once the answer is sent.
fn accept<F, R>(request: Request<Incoming>, protocol: &'static str, then: F) -> Answer
where
    F: FnOnce(TokioIo<Upgraded>) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => then(TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "connection not upgraded"),
        }
    });
    let mut answer =
        Response::new(Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    answer
}
