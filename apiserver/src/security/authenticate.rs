//! From what a request shows to who asks.
//!
//! Client certificates ([`ShownCertificate`], after rustls has verified the chain) and tokens of service accounts
//! ([`ServiceAccountTokens::verify`]); nothing else is believed. Whoever shows nothing is nobody, except on
//! [`OPEN_PATHS`].

use skiff_api::status::Status;

pub use super::certificate::Shown as ShownCertificate;
pub use super::token::{Bound, Grant, ISSUER, ServiceAccountTokens};
use super::{Invalid, Objects, User};

/// The paths that answer anyone; everything else needs credentials.
pub const OPEN_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// What a request shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The client's own certificate, after rustls has verified it.
    pub certificate: Option<&'a ShownCertificate>,
    /// The whole `Authorization` header.
    pub authorization: Option<&'a str>,
}

/// Knows every way to prove who one is.
#[derive(Debug)]
pub struct Authenticator {
    /// Tokens of service accounts.
    pub tokens: ServiceAccountTokens,
}

impl Authenticator {
    /// Believes client certificates and the tokens that `tokens` signs.
    pub fn new(tokens: ServiceAccountTokens) -> Self {
        Self { tokens }
    }

    /// Who asks for `path`.
    ///
    /// # Errors
    /// 401 if credentials are bad, or absent on a path that is not one of [`OPEN_PATHS`].
    pub fn authenticate(
        &self,
        path: &str,
        credentials: &Credentials<'_>,
        objects: &dyn Objects,
        now_s: i64,
    ) -> Result<User, Status> {
        let shown = self.identify(credentials, objects, now_s).map_err(|why| {
            tracing::debug!(%why, path, "credentials refused");
            Status::unauthorized()
        })?;
        match shown {
            Some(user) => Ok(user),
            None if is_open(path) => Ok(User::anonymous()),
            None => Err(Status::unauthorized()),
        }
    }

    fn identify(
        &self,
        credentials: &Credentials<'_>,
        objects: &dyn Objects,
        now_s: i64,
    ) -> Result<Option<User>, Invalid> {
        if let Some(certificate) = credentials.certificate {
            return certificate.user(now_s).map(Some);
        }
        let Some(token) = credentials.authorization.and_then(bearer) else { return Ok(None) };
        self.tokens.verify_at(token, &[], objects, now_s).map(|(user, _)| Some(user))
    }
}

/// Whether a path answers anyone: one of [`OPEN_PATHS`], or a single check (`/livez/ping`).
pub fn is_open(path: &str) -> bool {
    OPEN_PATHS.iter().any(|open| {
        path.strip_prefix(open).is_some_and(|rest| {
            rest.is_empty() || rest == "/" || (*open != "/version" && rest.starts_with('/'))
        })
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
    use crate::security::AUTHENTICATED;
    use crate::security::token::tests::{NOW, Store, grant, tokens};

    #[test]
    fn whoever_shows_nothing_is_let_in_on_open_paths_only() {
        let authenticator = Authenticator::new(tokens());
        let ask = |path: &str, header: Option<&str>| {
            let shown = Credentials { authorization: header, ..Credentials::default() };
            authenticator.authenticate(path, &shown, &Store::default(), NOW).map_err(|status| status.code)
        };
        assert_eq!(ask("/healthz", None).unwrap().name, "system:anonymous");
        assert_eq!(ask("/api", None), Err(401));
        assert_eq!(ask("/healthz", Some("Bearer nonsense")), Err(401), "bad credentials are worse than none");
    }

    #[test]
    fn a_service_account_token_names_its_account() {
        let authenticator = Authenticator::new(tokens());
        let header = format!("Bearer {}", authenticator.tokens.sign(&grant()).unwrap());
        let shown = Credentials { authorization: Some(&header), ..Credentials::default() };
        let user = authenticator.authenticate("/api", &shown, &Store::with_account(), NOW).unwrap();
        assert_eq!(user.name, "system:serviceaccount:ns:sa");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED]);
    }

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
        let table = [
            ("Bearer a", Some("a")),
            ("bearer  a ", Some("a")),
            ("Basic a", None),
            ("Bearer", None),
            ("", None),
        ];
        for (header, expected) in table {
            assert_eq!(bearer(header), expected, "{header}");
        }
    }
}
