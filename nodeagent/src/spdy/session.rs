//! One SPDY connection, seen from the server.
//!
//! Windows are not used: the one client of this server, Kubernetes' own, has none either. A stream that is not read
//! holds its connection, so memory is bounded.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::frame::{Frame, Headers, Reader, Writer};

/// Streams of one connection at once; a further one is refused.
const MAX_STREAMS: usize = 1024;
/// A frame of ours carries at most so much, so that streams take turns.
const MAX_DATA: usize = 32 * 1024;

/// A stream that the client opened.
pub struct Stream {
    /// Its headers.
    pub headers: Headers,
    /// What the client sends; ends when the client has closed its side.
    pub data: mpsc::Receiver<Bytes>,
    /// Our side.
    pub out: Out,
}

impl Stream {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Our side of a stream.
#[derive(Clone)]
pub struct Out {
    stream: u32,
    frames: mpsc::Sender<Frame>,
}

impl Out {
    /// Sends bytes; false when the connection is gone.
    pub async fn send(&self, mut data: Bytes) -> bool {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(MAX_DATA));
            if self.frames.send(Frame::Data { stream: self.stream, data: piece, fin: false }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Ends our side.
    pub async fn close(&self) {
        let _ = self.frames.send(Frame::Data { stream: self.stream, data: Bytes::new(), fin: true }).await;
    }

    /// Gives the stream up.
    pub async fn reset(&self) {
        let _ = self.frames.send(Frame::Reset { stream: self.stream }).await;
    }
}

/// Serves a connection in the background; hands out streams as they are opened. Ends when the receiver is dropped,
/// or the client is gone.
pub fn serve<S>(io: S) -> mpsc::Receiver<Stream>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (streams, opened) = mpsc::channel(16);
    let (frames, outgoing) = mpsc::channel(64);
    let (read, write) = tokio::io::split(io);
    tokio::spawn(write_all(write, outgoing));
    tokio::spawn(async move {
        if let Err(why) = read_all(read, streams, frames).await {
            tracing::debug!(why, "SPDY connection ended");
        }
    });
    opened
}

async fn write_all<W: AsyncWrite + Send>(io: W, mut frames: mpsc::Receiver<Frame>) {
    let mut io = std::pin::pin!(io);
    let mut writer = Writer::default();
    while let Some(frame) = frames.recv().await {
        if io.write_all(&writer.write(&frame)).await.is_err() || io.flush().await.is_err() {
            return;
        }
    }
    let _ = io.shutdown().await;
}

async fn read_all<R: AsyncRead + Send>(
    io: R,
    opened: mpsc::Sender<Stream>,
    frames: mpsc::Sender<Frame>,
) -> Result<(), &'static str> {
    let mut io = std::pin::pin!(io);
    let mut reader = Reader::default();
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    let mut open: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    loop {
        while let Some(frame) = reader.next(&mut buffer).map_err(|_| "a frame is corrupt")? {
            match frame {
                Frame::Open { stream, headers, fin } => {
                    if open.len() >= MAX_STREAMS {
                        let _ = frames.send(Frame::Reset { stream }).await;
                        continue;
                    }
                    let (sender, data) = mpsc::channel(32);
                    if !fin {
                        open.insert(stream, sender);
                    }
                    let _ = frames.send(Frame::Reply { stream }).await;
                    let out = Out { stream, frames: frames.clone() };
                    opened
                        .send(Stream { headers, data, out })
                        .await
                        .map_err(|_| "nobody takes its streams")?;
                }
                Frame::Data { stream, data, fin } => {
                    if let Some(to) = open.get(&stream)
                        && !data.is_empty()
                    {
                        // One that is not read any more takes nothing.
                        let _ = to.send(data).await;
                    }
                    if fin {
                        open.remove(&stream);
                    }
                }
                Frame::Reset { stream } => {
                    open.remove(&stream);
                }
                Frame::Ping(number) => {
                    let _ = frames.send(Frame::Ping(number)).await;
                }
                Frame::GoAway => return Ok(()),
                Frame::Reply { .. } | Frame::Other => {}
            }
        }
        let read = tokio::select! {
            read = io.read_buf(&mut buffer) => read,
            // Whoever took the streams is done: what was sent last is still written out.
            () = opened.closed() => return Ok(()),
        };
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err("the connection broke"),
        }
    }
}
