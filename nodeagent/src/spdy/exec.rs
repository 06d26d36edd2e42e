//! Exec and attach over SPDY: one stream each for input, output, errors, the status and the terminal's size.

use std::time::Duration;

use bytes::BytesMut;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::session::{self, Stream};
use crate::{
    cri::ExecSpec,
    server::{
        Answer,
        remote::{Input, Output, Wire, resize},
        text,
    },
};

const PROTOCOLS: [&str; 4] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io"];
/// How long the client may take to open its streams, as upstream.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers, then carries.
pub fn upgrade(request: Request<Incoming>, wire: Wire, spec: &ExecSpec) -> Answer {
    let offered = super::offered(&request);
    let Some(protocol) = PROTOCOLS.iter().find(|p| offered.iter().any(|o| o == *p)) else {
        return text(
            StatusCode::FORBIDDEN,
            format!("unable to negotiate protocol: client supports {offered:?}"),
        );
    };
    let spec = spec.clone();
    super::accept(request, protocol, move |io| carry(session::serve(io), wire, spec))
}

#[derive(Default)]
struct Streams {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    fn complete(&self, spec: &ExecSpec) -> bool {
        self.error.is_some()
            && (!spec.stdin || self.stdin.is_some())
            && (!spec.stdout || self.stdout.is_some())
            && (!spec.stderr || spec.tty || self.stderr.is_some())
            && (!spec.tty || self.resize.is_some())
    }
}

async fn gather(opened: &mut mpsc::Receiver<Stream>, spec: &ExecSpec) -> Option<Streams> {
    let mut streams = Streams::default();
    while !streams.complete(spec) {
        let stream = opened.recv().await?;
        let slot = match stream.header("streamtype") {
            Some("error") => &mut streams.error,
            Some("stdin") => &mut streams.stdin,
            Some("stdout") => &mut streams.stdout,
            Some("stderr") => &mut streams.stderr,
            Some("resize") => &mut streams.resize,
            _ => {
                stream.out.reset().await;
                continue;
            }
        };
        *slot = Some(stream);
    }
    Some(streams)
}

async fn carry(mut opened: mpsc::Receiver<Stream>, wire: Wire, spec: ExecSpec) {
    let Ok(Some(streams)) = tokio::time::timeout(PATIENCE, gather(&mut opened, &spec)).await else {
        return tracing::debug!("the client did not open its streams");
    };
    let Wire { input, mut output } = wire;
    if let Some(mut stdin) = streams.stdin {
        let input = input.clone();
        tokio::spawn(async move {
            while let Some(data) = stdin.data.recv().await {
                if input.send(Input::Stdin(data)).await.is_err() {
                    return;
                }
            }
            let _ = input.send(Input::StdinEnd).await;
        });
    }
    if let Some(mut sizes) = streams.resize {
        let input = input.clone();
        tokio::spawn(async move {
            let mut held = BytesMut::new();
            while let Some(data) = sizes.data.recv().await {
                held.extend_from_slice(&data);
                // Objects follow each other; one may come in parts.
                while let Some(end) = held.iter().position(|b| *b == b'}') {
                    let message = held.split_to(end + 1);
                    if let Some(size) = resize(message.trim_ascii())
                        && input.send(size).await.is_err()
                    {
                        return;
                    }
                }
            }
        });
    }
    let mut status = None;
    loop {
        tokio::select! {
            message = output.recv() => {
                let (stream, bytes) = match message {
                    Some(Output::Stdout(bytes)) => (&streams.stdout, bytes),
                    Some(Output::Stderr(bytes)) => (&streams.stderr, bytes),
                    Some(Output::Status(bytes)) => {
                        status = Some(bytes);
                        break;
                    }
                    None => break,
                };
                if let Some(stream) = stream
                    && !stream.out.send(bytes).await
                {
                    break;
                }
            }
            // No more streams are expected: this is the client leaving.
            more = opened.recv() => if more.is_none() { break },
        }
    }
    drop(input);
    for stream in [&streams.stdout, &streams.stderr].into_iter().flatten() {
        stream.out.close().await;
    }
    if let Some(error) = &streams.error {
        if let Some(status) = status {
            error.out.send(status).await;
        }
        error.out.close().await;
    }
    // The client closes once it has read the status.
    let _ =
        tokio::time::timeout(Duration::from_secs(5), async { while opened.recv().await.is_some() {} }).await;
}
