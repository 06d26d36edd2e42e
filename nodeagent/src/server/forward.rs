//! `/portForward`.

use std::{net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Answer, Site, failure, query, text,
    websocket::{self, Socket, framed, goodbye},
};
use crate::{
    error::{Context, Error, Result},
    spdy,
};

const CHANNELS: &str = "v4.channel.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Where a pod's ports are reached.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// A process in the pod's network.
    Inside(i32),
    /// The host's network.
    Host,
}

/// Leads ports of the pod to the client.
pub async fn serve(site: Arc<Site>, namespace: &str, pod: &str, request: Request<Incoming>) -> Answer {
    let target = match target(&site, namespace, pod).await {
        Ok(target) => target,
        Err(error) => return failure(&error),
    };
    if websocket::asked(&request) {
        let offered = websocket::offered(&request);
        if offered.iter().any(|o| o == TUNNEL) {
            return websocket::accept(request, Some(TUNNEL), move |socket| async move {
                spdy::forward::serve(spdy::tunnel::over(socket), target).await;
            });
        }
        if !offered.iter().any(|o| o == CHANNELS) {
            return text(StatusCode::BAD_REQUEST, format!("none of the protocols {offered:?} is supported"));
        }
        let ports: Vec<u16> = query(request.uri().query())
            .into_iter()
            .filter(|(key, _)| key == "port" || key == "ports")
            .flat_map(|(_, value)| value.split(',').filter_map(|p| p.parse().ok()).collect::<Vec<_>>())
            .collect();
        if ports.is_empty() || ports.len() > 127 {
            return text(StatusCode::BAD_REQUEST, "query parameter \"port\" is required");
        }
        return websocket::accept(request, Some(CHANNELS), move |socket| channels(socket, ports, target));
    }
    if spdy::asked(&request) {
        return spdy::forward::upgrade(request, target);
    }
    text(StatusCode::BAD_REQUEST, "unable to upgrade: missing upgrade headers in request")
}

async fn target(site: &Site, namespace: &str, pod: &str) -> Result<Target> {
    let object = site.pod(namespace, pod)?;
    if object.spec.as_ref().is_some_and(|s| s.host_network == Some(true)) {
        return Ok(Target::Host);
    }
    let observed = site.shared.runtime.observe(object.metadata.uid.as_deref().unwrap_or_default()).await?;
    let pid = observed.live_sandbox().and_then(|s| s.pid);
    pid.map(Target::Inside).ok_or_else(|| Error::Invalid(format!("pod \"{pod}\" has no running sandbox")))
}

/// Connects to a port of the pod, on its own loopback.
pub async fn connect(target: Target, port: u16) -> Result<TcpStream> {
    let failed = || format!("connect to port {port} inside the pod");
    let Target::Inside(pid) = target else {
        return TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.context(failed);
    };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A network namespace belongs to a thread, so the connection is made on one that ends afterwards.
    let join = move || {
        let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    let thread = std::thread::Builder::new().name("port-forward".into());
    thread
        .spawn(move || {
            let _ = sender.send(join());
        })
        .context(failed)?;
    let stream = receiver.await.map_err(|_| Error::Cancelled)?.context(failed)?;
    TcpStream::from_std(stream).context(failed)
}

/// Two channels a port: data and errors. Each begins with the port's number.
async fn channels(socket: Socket, ports: Vec<u16>, target: Target) {
    let (mut sink, mut source) = socket.split();
    let (out, mut outgoing) = mpsc::channel::<(u8, Bytes)>(64);
    let mut inputs = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let data = u8::try_from(index * 2).unwrap_or(u8::MAX - 1);
        for channel in [data, data + 1] {
            let _ = sink.send(Message::Binary(framed(channel, &port.to_le_bytes()))).await;
        }
        let (sender, receiver) = mpsc::channel::<Bytes>(64);
        inputs.push(sender);
        tokio::spawn(one(target, port, data, receiver, out.clone()));
    }
    drop(out);
    loop {
        tokio::select! {
            message = outgoing.recv() => {
                let Some((channel, bytes)) = message else { break };
                if sink.send(Message::Binary(framed(channel, &bytes))).await.is_err() {
                    break;
                }
            }
            message = source.next() => match message {
                Some(Ok(Message::Binary(data))) if !data.is_empty() && data[0] % 2 == 0 => {
                    if let Some(input) = inputs.get(usize::from(data[0] / 2)) {
                        // One that has ended takes no more; the others go on.
                        let _ = input.send(data.slice(1..)).await;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            }
        }
    }
    let _ = sink.send(goodbye()).await;
}

async fn one(
    target: Target,
    port: u16,
    channel: u8,
    mut input: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<(u8, Bytes)>,
) {
    let stream = match connect(target, port).await {
        Ok(stream) => stream,
        Err(error) => {
            let _ = out.send((channel + 1, error.to_string().into())).await;
            return;
        }
    };
    let (mut read, mut write) = stream.into_split();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        tokio::select! {
            count = read.read(&mut buffer) => match count {
                Ok(0) | Err(_) => return,
                Ok(n) => {
                    if out.send((channel, Bytes::copy_from_slice(&buffer[..n]))).await.is_err() {
                        return;
                    }
                }
            },
            data = input.recv() => match data {
                Some(data) => if write.write_all(&data).await.is_err() { return },
                None => return,
            }
        }
    }
}
