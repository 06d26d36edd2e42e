//! Watches what others do to the rules of the machine, by the kernel's own notifications.
//!
//! Docker may start and put its rules before ours; somebody may flush the whole ruleset. Both are seen when they happen,
//! and nothing is asked on a timer.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

use crate::error::Result;

/// The bit of the group `NFNLGRP_NFTABLES`.
const GROUP: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES`, in the high byte of a message's type; the kind of message is the low one.
const SUBSYSTEM: u8 = 10;
const TABLE_DELETED: u8 = 2;
const CHAIN_DELETED: u8 = 5;
const RULE_ADDED: u8 = 6;
const RULE_DELETED: u8 = 8;
/// In all of these the first attribute is the table's name.
const TABLE_NAME: u16 = 1;
/// The header of netlink, then that of netfilter.
const HEADER_BYTES: usize = 20;

/// Who changes rules mostly changes many: we look when it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(200);
/// The longest that we wait for quiet.
const PATIENCE: Duration = Duration::from_secs(2);

/// The notifications.
#[derive(Debug)]
pub struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// Changes from now on.
    #[expect(
        deprecated,
        reason = "`register` is unsafe code; an OwnedFd that nobody else has is what it asks for"
    )]
    pub fn subscribe() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
        let path = "netlink socket".into();
        AsyncFd::new(socket).map(Self).map_err(|source| crate::error::Error::File { path, source })
    }

    /// Waits until something changed that matters, and then for quiet.
    pub async fn settled(&self) {
        while !self.received().await {}
        let quiet = async { while tokio::time::timeout(QUIET, self.received()).await.is_ok() {} };
        // Never quiet: look anyway.
        let _ = tokio::time::timeout(PATIENCE, quiet).await;
    }

    /// Takes the next notification; tells whether it matters.
    async fn received(&self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let read = self.0.async_io(tokio::io::Interest::READABLE, |socket| {
            Ok(recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?)
        });
        match read.await {
            Ok(length) => matters(&buffer[..length]),
            // Notifications were lost, so anything may have happened.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => true,
            Err(error) => {
                tracing::debug!(%error, "reading what changed in the rules");
                tokio::time::sleep(PATIENCE).await;
                true
            }
        }
    }
}

/// Whether a message tells of our table's end, or of a change in the rules of iptables.
fn matters(mut bytes: &[u8]) -> bool {
    while bytes.len() >= HEADER_BYTES {
        let length = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let [kind, subsystem] = u16::from_ne_bytes([bytes[4], bytes[5]]).to_le_bytes();
        let Some(message) = bytes.get(HEADER_BYTES..length) else { return false };
        if subsystem == SUBSYSTEM {
            match table(message) {
                Some(b"skiff") if kind == TABLE_DELETED => return true,
                Some(b"filter") if [CHAIN_DELETED, RULE_ADDED, RULE_DELETED].contains(&kind) => return true,
                _ => {}
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

fn table(message: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_ne_bytes([*message.first()?, *message.get(1)?]));
    let kind = u16::from_ne_bytes([*message.get(2)?, *message.get(3)?]) & 0x3fff;
    let name = message.get(4..length)?;
    (kind == TABLE_NAME).then(|| name.strip_suffix(&[0]).unwrap_or(name))
}
