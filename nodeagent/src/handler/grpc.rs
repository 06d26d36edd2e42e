//! The gRPC health protocol (`grpc.health.v1.Health/Check`), as far as a probe needs it: one call with one small message
//! each way. Wording is upstream's `pkg/probe/grpc`.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Found, MAX_OUTPUT, said};

/// The state of a service that is well.
const SERVING: u64 = 1;
/// gRPC's code of a method that a server does not have.
const UNIMPLEMENTED: u32 = 12;

/// Asks a server for the health of a service; the empty name is the server itself.
pub async fn check(ip: IpAddr, port: u16, service: &str) -> Found {
    let address = std::net::SocketAddr::from((ip, port));
    let failed = |why: &dyn std::fmt::Display| format!("error: health rpc probe failed: {why}");
    let stream = TcpStream::connect(address).await.map_err(|error| {
        format!("error: failed to connect service at {address:?}: dial tcp {address}: {}", said(&error))
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
    let connection = tokio::spawn(connection);
    // The connection ends with this question, however that ends.
    let _ends = AbortOnDrop(connection.abort_handle());
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(question(service)))
        .map_err(|error| failed(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let (head, body) = answer.into_parts();
    let body = http_body_util::Limited::new(body, MAX_OUTPUT).collect().await.map_err(|e| failed(&e))?;
    // A server that has nothing but an error to say says it in the headers.
    let none = HeaderMap::new();
    let trailers = body.trailers().cloned();
    let code = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse::<u32>().ok();
    let source =
        if code(&head.headers).is_some() { &head.headers } else { trailers.as_ref().unwrap_or(&none) };
    let message = source.get("grpc-message").and_then(|m| m.to_str().ok()).unwrap_or_default();
    match code(source) {
        Some(0) => state(&body.to_bytes()),
        Some(UNIMPLEMENTED) => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Some(code) => Err(failed(&format!("rpc error: code = {code} desc = {message}"))),
        None => Err(failed(&format!("no gRPC answer (HTTP status {})", head.status))),
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The request: not compressed, its length, and the name of the service in field 1.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.extend_from_slice(&message);
    framed.freeze()
}

/// What the answer says: field 1 is the state, and left out where it is 0.
fn state(framed: &[u8]) -> Found {
    let state = match framed.get(5..) {
        Some([0x08, state, ..]) => u64::from(*state),
        _ => 0,
    };
    let name = match state {
        SERVING => return Ok("service healthy".into()),
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    };
    Err(format!("service unhealthy (responded with {name:?})"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{HeaderValue, Response};
    use http_body_util::StreamBody;
    use hyper::body::{Frame, Incoming};
    use hyper::service::service_fn;

    use super::*;

    /// A server that is well itself, does not serve `db`, and knows no other service or method.
    async fn answer(request: Request<Incoming>) -> Result<Response<StreamBody<Frames>>, Infallible> {
        let known = request.uri().path() == "/grpc.health.v1.Health/Check"
            && request.headers()["content-type"] == "application/grpc";
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let (message, code): (&[u8], &str) = match &body[5..] {
            _ if !known => (b"", "12"),
            [] => (b"\0\0\0\0\x02\x08\x01", "0"),
            b"\x0a\x02db" => (b"\0\0\0\0\x02\x08\x02", "0"),
            _ => (b"", "5"),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_str(code).unwrap());
        trailers.insert("grpc-message", HeaderValue::from_static("said so"));
        let frames = [Ok(Frame::data(Bytes::copy_from_slice(message))), Ok(Frame::trailers(trailers))];
        Ok(Response::new(StreamBody::new(futures::stream::iter(frames))))
    }

    type Frames = futures::stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>;

    #[tokio::test]
    async fn a_server_is_asked_for_itself_and_for_a_service() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service_fn(answer)),
                );
            }
        });
        let ask = |service: &'static str| check(address.ip(), address.port(), service);
        assert_eq!(ask("").await, Ok("service healthy".into()));
        assert_eq!(ask("db").await, Err("service unhealthy (responded with \"NOT_SERVING\")".into()));
        let unknown = ask("other").await.unwrap_err();
        assert_eq!(unknown, "error: health rpc probe failed: rpc error: code = 5 desc = said so");
        server.abort();
        let _ = server.await;
        let gone = ask("").await.unwrap_err();
        assert!(gone.ends_with("connect: connection refused"), "{gone}");
    }

    #[test]
    fn a_long_name_has_a_length_of_two_bytes() {
        let framed = question(&"a".repeat(200));
        assert_eq!(framed[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }
}
