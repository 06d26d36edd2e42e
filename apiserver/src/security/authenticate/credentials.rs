//! What a request shows to prove who it comes from, read from its headers. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};

use crate::security::Invalid;

/// A WebSocket client in a browser cannot set `Authorization`; it names its token as a subprotocol instead.
const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The bearer token in an `Authorization` header. Only the first of several headers is looked at, as upstream does.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let mut parts = header.splitn(3, ' ');
    let (scheme, token) = (parts.next()?, parts.next()?);
    Some(token).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// The token among the subprotocols of a WebSocket request.
///
/// # Errors
/// There are several, it is not readable, or no other subprotocol is left to answer with.
pub fn websocket(headers: &HeaderMap) -> Result<Option<String>, Invalid> {
    let is = |name: header::HeaderName, wanted: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(wanted))
    };
    if !is(header::CONNECTION, "upgrade") || !is(header::UPGRADE, "websocket") {
        return Ok(None);
    }
    let (mut token, mut others) = (None, 0);
    for protocol in protocols(headers) {
        let Some(encoded) = protocol.strip_prefix(PROTOCOL) else {
            others += 1;
            continue;
        };
        if token.is_some() {
            return Err(Invalid("multiple base64.bearer.authorization tokens specified".into()));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| Invalid("invalid base64.bearer.authorization token encoding".into()))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Invalid("invalid base64.bearer.authorization token".into()))?;
        token = Some(text);
    }
    let token = token.filter(|token| !token.is_empty());
    if token.is_some() && others == 0 {
        return Err(Invalid("missing additional subprotocol".into()));
    }
    Ok(token)
}

/// Takes the credentials out of a request that has been authenticated, so that nothing behind this point can see or pass
/// them on: `Authorization`, the token among the subprotocols, and `names` with all that begin with `prefixes`.
pub fn strip(headers: &mut HeaderMap, names: &[String], prefixes: &[String]) {
    headers.remove(header::AUTHORIZATION);
    if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        let left: Vec<&str> = protocols(headers).filter(|protocol| !protocol.starts_with(PROTOCOL)).collect();
        match http::HeaderValue::from_str(&left.join(",")) {
            Ok(value) if !left.is_empty() => drop(headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value)),
            _ => drop(headers.remove(header::SEC_WEBSOCKET_PROTOCOL)),
        }
    }
    let starts = |name: &str, prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let gone: Vec<header::HeaderName> = headers
        .keys()
        .filter(|key| {
            names.iter().any(|name| key.as_str().eq_ignore_ascii_case(name))
                || prefixes.iter().any(|prefix| starts(key.as_str(), prefix))
        })
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// The name of an extra fact in a header: lower case, escapes undone.
pub(crate) fn extra_key(name: &str) -> String {
    crate::request::percent(&name.to_ascii_lowercase(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let list = list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            let _: bool = headers.append::<header::HeaderName>(name, value);
        }
        headers
    }

    #[test]
    fn bearer_tokens_are_found_as_upstream_finds_them() {
        let table = [
            ("Bearer a", Some("a")),
            ("bearer a b", Some("a")),
            (" BEARER a ", Some("a")),
            ("bearer  a", None),
            ("Basic a", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("", None),
        ];
        for (header, expected) in table {
            assert_eq!(bearer(&headers(&[("authorization", header)])), expected, "{header}");
        }
    }

    #[test]
    fn of_two_authorizations_the_first_counts() {
        let both = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
        assert_eq!(bearer(&both), Some("a"));
        let odd = headers(&[("authorization", "Basic x"), ("authorization", "Bearer b")]);
        assert_eq!(bearer(&odd), None);
    }

    #[test]
    fn a_websocket_names_its_token_as_a_subprotocol() {
        let ask = |protocols: &str| {
            websocket(&headers(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-protocol", protocols),
            ]))
            .map_err(|why| why.0)
        };
        let named = |token: &str| format!("{PROTOCOL}{}", URL_SAFE_NO_PAD.encode(token));
        let two = format!("{},{}", named("a"), named("b"));
        let table = [
            (format!("v5.channel.k8s.io, {}", named("tok")), Ok(Some("tok".to_owned()))),
            ("v5.channel.k8s.io".into(), Ok(None)),
            (named("tok"), Err("missing additional subprotocol".to_owned())),
            (two, Err("multiple base64.bearer.authorization tokens specified".into())),
            (format!("{PROTOCOL}*"), Err("invalid base64.bearer.authorization token encoding".into())),
        ];
        for (protocols, expected) in table {
            assert_eq!(ask(&protocols), expected, "{protocols}");
        }
        let plain = headers(&[("sec-websocket-protocol", &format!("x,{}", named("a")))]);
        assert_eq!(websocket(&plain), Ok(None), "only of a WebSocket request");
    }

    #[test]
    fn nothing_behind_sees_the_credentials() {
        let token = format!("v4.channel.k8s.io, {PROTOCOL}YQ");
        let mut headers = headers(&[
            ("authorization", "Bearer a"),
            ("sec-websocket-protocol", &token),
            ("x-remote-user", "jane"),
            ("x-remote-extra-scopes", "a"),
            ("accept", "*/*"),
        ]);
        strip(&mut headers, &["X-Remote-User".into()], &["X-Remote-Extra-".into()]);
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(headers["sec-websocket-protocol"], "v4.channel.k8s.io");
        assert_eq!(headers["accept"], "*/*");
    }
}
