//! From what a request shows to who asks.

use std::collections::BTreeMap;

use skiff_api::status::Status;

use super::{AUTHENTICATED, Objects, ServiceAccountTokens, User, certificate};

/// The paths that answer anyone; everything else needs credentials.
pub const OPEN_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// What a request shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The client's own certificate (DER), after rustls has verified it.
    pub certificate: Option<&'a [u8]>,
    /// The whole `Authorization` header.
    pub authorization: Option<&'a str>,
}

/// Knows every way to prove who one is.
#[derive(Debug)]
pub struct Authenticator {
    /// Tokens of service accounts.
    pub tokens: ServiceAccountTokens,
    /// Fixed tokens and whom they stand for; empty unless an operator gives some.
    pub fixed: BTreeMap<String, User>,
    /// The audiences that mean this API server.
    pub audiences: Vec<String>,
}

impl Authenticator {
    /// Only service-account tokens and certificates, with the issuer as audience, as upstream's default.
    pub fn new(tokens: ServiceAccountTokens) -> Self {
        let audiences = vec![tokens.issuer().to_owned()];
        Self { tokens, fixed: BTreeMap::new(), audiences }
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
            tracing::debug!(why, path, "credentials refused");
            Status::unauthorized()
        })?;
        match shown {
            Some(user) => Ok(user),
            None if is_open(path) => Ok(User::anonymous()),
            None => Err(Status::unauthorized()),
        }
    }

    /// Whom a bearer token stands for, and for which of `audiences` (this server's own if none are asked for).
    ///
    /// # Errors
    /// Why the token is not valid.
    pub fn token(
        &self,
        token: &str,
        audiences: &[String],
        objects: &dyn Objects,
        now_s: i64,
    ) -> Result<(User, Vec<String>), String> {
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        if let Some(user) = self.fixed.get(token) {
            let meant: Vec<String> = wanted.iter().filter(|one| self.audiences.contains(one)).cloned().collect();
            if meant.is_empty() {
                return Err("the token is not meant for these audiences".into());
            }
            return Ok((authenticated(user.clone()), meant));
        }
        let claims = self.tokens.verify(token, wanted, now_s)?;
        let user = claims.user(objects, now_s)?;
        let meant = wanted.iter().filter(|one| claims.aud.contains(one)).cloned().collect();
        Ok((authenticated(user), meant))
    }

    fn identify(
        &self,
        credentials: &Credentials<'_>,
        objects: &dyn Objects,
        now_s: i64,
    ) -> Result<Option<User>, String> {
        if let Some(der) = credentials.certificate {
            return certificate::user(der).map(authenticated).map(Some);
        }
        let Some(header) = credentials.authorization else { return Ok(None) };
        let (scheme, token) = header.trim().split_once(' ').unwrap_or((header, ""));
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Ok(None);
        }
        self.token(token.trim(), &[], objects, now_s).map(|(user, _)| Some(user))
    }
}

/// Whether a path answers anyone, its parts (`/livez/ping`) included.
pub fn is_open(path: &str) -> bool {
    OPEN_PATHS.iter().any(|open| {
        path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || (*open != "/version" && rest.starts_with('/')))
    })
}

fn authenticated(mut user: User) -> User {
    if !user.is_in(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::token::tests::{NOW, Store, grant, tokens};

    #[test]
    fn health_and_version_answer_anyone_and_nothing_else_does() {
        let authenticator = Authenticator::new(tokens());
        let nothing = Credentials::default();
        let table = [
            ("/healthz", true),
            ("/livez", true),
            ("/readyz/ping", true),
            ("/version", true),
            ("/version/x", false),
            ("/healthzz", false),
            ("/api", false),
            ("/metrics", false),
        ];
        for (path, open) in table {
            let answer = authenticator.authenticate(path, &nothing, &Store::default(), NOW);
            assert_eq!(answer.is_ok(), open, "{path}");
            if let Err(status) = answer {
                assert_eq!(status.code, 401);
            }
        }
    }

    #[test]
    fn a_bad_token_is_refused_even_where_anyone_may_read() {
        let authenticator = Authenticator::new(tokens());
        let shown = Credentials { authorization: Some("Bearer nonsense"), ..Credentials::default() };
        assert!(authenticator.authenticate("/healthz", &shown, &Store::default(), NOW).is_err());
    }

    #[test]
    fn a_service_account_token_names_its_account() {
        let authenticator = Authenticator::new(tokens());
        let signed = authenticator.tokens.sign(&grant(), NOW).unwrap();
        let header = format!("Bearer {}", signed.token);
        let shown = Credentials { authorization: Some(&header), ..Credentials::default() };
        let user = authenticator.authenticate("/api", &shown, &Store::with_account(), NOW).unwrap();
        assert_eq!(user.name, "system:serviceaccount:ns:sa");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED]);
    }
}
