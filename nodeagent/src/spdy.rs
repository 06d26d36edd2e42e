//! SPDY/3.1, as far as exec, attach and port-forward speak it.

pub mod exec;
pub mod forward;
pub mod tunnel;

use http::{Request, header};

/// Whether the client wants SPDY.
pub fn asked<B>(request: &Request<B>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok());
    upgrade.is_some_and(|v| v.eq_ignore_ascii_case("SPDY/3.1"))
}
