//! stub
use crate::server::{Answer, forward::Target, text};
use http::{Request, StatusCode};
use hyper::body::Incoming;
/// stub
pub fn upgrade(_request: Request<Incoming>, _target: Target) -> Answer {
    text(StatusCode::NOT_IMPLEMENTED, "SPDY is not implemented yet")
}
/// stub
pub async fn serve<S>(_stream: S, _target: Target) {}
