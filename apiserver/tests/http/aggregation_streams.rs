//! What goes through this server to an extension API server and is no single answer: watches, upgrades, large bodies and
//! bodies without a length.

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::aggregation::lead;
use crate::hook::{Hook, Outcome};
use crate::server::{PATIENCE, Server};

const ROOT: &str = "/apis/wardle.example.com/v1";
/// More than the server itself would take, and far more than any buffer on the way.
const LARGE: usize = 20_000_000;

fn whole(code: u16, body: impl Into<Bytes>) -> Outcome {
    let body = Full::new(body.into()).map_err(|never| match never {});
    Ok(Response::builder().status(code).body(body.boxed_unsync()).unwrap())
}

/// A body that comes in pieces, as they are sent.
fn pieces(mut from: mpsc::Receiver<Bytes>) -> Outcome {
    let stream = futures::stream::poll_fn(move |context| from.poll_recv(context));
    let body = StreamBody::new(stream.map(|piece| Ok(Frame::data(piece))));
    Ok(Response::builder().status(200).body(body.boxed_unsync()).unwrap())
}

/// Gives back what comes in on a connection that no longer speaks HTTP.
fn echo(mut request: Request<Incoming>) -> Outcome {
    let protocol = request.headers()["upgrade"].clone();
    let asked_for: Vec<String> = request
        .headers()
        .get_all("sec-websocket-protocol")
        .iter()
        .map(|value| value.to_str().unwrap().to_owned())
        .collect();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let body = Full::new(Bytes::new()).map_err(|never| match never {});
    let response =
        Response::builder().status(101).header("connection", "Upgrade").header("upgrade", protocol);
    let response = response.header("sec-websocket-protocol", asked_for.join(","));
    Ok(response.body(body.boxed_unsync()).unwrap())
}

/// A request by hand, and what the answer's head says; what follows is left to be read.
async fn ask(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), head: &str) -> String {
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer in time");
    String::from_utf8(answer).unwrap().to_lowercase()
}

#[tokio::test]
async fn watches_upgrades_and_large_bodies_go_through_to_an_extension_server() {
    let server = Server::start().await;
    let admin = server.admin();
    let (events, told) = mpsc::channel(1);
    let told = std::sync::Mutex::new(Some(told));
    let hook = Hook::stand(&["wardle.default.svc"], None, move |request: Request<Incoming>, _| {
        let path = request.uri().path().to_owned();
        let told = if path.ends_with("/flunders") { told.lock().unwrap().take() } else { None };
        async move {
            match path.strip_prefix(ROOT) {
                Some("") => whole(200, json!({"kind": "APIResourceList", "groupVersion": "wardle.example.com/v1", "resources": []}).to_string()),
                Some("/flunders") => pieces(told.expect("one watches")),
                Some("/flunders/shell") => echo(request),
                Some("/flunders/shut") => whole(403, "not for you"),
                Some("/flunders/large") => {
                    let length = request.headers().get("content-length").is_some();
                    let sent = request.into_body().collect().await.map_err(|_| "no body")?.to_bytes();
                    let (pass, passed) = mpsc::channel(1);
                    tokio::spawn(async move {
                        pass.send(format!("{length}:").into()).await.unwrap();
                        for piece in sent.chunks(100_000) {
                            pass.send(Bytes::copy_from_slice(piece)).await.unwrap();
                        }
                    });
                    pieces(passed)
                }
                _ => whole(404, "no"),
            }
        }
    })
    .await;
    lead(&admin, &hook).await;

    // A watch tells each event when it happens, and ends when the other side ends it.
    let mut watch = admin.watch(&format!("{ROOT}/flunders?watch=true")).await;
    for name in ["a", "b"] {
        let event = json!({"type": "ADDED", "object": {"metadata": {"name": name}}});
        events.send(format!("{event}\n").into()).await.unwrap();
        assert_eq!(watch.event().await, ("ADDED".into(), name.into()));
    }
    drop(events);
    assert!(watch.next().await.is_none());

    // An upgrade joins both ends, whatever they speak then.
    for (protocol, version) in [("websocket", "v5.channel.k8s.io"), ("SPDY/3.1", "v4.channel.k8s.io")] {
        let mut stream = admin.connect().await;
        let head = format!(
            "POST {ROOT}/flunders/shell HTTP/1.1\nhost: skiff\nconnection: Upgrade\nupgrade: {protocol}\n\
             sec-websocket-protocol: {version}\n\n"
        );
        let answer = ask(&mut stream, &head).await;
        assert!(answer.starts_with("http/1.1 101"), "{answer}");
        assert!(answer.contains(&format!("upgrade: {}", protocol.to_lowercase())), "{answer}");
        assert!(answer.contains(version), "{answer}");
        // More than any buffer holds, in both directions at once.
        let (mut read, mut write) = tokio::io::split(stream);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut back = vec![0; sent.len()];
        let (wrote, got) = tokio::join!(write.write_all(&sent), read.read_exact(&mut back));
        wrote.unwrap();
        got.unwrap();
        assert!(sent == back, "{protocol}: what comes back is what was sent");
        write.shutdown().await.unwrap();
        let end = tokio::time::timeout(PATIENCE, read.read_u8()).await.expect("the end in time");
        assert!(end.is_err(), "one end closes, the other is told");
    }

    // Who is not let in hears it as it was said.
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let shut = admin.send("GET", &format!("{ROOT}/flunders/shut"), &upgrade, "").await;
    assert_eq!((shut.code, shut.text().as_str()), (403, "not for you"));

    // Large bodies, with and without a length, both ways.
    let body: Bytes = vec![b'x'; LARGE].into();
    let answer = admin.send("POST", &format!("{ROOT}/flunders/large"), &[], body.clone()).await;
    assert_eq!((answer.code, answer.body.len()), (200, LARGE + "true:".len()));
    assert!(answer.body.starts_with(b"true:x") && answer.header("content-length").is_empty());
    let mut stream = admin.connect().await;
    let head = format!(
        "POST {ROOT}/flunders/large HTTP/1.1\r\nhost: skiff\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in body.chunks(1_000_000) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
        stream.write_all(piece).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    let answer = ask(&mut stream, "0\n\n").await;
    assert!(answer.starts_with("http/1.1 200") && answer.contains("transfer-encoding: chunked"), "{answer}");
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the end in time").unwrap();
    assert!(rest.windows(7).any(|part| part == b"false:\r") && rest.len() > LARGE, "{}", rest.len());
    assert_eq!(rest.iter().filter(|byte| **byte == b'x').count(), LARGE);
}
