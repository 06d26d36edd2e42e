//! Bootstrap tokens: they sign where the cluster is, and are removed when they have ended.
//!
//! Behaviour: upstream's `pkg/controller/bootstrap`.

pub(crate) mod clean;
pub(crate) mod sign;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use skiff_api::bootstrap_token::{SECRET_TYPE, Token, key, secret_name};

fn text<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value.and_then(|value| std::str::from_utf8(&value.0).ok()).unwrap_or_default()
}

/// When it ends: never, or at a second of the epoch. What cannot be read has ended long ago.
fn ends_s(secret: &Secret) -> Option<i64> {
    match text(secret, key::EXPIRATION) {
        "" => None,
        time => Some(time.parse::<Timestamp>().map_or(0, Timestamp::as_second)),
    }
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(SECRET_TYPE)
}

/// The token that a Secret holds, if it may sign now.
fn signing(secret: &Secret, now_s: i64) -> Option<Token> {
    let token = Token { id: text(secret, key::ID).to_owned(), secret: text(secret, key::SECRET).to_owned() };
    let usable = is_token(secret)
        && Token::parse(&token.bearer()).is_some()
        && secret.metadata.name.as_deref() == Some(&secret_name(&token.id))
        && secret.metadata.deletion_timestamp.is_none()
        && ends_s(secret).is_none_or(|ends| now_s < ends)
        && text(secret, key::SIGNING) == "true";
    usable.then_some(token)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    pub(super) fn secret(id: &str, fields: &[(&str, &str)]) -> Secret {
        let mut secret = Secret { type_: Some(SECRET_TYPE.into()), ..Default::default() };
        secret.metadata.name = Some(secret_name(id));
        let all = [(key::ID, id), (key::SECRET, "0123456789abcdef")];
        let data = all
            .iter()
            .chain(fields)
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        secret.data = Some(data.collect());
        secret
    }

    #[test]
    fn only_tokens_that_are_for_it_and_have_not_ended_sign() {
        let signs = (key::SIGNING, "true");
        let table = [
            ("for ever", secret("abcdef", &[signs]), true),
            ("not for it", secret("abcdef", &[]), false),
            ("said otherwise", secret("abcdef", &[(key::SIGNING, "yes")]), false),
            ("yet", secret("abcdef", &[signs, (key::EXPIRATION, "1970-01-01T00:10:00Z")]), true),
            ("no more", secret("abcdef", &[signs, (key::EXPIRATION, "1970-01-01T00:01:00Z")]), false),
            ("unreadable", secret("abcdef", &[signs, (key::EXPIRATION, "tomorrow")]), false),
            ("malformed", secret("ABCDEF", &[signs]), false),
        ];
        for (what, secret, expected) in table {
            assert_eq!(signing(&secret, 300).is_some(), expected, "{what}");
        }
        let mut misnamed = secret("abcdef", &[signs]);
        misnamed.metadata.name = Some("bootstrap-token-other0".into());
        assert!(signing(&misnamed, 300).is_none());
        let mut other = secret("abcdef", &[signs]);
        other.type_ = Some("Opaque".into());
        assert!(signing(&other, 300).is_none());
    }
}
