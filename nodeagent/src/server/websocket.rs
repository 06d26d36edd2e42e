//! WebSockets: the handshake, and the channel protocol of exec and attach.
//!
//! A binary message begins with the number of its channel: 0 input, 1 output, 2 errors, 3 the status, 4 the terminal's
//! size; in version 5 also 255, which closes the channel named by the next byte.

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

use super::{
    Answer,
    remote::{Input, Output, Wire, resize},
    text,
};

/// A WebSocket on an upgraded connection.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

const EXEC_PROTOCOLS: [&str; 4] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "channel.k8s.io"];

/// Whether the client wants a WebSocket.
pub fn asked<B>(request: &Request<B>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok());
    upgrade.is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
}

/// The protocols that the client offers.
pub fn offered<B>(request: &Request<B>) -> Vec<String> {
    let all = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    all.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(|p| p.trim().to_owned()).collect()
}

/// Answers with the handshake; the socket comes once the answer is sent.
pub fn accept<F, R>(request: Request<Incoming>, protocol: Option<&str>, then: F) -> Answer
where
    F: FnOnce(Socket) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
        return text(StatusCode::BAD_REQUEST, "the WebSocket handshake lacks its key");
    };
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => {
                then(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await)
                    .await;
            }
            Err(error) => tracing::debug!(%error, "connection not upgraded"),
        }
    });
    let mut answer =
        Response::new(Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(value) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, value);
    }
    if let Some(value) = protocol.and_then(|p| HeaderValue::from_str(p).ok()) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    answer
}

/// Exec and attach.
pub fn exec(request: Request<Incoming>, wire: Wire) -> Answer {
    let offered = offered(&request);
    let Some(protocol) = EXEC_PROTOCOLS.iter().find(|p| offered.iter().any(|o| o == *p)) else {
        return text(StatusCode::BAD_REQUEST, format!("none of the protocols {offered:?} is supported"));
    };
    accept(request, Some(protocol), move |socket| carry(socket, wire))
}

async fn carry(socket: Socket, wire: Wire) {
    let (mut sink, mut source) = socket.split();
    let Wire { input, mut output } = wire;
    let read = async move {
        while let Some(Ok(message)) = source.next().await {
            let data: Bytes = match message {
                Message::Binary(data) => data,
                Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
                Message::Close(_) => break,
                _ => continue,
            };
            let Some(message) = incoming(&data) else { continue };
            if input.send(message).await.is_err() {
                break;
            }
        }
        // Dropping `input` tells the command that its client is gone.
    };
    let write = async move {
        while let Some(message) = output.recv().await {
            let (channel, bytes, last) = match message {
                Output::Stdout(bytes) => (1, bytes, false),
                Output::Stderr(bytes) => (2, bytes, false),
                Output::Status(bytes) => (3, bytes, true),
            };
            if sink.send(Message::Binary(framed(channel, &bytes))).await.is_err() || last {
                break;
            }
        }
        let _ = sink.send(goodbye()).await;
    };
    let reader = tokio::spawn(read);
    write.await;
    // The peer gets a moment to close in turn; a connection torn at once may lose the last message.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), reader).await;
}

/// The end of a connection that went well; Kubernetes' clients take a close without this code for a failure.
pub fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// One message with its channel in front.
pub fn framed(channel: u8, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes.len() + 1);
    out.put_u8(channel);
    out.put_slice(bytes);
    out.freeze()
}

fn incoming(data: &Bytes) -> Option<Input> {
    match data.first()? {
        0 => Some(Input::Stdin(data.slice(1..))).filter(|_| data.len() > 1),
        4 => resize(&data[1..]),
        255 if data.get(1) == Some(&0) => Some(Input::StdinEnd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_told_apart() {
        let read = |bytes: &[u8]| incoming(&Bytes::copy_from_slice(bytes));
        assert_eq!(read(b"\0hi"), Some(Input::Stdin("hi".into())));
        assert_eq!(read(b"\0"), None);
        assert_eq!(read(b"\x04{\"Width\":80,\"Height\":24}"), Some(Input::Resize { width: 80, height: 24 }));
        assert_eq!(read(&[255, 0]), Some(Input::StdinEnd));
        assert_eq!(read(&[9, 1]), None);
    }
}
