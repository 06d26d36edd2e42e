//! Makes the kernel forget UDP connections whose translation is out of date.
//!
//! Rules are met by the first packet of a connection only. A UDP client that sends on and on from one port would keep
//! its endpoint after that endpoint is gone. TCP needs nothing: its peer resets.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use crate::error::Result;

mod wire;

use wire::{Connection, Reply};

/// One end of UDP traffic through a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// Packets that were translated to this endpoint.
    Endpoint(SocketAddrV4),
    /// Packets to this service that were not translated.
    Service {
        /// `None`: any address (a node port).
        ip: Option<Ipv4Addr>,
        /// The service's port.
        port: u16,
    },
}

impl Flow {
    /// Whether this connection belongs to the flow.
    fn has(&self, connection: &Connection) -> bool {
        let translated = connection.original_to != connection.reply_from;
        match self {
            Self::Endpoint(endpoint) => translated && connection.reply_from == *endpoint,
            Self::Service { ip, port } => {
                !translated
                    && connection.original_to.port() == *port
                    && ip.is_none_or(|ip| ip == *connection.original_to.ip())
            }
        }
    }
}

/// Forgets the connections of these flows; tells how many. One read of the table, whatever the number of flows.
pub fn forget(flows: &BTreeSet<Flow>) -> Result<usize> {
    if flows.is_empty() {
        return Ok(0);
    }
    let mut stale = Vec::new();
    let asking = open()?;
    send(asking.as_raw_fd(), &wire::list_udp(), MsgFlags::empty())?;
    receive(&asking, |reply| {
        if let Reply::Connection(connection) = reply
            && flows.iter().any(|flow| flow.has(&connection))
        {
            stale.push(connection);
        }
    })?;
    for connection in &stale {
        send(asking.as_raw_fd(), &wire::delete(connection), MsgFlags::empty())?;
        // Gone meanwhile is as good.
        receive(&asking, |_| ())?;
    }
    Ok(stale.len())
}

fn open() -> Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// Reads until the answer is complete.
fn receive(socket: &OwnedFd, mut take: impl FnMut(Reply)) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for reply in wire::replies(&buffer[..length]) {
            match reply {
                Reply::End => return Ok(()),
                reply => take(reply),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(original_to: &str, reply_from: &str) -> Connection {
        Connection {
            original: Vec::new(),
            original_to: original_to.parse().unwrap(),
            reply_from: reply_from.parse().unwrap(),
        }
    }

    #[test]
    fn only_stale_connections_are_chosen() {
        let endpoint = Flow::Endpoint("10.244.0.5:53".parse().unwrap());
        assert!(endpoint.has(&connection("10.96.0.9:53", "10.244.0.5:53")));
        assert!(!endpoint.has(&connection("10.244.0.5:53", "10.244.0.5:53")), "straight to the pod");
        assert!(!endpoint.has(&connection("10.96.0.9:53", "10.244.0.6:53")));
        let service = Flow::Service { ip: Some("10.96.0.9".parse().unwrap()), port: 53 };
        assert!(service.has(&connection("10.96.0.9:53", "10.96.0.9:53")));
        assert!(!service.has(&connection("10.96.0.9:53", "10.244.0.6:53")));
        assert!(
            Flow::Service { ip: None, port: 30053 }.has(&connection("192.0.2.2:30053", "192.0.2.2:30053"))
        );
    }
}
