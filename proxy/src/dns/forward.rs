//! Asking the resolvers of the machine for names that are not ours.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one resolver has. A client waits five seconds, so two resolvers get their chance.
const PATIENCE: Duration = Duration::from_secs(2);

/// Resolvers asked for one query, one after the other.
const MAX_ATTEMPTS: usize = 3;

/// How a query came, and is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In one packet.
    Udp,
    /// On a connection.
    Tcp,
}

/// Knows the resolvers of the machine.
#[derive(Debug)]
pub struct Forwarder {
    resolv_conf: PathBuf,
    /// Ourselves, not to be asked.
    own: Ipv4Addr,
    port: u16,
    read: Mutex<(Option<SystemTime>, Arc<[IpAddr]>)>,
}

impl Forwarder {
    /// Asks the resolvers that this file names, except `own`.
    pub fn new(resolv_conf: PathBuf, own: Ipv4Addr) -> Self {
        Self { resolv_conf, own, port: 53, read: Mutex::new((None, Arc::new([]))) }
    }

    /// The bytes of the first reply (its id is not the query's). `None`: nobody answered.
    pub async fn ask(&self, query: &Message, transport: Transport) -> Option<Vec<u8>> {
        let resolvers = self.resolvers();
        for resolver in resolvers.iter().cycle().take(MAX_ATTEMPTS.min(resolvers.len() * 2)) {
            let address = SocketAddr::new(*resolver, self.port);
            let asked = async {
                match transport {
                    Transport::Udp => ask_udp(query, address).await,
                    Transport::Tcp => ask_tcp(query, address).await,
                }
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(reply)) => return Some(reply),
                Ok(Err(error)) => tracing::debug!(%address, %error, "asking a resolver"),
                Err(_) => tracing::debug!(%address, "a resolver is silent"),
            }
        }
        None
    }

    fn resolvers(&self) -> Arc<[IpAddr]> {
        let changed = std::fs::metadata(&self.resolv_conf).and_then(|file| file.modified()).ok();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.is_none() || read.0 != changed {
            let text = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
            *read = (changed, parse(&text).into_iter().filter(|ip| *ip != IpAddr::V4(self.own)).collect());
        }
        read.1.clone()
    }
}

/// The `nameserver` lines of a resolv.conf.
fn parse(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(str::split_whitespace);
    lines
        .filter_map(
            |mut words| if words.next() == Some("nameserver") { words.next()?.parse().ok() } else { None },
        )
        .collect()
}

fn renamed(query: &Message) -> std::io::Result<(u16, Vec<u8>)> {
    // An id of our own, and by the socket a port of our own: a stranger would have to guess both.
    let id = Message::query().metadata.id;
    let mut query = query.clone();
    query.metadata.id = id;
    Ok((id, query.to_vec().map_err(std::io::Error::other)?))
}

async fn ask_udp(query: &Message, resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let (id, bytes) = renamed(query)?;
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(&buffer[..length], id, query) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(query: &Message, resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let (id, bytes) = renamed(query)?;
    let mut stream = TcpStream::connect(resolver).await?;
    stream.write_u16(bytes.len() as u16).await?;
    stream.write_all(&bytes).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    if !answers(&buffer, id, query) {
        return Err(std::io::Error::other("an answer to something else"));
    }
    Ok(buffer)
}

/// Whether this is the reply to that query; some servers leave the question out of a failure.
fn answers(bytes: &[u8], id: u16, query: &Message) -> bool {
    Message::from_vec(bytes).is_ok_and(|reply| {
        reply.metadata.id == id && (reply.queries.is_empty() || reply.queries == query.queries)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_from_nameserver_lines_only() {
        let text =
            "# nameserver 9.9.9.9\nsearch a b\nnameserver 10.0.0.2\nnameserver  fd00::3 \noptions ndots:5\n";
        assert_eq!(parse(text), ["10.0.0.2".parse::<IpAddr>().unwrap(), "fd00::3".parse().unwrap()]);
    }
}
