//! SPDY inside a WebSocket: its messages are the bytes of the connection, however they are cut.

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::Message;

use crate::server::websocket::{Socket, goodbye};

const BUFFER: usize = 64 * 1024;

/// The connection inside.
pub fn over(socket: Socket) -> DuplexStream {
    let (inside, outside) = tokio::io::duplex(BUFFER);
    tokio::spawn(async move {
        let (mut sink, mut source) = socket.split();
        let (mut read, mut write) = tokio::io::split(outside);
        let inbound = async {
            while let Some(Ok(message)) = source.next().await {
                let data: Bytes = match message {
                    Message::Binary(data) => data,
                    Message::Close(_) => break,
                    _ => continue,
                };
                if write.write_all(&data).await.is_err() {
                    break;
                }
            }
            let _ = write.shutdown().await;
        };
        let outbound = async {
            let mut buffer = BytesMut::with_capacity(BUFFER);
            while let Ok(count) = read.read_buf(&mut buffer).await {
                if count == 0 || sink.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                    break;
                }
                buffer.reserve(BUFFER);
            }
            let _ = sink.send(goodbye()).await;
        };
        tokio::join!(inbound, outbound);
    });
    inside
}
