//! Requests that go on to a pod, a service or a node.
//!
//! A name may carry a scheme and a port: `name`, `name:port`, `http:name:port`.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use http::{HeaderValue, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use skiff_api::meta;
use skiff_api::status::Status;
use tokio::net::TcpStream;

use crate::app::Call;
use crate::backend::{Backend, Place, Trust};
use crate::{negotiate, node};

/// How long connecting may take, in seconds.
const CONNECT_S: u64 = 30;

/// A name taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

fn target(text: &str) -> Option<Target<'_>> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => Some(Target { scheme: "", name, port: "" }),
        [name, port] => Some(Target { scheme: "", name, port }),
        [scheme @ ("" | "http" | "https"), name, port] => Some(Target { scheme, name, port }),
        _ => None,
    }
}

/// Sends a request on, and its answer back.
pub async fn answer(call: &Call, mut request: Request<Body>) -> Result<Response<Body>, Status> {
    let Some(Target { scheme, name, port }) = target(call.name()) else {
        return Err(Status::bad_request(format!("invalid {} request {:?}", call.kind.singular, call.name())));
    };
    let (base, rest) = split(request.uri().path(), &call.info.resource);
    if rest.is_empty() && request.method() == http::Method::GET {
        // So that relative links lead where they should.
        let mut address = format!("{base}/");
        if let Some(query) = request.uri().query() {
            address.push_str(&format!("?{query}"));
        }
        let mut response = negotiate::json(301, Body::empty());
        let value = HeaderValue::from_str(&address).map_err(Status::internal)?;
        response.headers_mut().insert(header::LOCATION, value);
        return Ok(response);
    }
    let path = match (rest.is_empty(), request.uri().query()) {
        (true, _) => "/".to_owned(),
        (false, None) => rest.to_owned(),
        (false, Some(query)) => format!("{rest}?{query}"),
    };
    let base = base.to_owned();
    let client = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (mut head, body) = request.into_parts();
    keep_host(&mut head);
    head.uri = path.parse::<Uri>().map_err(|error| Status::bad_request(error.to_string()))?;
    head.version = http::Version::HTTP_11;
    let own: Vec<_> =
        head.headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    own.iter().for_each(|name| drop(head.headers.remove(name)));
    head.headers.remove(header::AUTHORIZATION);
    let request = Request::from_parts(head, body);
    call.app.cache.catch_up().await?;
    let mut response = if call.kind.plural == "nodes" {
        node::send_to(&call.app, name, request).await?
    } else {
        let address = match call.kind.plural.as_str() {
            "pods" => pod_address(call, name, port)?,
            _ => service_address(call, name, port)?,
        };
        match scheme {
            "https" => send_safely(call, address, request).await?,
            _ => send(address, request).await?,
        }
    };
    if let Some(client) = client
        && response.status() == http::StatusCode::SWITCHING_PROTOCOLS
    {
        node::join(client, hyper::upgrade::on(&mut response));
        let (head, _) = response.into_parts();
        return Ok(Response::from_parts(head, Body::empty()));
    }
    relocate(&mut response, &base);
    Ok(response)
}

/// What HTTP/2 carries beside the path, HTTP/1.1 carries as a header, and servers refuse a request without.
fn keep_host(head: &mut http::request::Parts) {
    let named = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(named) = named
        && !head.headers.contains_key(header::HOST)
    {
        head.headers.insert(header::HOST, named);
    }
}

/// A path as far as `proxy`, and what comes after it.
fn split<'a>(path: &'a str, resource: &str) -> (&'a str, &'a str) {
    let start = path.find(&format!("/{resource}/")).map_or(0, |at| at + resource.len() + 2);
    match path[start..].find("/proxy") {
        Some(at) => path.split_at(start + at + "/proxy".len()),
        None => (path, ""),
    }
}

/// A redirect inside of what is proxied stays there.
fn relocate(response: &mut Response<Body>, base: &str) {
    let Some(location) = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok())
    else {
        return;
    };
    if location.starts_with('/')
        && let Ok(value) = HeaderValue::from_str(&format!("{base}{location}"))
    {
        response.headers_mut().insert(header::LOCATION, value);
    }
}

/// Over TLS, with whoever answers: as upstream, what runs in pods is not asked who it is.
async fn send_safely(
    call: &Call,
    address: SocketAddr,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let place = Place::Host { host: address.ip().to_string(), port: address.port() };
    let backend = Backend { place, trust: Trust::Anyone, shows_certificate: false };
    let response = call.app.backends.send(&backend, request).await.map_err(|failure| {
        Status::new(503, "ServiceUnavailable", format!("error trying to reach service: {failure}"))
    })?;
    Ok(response.map(Body::new))
}

async fn send(address: SocketAddr, request: Request<Body>) -> Result<Response<Body>, Status> {
    let failed = |why: String| {
        let text = format!("error trying to reach service: {why}");
        Status::new(503, "ServiceUnavailable", text)
    };
    let connect = TcpStream::connect(address);
    let stream = tokio::time::timeout(std::time::Duration::from_secs(CONNECT_S), connect)
        .await
        .map_err(|_| failed(format!("dial tcp {address}: i/o timeout")))?
        .map_err(|error| failed(format!("dial tcp {address}: {error}")))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
    Ok(response.map(Body::new))
}

fn pod_address(call: &Call, name: &str, port: &str) -> Result<SocketAddr, Status> {
    let found = call.app.cache.of(&call.kind)?.get(call.namespace(), name);
    let pod = found.ok_or_else(|| Status::not_found("", "pods", name))?.object(&call.kind, &call.version);
    let first = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|container| container["ports"].as_array().into_iter().flatten())
        .find_map(|port| port["containerPort"].as_u64());
    let port = match port {
        "" => first.and_then(|port| u16::try_from(port).ok()).unwrap_or(80),
        text => {
            text.parse().map_err(|_| Status::bad_request(format!("invalid pod request {:?}", call.name())))?
        }
    };
    let address: Option<IpAddr> = pod["status"]["podIP"].as_str().and_then(|text| text.parse().ok());
    let address = address.ok_or_else(|| Status::bad_request("address not allowed"))?;
    Ok(SocketAddr::new(address, port))
}

/// A ready endpoint of a service's port, by its name or number; the only port needs neither.
fn service_address(call: &Call, name: &str, port: &str) -> Result<SocketAddr, Status> {
    let found = call.app.cache.of(&call.kind)?.get(call.namespace(), name);
    let service =
        found.ok_or_else(|| Status::not_found("", "services", name))?.object(&call.kind, &call.version);
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let wanted = ports.iter().find(|one| {
        (port.is_empty() && ports.len() == 1)
            || one["name"].as_str().unwrap_or_default() == port
            || one["port"].as_u64().is_some_and(|number| number.to_string() == port)
    });
    let none = |text: String| Status::new(503, "ServiceUnavailable", text);
    let wanted =
        wanted.ok_or_else(|| none(format!("no service port {port:?} found for service {name:?}")))?;
    let port_name = wanted["name"].as_str().unwrap_or_default();
    let slices =
        call.app.cache.find("discovery.k8s.io", "endpointslices").ok_or_else(Status::no_such_path)?;
    let snapshot = slices.snapshot();
    let of_service = snapshot.items.values().filter(|item| {
        item.namespace() == call.namespace()
            && item.labels.get("kubernetes.io/service-name").is_some_and(|label| label == name)
    });
    let mut addresses = Vec::new();
    for slice in of_service.map(|item| item.object(slices.kind(), "v1")) {
        let list = |field: &str| slice[field].as_array().cloned().unwrap_or_default();
        let number = list("ports")
            .iter()
            .find(|one| one["name"].as_str().unwrap_or_default() == port_name)
            .and_then(|one| one["port"].as_u64().and_then(|port| u16::try_from(port).ok()));
        for endpoint in list("endpoints").iter().filter(|one| one["conditions"]["ready"] != false) {
            let address: Option<IpAddr> =
                endpoint["addresses"][0].as_str().and_then(|text: &str| text.parse().ok());
            addresses.extend(number.zip(address).map(|(port, address)| SocketAddr::new(address, port)));
        }
    }
    let at = (!addresses.is_empty()).then(|| rand::random_range(0..addresses.len()));
    at.map(|at| addresses[at])
        .ok_or_else(|| none(format!("no endpoints available for service {:?}", meta::name(&service))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_http_2_gets_the_header_that_http_1_wants() {
        let host = |request: http::request::Builder| {
            let (mut head, ()) = request.body(()).unwrap().into_parts();
            keep_host(&mut head);
            head.headers.get(header::HOST).map(|host| host.to_str().unwrap().to_owned())
        };
        let two = Request::get("https://api.test:6443/api/v1/namespaces/d/pods/p/proxy/");
        assert_eq!(host(two).as_deref(), Some("api.test:6443"));
        assert_eq!(host(Request::get("/x").header("host", "other")).as_deref(), Some("other"));
    }

    #[test]
    fn names_and_paths_are_taken_apart() {
        assert_eq!(target("a"), Some(Target { scheme: "", name: "a", port: "" }));
        assert_eq!(target("a:80"), Some(Target { scheme: "", name: "a", port: "80" }));
        assert_eq!(target("https:a:web"), Some(Target { scheme: "https", name: "a", port: "web" }));
        assert_eq!(target("ftp:a:1"), None);
        let path = "/api/v1/namespaces/proxy/pods/proxy/proxy/x/proxy/";
        assert_eq!(split(path, "pods"), ("/api/v1/namespaces/proxy/pods/proxy/proxy", "/x/proxy/"));
        assert_eq!(split("/api/v1/nodes/n/proxy", "nodes"), ("/api/v1/nodes/n/proxy", ""));
    }
}
