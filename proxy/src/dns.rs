//! Cluster DNS: a server on UDP and TCP that answers from the watched state and forwards what is not ours.
//!
//! What is ours is answered at once, in the task that reads the socket. What is forwarded waits in tasks of its own, at
//! most [`MAX_FORWARDED`]; above that the answer is SERVFAIL. Connections are at most [`MAX_CONNECTIONS`]; above that
//! they wait in the listener's queue.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::state::State;

pub mod forward;
pub mod reply;
pub mod zone;

use forward::{Forwarder, Transport};
use reply::Outcome;
use zone::Zone;

/// Queries that wait for a resolver elsewhere, at most.
pub const MAX_FORWARDED: usize = 1024;

/// TCP connections served at once.
pub const MAX_CONNECTIONS: usize = 128;

/// How long a TCP connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);

/// The longest pause between attempts to bind, such as while the address is being made.
const MAX_BIND_PAUSE: Duration = Duration::from_secs(5);

/// What answers queries.
#[derive(Debug)]
pub struct Server {
    zone: Zone,
    state: Arc<RwLock<State>>,
    forwarder: Forwarder,
    forwarded: Arc<Semaphore>,
}

impl Server {
    /// A server of a zone; it answers SERVFAIL for names of the zone until the state is complete.
    pub fn new(zone: Zone, state: Arc<RwLock<State>>, forwarder: Forwarder) -> Self {
        Self { zone, state, forwarder, forwarded: Arc::new(Semaphore::new(MAX_FORWARDED)) }
    }

    /// Serves on this address until shutdown. An address that cannot be had is tried again.
    pub async fn run(self: Arc<Self>, address: SocketAddr, shutdown: CancellationToken) {
        let mut pause = Duration::from_millis(20);
        let (udp, tcp) = loop {
            let bound = async {
                Ok::<_, std::io::Error>((UdpSocket::bind(address).await?, TcpListener::bind(address).await?))
            };
            match bound.await {
                Ok(sockets) => break sockets,
                Err(error) => tracing::error!(%address, %error, "cannot serve DNS; trying again"),
            }
            tokio::select! { () = tokio::time::sleep(pause) => {}, () = shutdown.cancelled() => return }
            pause = (pause * 2).min(MAX_BIND_PAUSE);
        };
        tracing::info!(%address, domain = %self.zone.domain, "serving DNS");
        tokio::select! {
            () = self.clone().serve_udp(Arc::new(udp)) => {}
            () = self.serve_tcp(tcp) => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // Such as a client that closed its port: told by ICMP, and of no matter to the others.
                Err(error) => {
                    tracing::debug!(%error, "receiving a query");
                    continue;
                }
            };
            let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
            let answer = match self.decide(&query) {
                Outcome::Ready(answer) => reply::bytes(&query, answer, Transport::Udp),
                Outcome::Drop => continue,
                later => {
                    self.clone().answer_later(query, later, socket.clone(), client);
                    continue;
                }
            };
            if let Err(error) = socket.send_to(&answer, client).await {
                tracing::debug!(%error, %client, "sending an answer");
            }
        }
    }

    fn answer_later(
        self: Arc<Self>,
        query: Message,
        outcome: Outcome,
        socket: Arc<UdpSocket>,
        client: SocketAddr,
    ) {
        let permit = self.forwarded.clone().try_acquire_owned();
        tokio::spawn(async move {
            let answer = match &permit {
                Ok(_) => self.finish(&query, outcome, Transport::Udp).await,
                Err(_) => {
                    reply::bytes(&query, reply::failure(&query, ResponseCode::ServFail), Transport::Udp)
                }
            };
            if let Err(error) = socket.send_to(&answer, client).await {
                tracing::debug!(%error, %client, "sending an answer");
            }
        });
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    // Out of descriptors: without a pause this loop would only spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let server = self.clone();
            tokio::spawn(async move {
                let _permit = permit;
                if let Err(error) = server.converse(stream).await {
                    tracing::trace!(%error, "a DNS connection ended");
                }
            });
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
            let mut bytes = vec![0; usize::from(length)];
            tokio::time::timeout(IDLE, stream.read_exact(&mut bytes)).await??;
            let Ok(query) = Message::from_vec(&bytes) else { return Ok(()) };
            let answer = match self.decide(&query) {
                Outcome::Ready(answer) => reply::bytes(&query, answer, Transport::Tcp),
                Outcome::Drop => return Ok(()),
                later => match self.forwarded.try_acquire() {
                    Ok(_permit) => self.finish(&query, later, Transport::Tcp).await,
                    Err(_) => {
                        reply::bytes(&query, reply::failure(&query, ResponseCode::ServFail), Transport::Tcp)
                    }
                },
            };
            let mut framed = Vec::with_capacity(answer.len() + 2);
            framed.extend((answer.len() as u16).to_be_bytes());
            framed.extend(answer);
            tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
        }
    }

    fn decide(&self, query: &Message) -> Outcome {
        // A writer that panicked left a state that is at worst incomplete; names go on.
        let state = self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        reply::decide(&self.zone, &state, query)
    }

    async fn finish(&self, query: &Message, outcome: Outcome, transport: Transport) -> Vec<u8> {
        let asked = match &outcome {
            Outcome::Alias { lookup, .. } => lookup,
            _ => query,
        };
        let found = self.forwarder.ask(asked, transport).await;
        match (outcome, found) {
            (Outcome::Alias { records, .. }, found) => {
                reply::bytes(query, reply::aliased(query, records, found.as_deref()), transport)
            }
            (_, Some(bytes)) => reply::passed_on(query, bytes, transport),
            (_, None) => reply::bytes(query, reply::failure(query, ResponseCode::ServFail), transport),
        }
    }
}

#[cfg(test)]
mod tests;
