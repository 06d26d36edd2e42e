//! `/exec` and `/attach`.

use std::{pin::Pin, sync::Arc};

use futures::StreamExt;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    Answer, Site, failure, query,
    remote::{Input, Output, Remote, pair, status},
    text, websocket,
};
use crate::{
    cri::{Chunk, ExecSpec, Runtime, Session},
    error::{Error, Result},
    handler::exec_code,
    spdy,
};

/// Runs a command, or joins the main process, on an upgraded connection.
pub async fn serve(
    site: Arc<Site>,
    namespace: &str,
    pod: &str,
    container: &str,
    request: Request<Incoming>,
    attach: bool,
) -> Answer {
    let mut spec = spec(request.uri().query());
    let object = match site.pod(namespace, pod) {
        Ok(object) => object,
        Err(error) => return failure(&error),
    };
    let found = match site.running(&object, container).await {
        Ok(found) => found,
        Err(error) => return failure(&error),
    };
    if attach {
        spec.tty = has_tty(&object, container);
    } else if spec.command.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 command for the container");
    }
    if !(spec.stdin || spec.stdout || spec.stderr) {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    let (remote, wire) = pair();
    let answer = if websocket::asked(&request) {
        websocket::exec(request, wire)
    } else if spdy::asked(&request) {
        spdy::exec::upgrade(request, wire, &spec)
    } else {
        return text(StatusCode::BAD_REQUEST, "unable to upgrade: missing upgrade headers in request");
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let runtime = site.shared.runtime.clone();
        tokio::spawn(run(runtime, found.id, spec, attach, remote));
    }
    answer
}

/// The API server's names of the parameters, and the API's own.
fn spec(of: Option<&str>) -> ExecSpec {
    let mut spec = ExecSpec::default();
    for (key, value) in query(of) {
        let on = matches!(value.as_str(), "1" | "true");
        match key.as_str() {
            "command" => spec.command.push(value),
            "input" | "stdin" => spec.stdin |= on,
            "output" | "stdout" => spec.stdout |= on,
            "error" | "stderr" => spec.stderr |= on,
            "tty" => spec.tty |= on,
            _ => {}
        }
    }
    spec
}

fn has_tty(pod: &Pod, container: &str) -> bool {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.any(|c| c.name == container && c.tty == Some(true))
}

async fn run(runtime: Arc<dyn Runtime>, id: String, spec: ExecSpec, attach: bool, remote: Remote) {
    let Remote { input, output } = remote;
    let opened = if attach { runtime.attach(&id, &spec).await } else { runtime.exec(&id, &spec).await };
    let ended = match opened {
        Ok(session) => {
            let result = pump(&*runtime, session, attach, input, &output).await;
            result.map_err(|e| e.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let _ = output.send(Output::Status(status(ended))).await;
}

/// Moves bytes until the command's output ends or the client is gone; tells the exit code.
async fn pump(
    runtime: &dyn Runtime,
    session: Session,
    attach: bool,
    from_client: mpsc::Receiver<Input>,
    to_client: &mpsc::Sender<Output>,
) -> Result<i32> {
    let Session { mut output, input, id } = session;
    // Beside the output: a command that waits for its output to be read takes no input meanwhile.
    let mut feeding = std::pin::pin!(feed(runtime, &id, attach, input, from_client));
    loop {
        tokio::select! {
            chunk = output.next() => {
                let message = match chunk {
                    Some(Ok(Chunk::Out(bytes))) => Output::Stdout(bytes),
                    Some(Ok(Chunk::Err(bytes))) => Output::Stderr(bytes),
                    Some(Err(error)) => return Err(error),
                    None => break,
                };
                if to_client.send(message).await.is_err() {
                    return Err(Error::Cancelled);
                }
            }
            // The client hung up; what it started goes on, as upstream.
            () = &mut feeding => return Err(Error::Cancelled),
        }
    }
    if attach {
        return Ok(0);
    }
    exec_code(runtime, &id).await.ok_or_else(|| Error::Invalid("the command's exit code is not known".into()))
}

/// Hands on what the client sends, until it is gone.
async fn feed(
    runtime: &dyn Runtime,
    id: &str,
    attach: bool,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    mut from_client: mpsc::Receiver<Input>,
) {
    let mut input = Some(input);
    while let Some(message) = from_client.recv().await {
        match message {
            Input::Stdin(bytes) => {
                if let Some(open) = &mut input
                    && (open.write_all(&bytes).await.is_err() || open.flush().await.is_err())
                {
                    input = None;
                }
            }
            Input::StdinEnd => {
                if let Some(mut open) = input.take() {
                    let _ = open.shutdown().await;
                }
            }
            Input::Resize { width, height } => {
                if let Err(error) = runtime.resize(id, !attach, width, height).await {
                    tracing::debug!(%error, "terminal not resized");
                }
            }
        }
    }
}
