//! From what a request shows to who asks.
//!
//! Client certificates ([`certificate_user`], after rustls has verified the chain) and tokens of service accounts
//! ([`ServiceAccountTokens::verify`]); nothing else is believed. Whoever shows nothing is nobody, except on
//! [`OPEN_PATHS`].

pub use super::certificate::user as certificate_user;
pub use super::token::{Bound, Grant, ISSUER, ServiceAccountTokens};

/// The paths that answer anyone; everything else needs credentials.
pub const OPEN_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// Whether a path answers anyone: one of [`OPEN_PATHS`], or a single check (`/livez/ping`).
pub fn is_open(path: &str) -> bool {
    OPEN_PATHS.iter().any(|open| {
        path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest == "/" || (*open != "/version" && rest.starts_with('/')))
    })
}

/// The token in an `Authorization` header.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_version_answer_anyone_and_nothing_else_does() {
        let table = [
            ("/healthz", true),
            ("/livez", true),
            ("/readyz/ping", true),
            ("/version", true),
            ("/version/", true),
            ("/version/x", false),
            ("/healthzz", false),
            ("/api", false),
            ("/metrics", false),
        ];
        for (path, open) in table {
            assert_eq!(is_open(path), open, "{path}");
        }
    }

    #[test]
    fn bearer_tokens_are_found_whatever_the_case() {
        let table = [("Bearer a", Some("a")), ("bearer  a ", Some("a")), ("Basic a", None), ("Bearer", None), ("", None)];
        for (header, expected) in table {
            assert_eq!(bearer(header), expected, "{header}");
        }
    }
}
