//! stub
use crate::{
    cri::ExecSpec,
    server::{Answer, remote::Wire, text},
};
use http::{Request, StatusCode};
use hyper::body::Incoming;
/// stub
pub fn upgrade(_request: Request<Incoming>, _wire: Wire, _spec: &ExecSpec) -> Answer {
    text(StatusCode::NOT_IMPLEMENTED, "SPDY is not implemented yet")
}
