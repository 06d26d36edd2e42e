//! The few netlink messages of connection tracking that are needed (`linux/netfilter/nfnetlink_conntrack.h`).

use std::net::{Ipv4Addr, SocketAddrV4};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
/// Message types of every netlink family.
const ERROR: u16 = 2;
const DONE: u16 = 3;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

const INET: u8 = 2;
const UDP: u8 = 17;
const HEADER_BYTES: usize = 16;
const NETFILTER_HEADER_BYTES: usize = 4;

/// A UDP connection that the kernel remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The attributes of its original tuple, as received: what the kernel finds it by.
    pub original: Vec<u8>,
    /// Where its first packet was sent.
    pub original_to: SocketAddrV4,
    /// Who answers it.
    pub reply_from: SocketAddrV4,
}

/// A message from the kernel.
#[derive(Debug)]
pub enum Reply {
    /// One connection.
    Connection(Connection),
    /// Something not asked for, such as a TCP connection.
    Other,
    /// The answer is complete (or was an error).
    End,
}

/// Asks for all IPv4 connections.
pub fn list_udp() -> Vec<u8> {
    message(GET, REQUEST | DUMP, &[])
}

/// Asks to forget one.
pub fn delete(connection: &Connection) -> Vec<u8> {
    let mut attribute = Vec::new();
    let length = (connection.original.len() + 4) as u16;
    attribute.extend(length.to_ne_bytes());
    attribute.extend((TUPLE_ORIGINAL | 0x8000).to_ne_bytes());
    attribute.extend(&connection.original);
    message(DELETE, REQUEST | ACKNOWLEDGE, &attribute)
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = (HEADER_BYTES + NETFILTER_HEADER_BYTES + attributes.len()) as u32;
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence and port: one request at a time on a socket of its own, so neither is needed.
    bytes.extend([0; 8]);
    bytes.extend([INET, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// The messages in what was received.
pub fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let length = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        if length < HEADER_BYTES || length > bytes.len() {
            break;
        }
        replies.push(match kind {
            DONE | ERROR => Reply::End,
            _ => bytes
                .get(HEADER_BYTES + NETFILTER_HEADER_BYTES..length)
                .and_then(connection)
                .map_or(Reply::Other, Reply::Connection),
        });
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    replies
}

fn connection(attributes: &[u8]) -> Option<Connection> {
    let original = attribute(attributes, TUPLE_ORIGINAL)?;
    let reply = attribute(attributes, TUPLE_REPLY)?;
    let protocol = attribute(attribute(original, TUPLE_PROTOCOL)?, PROTOCOL_NUMBER)?;
    (protocol == [UDP]).then_some(())?;
    Some(Connection {
        original: original.to_vec(),
        original_to: end(original, IP_DESTINATION, DESTINATION_PORT)?,
        reply_from: end(reply, IP_SOURCE, SOURCE_PORT)?,
    })
}

fn end(tuple: &[u8], ip: u16, port: u16) -> Option<SocketAddrV4> {
    let ip: [u8; 4] = attribute(attribute(tuple, TUPLE_IP)?, ip)?.try_into().ok()?;
    let port: [u8; 2] = attribute(attribute(tuple, TUPLE_PROTOCOL)?, port)?.try_into().ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(ip), u16::from_be_bytes(port)))
}

/// The value of the first attribute of this type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    None
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}
