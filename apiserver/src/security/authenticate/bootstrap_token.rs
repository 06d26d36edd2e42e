//! Bootstrap tokens: Secrets of `kube-system` by which a node that knows nobody yet may ask for a certificate.
//!
//! Behaviour as upstream's `plugin/pkg/auth/authenticator/token/bootstrap`: a token that does not fit for whatever reason is no
//! token, and no one is told why.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::{Authenticated, Question, Rest, TokenAuthenticator};
use crate::security::{Invalid, User, text};

/// Everyone with such a token.
const GROUP: &str = "system:bootstrappers";
const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";

/// Believes bootstrap tokens.
#[derive(Debug, Clone, Copy)]
pub struct BootstrapTokens;

#[async_trait::async_trait]
impl TokenAuthenticator for BootstrapTokens {
    async fn token(&self, asked: &Question<'_>) -> Result<Option<Authenticated>, Invalid> {
        let Some((id, secret)) = parts(asked.token) else { return Ok(None) };
        let name = format!("bootstrap-token-{id}");
        let Some(stamp) = asked.objects.stamp("secrets", NAMESPACE, &name) else { return Ok(None) };
        let Some(object) = asked.objects.get("secrets", NAMESPACE, &name) else { return Ok(None) };
        let Some((groups, until_s)) = judge(&object, id, secret, asked.now_s) else { return Ok(None) };
        let user = User { name: format!("system:bootstrap:{id}"), groups, ..User::default() };
        Ok(asked.whatever_the_audience(user).map(|answer| Authenticated {
            rests_on: vec![Rest::new("secrets", NAMESPACE, &name, stamp)],
            until_s,
            ..answer
        }))
    }
}

/// The id and the secret part of a token: six and sixteen lower-case letters or digits.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let fits = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (fits(id, 6) && fits(secret, 16)).then_some((id, secret))
}

/// The groups that a Secret gives to who knows its secret part, and until when; nothing if it does not fit.
fn judge(object: &Value, id: &str, secret: &str, now_s: i64) -> Option<(Vec<String>, i64)> {
    let data = |key: &str| -> String {
        let encoded = object["data"][key].as_str().unwrap_or_default();
        STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    };
    let deleted = !text(object, "/metadata/deletionTimestamp").is_empty();
    if deleted || text(object, "/type") != TYPE || !same(&data("token-secret"), secret) {
        return None;
    }
    if data("token-id") != id || data("usage-bootstrap-authentication") != "true" {
        return None;
    }
    let until_s = match data("expiration").as_str() {
        "" => i64::MAX,
        at => at.parse::<Timestamp>().ok().map(|at| at.as_second()).filter(|at| now_s < *at)?,
    };
    let mut groups = vec![GROUP.to_owned()];
    for group in data("auth-extra-groups").split(',').filter(|group| !group.is_empty()) {
        if !is_group(group) {
            return None;
        }
        if !groups.iter().any(|known| known == group) {
            groups.push(group.to_owned());
        }
    }
    groups.sort();
    Some((groups, until_s))
}

/// Compares in a time that does not tell where the first difference is.
pub(super) fn same(left: &str, right: &str) -> bool {
    let differing = left.bytes().zip(right.bytes()).fold(0, |so_far, (left, right)| so_far | (left ^ right));
    left.len() == right.len() && differing == 0
}

/// Groups given by a token are below `system:bootstrappers:`.
fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b':' || byte == b'-';
    let end = rest.bytes().last().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    end && rest.len() <= 256 && rest.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::security::token::tests::NOW;

    fn secret(changes: &[(&str, &str)]) -> Value {
        let mut data = json!({"token-id": "abcdef", "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true"});
        for (key, value) in changes {
            data[*key] = (*value).into();
        }
        let data: serde_json::Map<String, Value> = data
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), STANDARD.encode(value.as_str().unwrap()).into()))
            .collect();
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": TYPE, "data": data})
    }

    #[test]
    fn a_token_is_six_and_sixteen_letters() {
        let table = [
            ("abcdef.0123456789abcdef", true),
            ("abcdef.0123456789abcde", false),
            ("ABCDEF.0123456789abcdef", false),
            ("abcdef0123456789abcdef", false),
            ("abcde/.0123456789abcdef", false),
        ];
        for (token, expected) in table {
            assert_eq!(parts(token).is_some(), expected, "{token}");
        }
    }

    #[test]
    fn a_secret_that_does_not_fit_gives_nothing() {
        let table: [(&[(&str, &str)], bool); 9] = [
            (&[], true),
            (&[("token-secret", "0123456789abcdee")], false),
            (&[("token-id", "abcdee")], false),
            (&[("usage-bootstrap-authentication", "yes")], false),
            (&[("expiration", "2030-01-01T00:00:00Z")], true),
            (&[("expiration", "2020-01-01T00:00:00Z")], false),
            (&[("expiration", "soon")], false),
            (&[("auth-extra-groups", "system:masters")], false),
            (&[("auth-extra-groups", "system:bootstrappers:a-b")], true),
        ];
        for (changes, expected) in table {
            let judged = judge(&secret(changes), "abcdef", "0123456789abcdef", NOW);
            assert_eq!(judged.is_some(), expected, "{changes:?}");
        }
        let mut other = secret(&[]);
        other["type"] = "Opaque".into();
        assert!(judge(&other, "abcdef", "0123456789abcdef", NOW).is_none());
        other = secret(&[]);
        other["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z".into();
        assert!(judge(&other, "abcdef", "0123456789abcdef", NOW).is_none());
    }

    #[test]
    fn groups_are_those_of_the_secret_and_the_common_one() {
        let both = secret(&[("auth-extra-groups", "system:bootstrappers:x,system:bootstrappers:a")]);
        let (groups, until_s) = judge(&both, "abcdef", "0123456789abcdef", NOW).unwrap();
        assert_eq!(groups, [GROUP, "system:bootstrappers:a", "system:bootstrappers:x"]);
        assert_eq!(until_s, i64::MAX);
    }
}
