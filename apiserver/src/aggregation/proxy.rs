//! Requests on their way to an extension API server, and its answers on their way back.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use skiff_api::status::Status;

use super::service::ApiService;
use crate::app::App;
use crate::security::User;
use crate::{health, node};

const USER: &str = "x-remote-user";
const UID: &str = "x-remote-uid";
const GROUP: &str = "x-remote-group";
const EXTRA: &str = "x-remote-extra-";

/// Sends a request on. Whoever asks has been authorized.
pub async fn forward(
    app: &App,
    service: &ApiService,
    user: &User,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status> {
    // Not a Status: kube-apiserver answers in plain text here, which clients put in their own words.
    let unavailable = |why: &str| health::text(503, format!("{why}\n"));
    let Some(backend) = service.backend.as_ref().filter(|_| service.available) else {
        return Ok(unavailable("service unavailable"));
    };
    let client = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    head.uri = path.parse().map_err(Status::internal)?;
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    let authority = backend.place.authority();
    head.headers.insert(header::HOST, HeaderValue::from_str(&authority).map_err(Status::internal)?);
    identify(&mut head.headers, user);
    let outcome = app.backends.send(backend, Request::from_parts(head, body)).await;
    let mut response = match outcome {
        Ok(response) => response,
        Err(failure) => return Ok(unavailable(&format!("error trying to reach service: {failure}"))),
    };
    if let Some(client) = client
        && response.status() == StatusCode::SWITCHING_PROTOCOLS
    {
        node::join(client, hyper::upgrade::on(&mut response));
        let (head, _) = response.into_parts();
        return Ok(Response::from_parts(head, Body::empty()));
    }
    let mut response = response.map(Body::new);
    // How this connection is kept is not the other side's to say.
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, HeaderName::from_static("keep-alive")] {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

/// Says who asks; what a client said of itself is taken out, and so are its credentials.
pub fn identify(headers: &mut HeaderMap, user: &User) {
    let own = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-remote-") || name.starts_with("impersonate-") || name == "authorization"
    };
    let given: Vec<HeaderName> = headers.keys().filter(|name| own(name)).cloned().collect();
    given.iter().for_each(|name| drop(headers.remove(name)));
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    user.groups.iter().for_each(|group| add(GROUP, group));
    for (key, values) in &user.extra {
        values.iter().for_each(|value| add(&format!("{EXTRA}{}", escaped(key)), value));
    }
}

/// A key as part of a header's name: what may not stand there is escaped as in URLs.
fn escaped(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_server_says_who_asks() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "root"),
            ("x-remote-extra-a", "b"),
            ("authorization", "Bearer x"),
            ("impersonate-user", "y"),
            ("accept", "z"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut user = User::new("jane", &["a", "b"]);
        user.extra.insert("example.com/Scope".into(), vec!["s".into()]);
        identify(&mut headers, &user);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert_eq!(all("x-remote-group"), ["a", "b"]);
        assert_eq!(all("x-remote-extra-example.com%2Fscope"), ["s"]);
        assert_eq!(all("accept"), ["z"]);
        assert_eq!(headers.len(), 5);
    }
}
