//! Addresses and networks, read as Go's `net/netip` does.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Call, Library, Native, Result};
use crate::error::EvaluationError;
use crate::value::Value;

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip(pub IpAddr);

/// A network: an address and how many bits of it are the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// The address, with the bits of the host.
    pub address: IpAddr,
    /// The bits of the network.
    pub bits: u8,
}

impl Ip {
    /// How many bytes it has.
    pub fn size(self) -> u64 {
        if self.0.is_ipv4() { 4 } else { 16 }
    }
}

impl Cidr {
    /// How many bytes its prefix has.
    pub fn size(self) -> u64 {
        u64::from(self.bits).div_ceil(8)
    }

    fn mask(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && self.mask(address) == self.mask(self.address)
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "ip" => |call| match call.value(0)? {
            Value::Library(Library::Cidr(cidr)) => Ok(Library::Ip(Ip(cidr.address)).into()),
            _ => Ok(Library::Ip(Ip(read(call.text(0)?)?)).into()),
        },
        "isIP" => |call| Ok(Value::Bool(read(call.text(0)?).is_ok())),
        "ip.isCanonical" => |call| {
            let text = call.text(0)?;
            Ok(Value::Bool(read(text)?.to_string() == text))
        },
        "family" => |call| Ok(Value::Int(if ip(call, 0)?.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => |call| Ok(Value::Bool(ip(call, 0)?.is_unspecified())),
        "isLoopback" => |call| Ok(Value::Bool(ip(call, 0)?.is_loopback())),
        "isLinkLocalMulticast" => |call| Ok(Value::Bool(link_local_multicast(ip(call, 0)?))),
        "isLinkLocalUnicast" => |call| Ok(Value::Bool(link_local_unicast(ip(call, 0)?))),
        "isGlobalUnicast" => |call| {
            let address = ip(call, 0)?;
            let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
            let other = address.is_unspecified() || address.is_loopback() || address.is_multicast();
            Ok(Value::Bool(!broadcast && !other && !link_local_unicast(address)))
        },
        "cidr" => |call| {
            let read = read_cidr(call.text(0)?);
            read.map(|cidr| Library::Cidr(cidr).into()).map_err(|why| {
                EvaluationError::Failed(format!(
                    "network address parse error during conversion from string: {why}"
                ))
            })
        },
        "isCIDR" => |call| Ok(Value::Bool(read_cidr(call.text(0)?).is_ok())),
        "containsIP" => |call| {
            let address = match call.value(1)? {
                Value::String(text) => read(text)?,
                _ => ip(call, 1)?,
            };
            Ok(Value::Bool(cidr(call, 0)?.contains(address)))
        },
        "containsCIDR" => |call| {
            let other = match call.value(1)? {
                Value::String(text) => read_cidr(text).map_err(|why| {
                    let message = format!("network address parse error during conversion from string: {why}");
                    EvaluationError::Failed(message)
                })?,
                _ => cidr(call, 1)?,
            };
            let network = cidr(call, 0)?;
            Ok(Value::Bool(network.bits <= other.bits && network.contains(other.address)))
        },
        "prefixLength" => |call| Ok(Value::Int(i64::from(cidr(call, 0)?.bits))),
        "masked" => |call| {
            let network = cidr(call, 0)?;
            Ok(Library::Cidr(Cidr { address: network.mask(network.address), ..network }).into())
        },
        _ => return None,
    })
}

fn ip(call: &Call<'_, '_>, place: usize) -> Result<IpAddr> {
    match call.library(place)? {
        Library::Ip(ip) => Ok(ip.0),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn cidr(call: &Call<'_, '_>, place: usize) -> Result<Cidr> {
    match call.library(place)? {
        Library::Cidr(cidr) => Ok(*cidr),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn read(text: &str) -> Result<IpAddr> {
    let bare = text.split_once('%').filter(|_| text.contains(':'));
    if let Some((address, zone)) = bare
        && !zone.is_empty()
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(EvaluationError::Failed(format!("IP address {text:?} with zone value is not allowed")));
    }
    match text.parse() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            Err(EvaluationError::Failed(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(EvaluationError::Failed(format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): {}",
            why_no_address(text)
        ))),
    }
}

/// What Go says of a text that is no address, for the commonest mistakes.
fn why_no_address(text: &str) -> String {
    if let Some(at) = text.find(":::") {
        let rest = &text[at + 2..];
        return format!("each colon-separated field must have at least one digit (at {rest:?})");
    }
    if text.contains(':') {
        return "unexpected character".into();
    }
    if !text.contains('.') {
        return "unable to parse IP".into();
    }
    for part in text.split('.') {
        if part.is_empty() {
            return "IPv4 field must have at least one digit".into();
        }
        if !part.bytes().all(|c| c.is_ascii_digit()) {
            return "unexpected character".into();
        }
        if part.len() > 1 && part.starts_with('0') {
            return "IPv4 field has octet with leading zero".into();
        }
        if part.parse::<u8>().is_err() {
            return "IPv4 field has value >255".into();
        }
    }
    let many = text.split('.').count() > 4;
    if many { "IPv4 address too long".into() } else { "IPv4 address too short".into() }
}

fn read_cidr(text: &str) -> std::result::Result<Cidr, String> {
    let wrong = |why: &str| {
        Err(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}"
        ))
    };
    let Some((address, bits)) = text.rsplit_once('/') else { return wrong("no '/'") };
    if address.contains('%') {
        return wrong("IPv6 zones cannot be present in a prefix");
    }
    let Ok(address) = address.parse::<IpAddr>() else { return wrong("unable to parse IP") };
    let digits = !bits.is_empty() && bits.bytes().all(|c| c.is_ascii_digit());
    if !digits || (bits.len() > 1 && bits.starts_with('0')) {
        return wrong(&format!("bad bits after slash: {bits:?}"));
    }
    let most = if address.is_ipv4() { 32 } else { 128 };
    match bits.parse::<u8>() {
        Ok(bits) if bits <= most => match address {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
            }
            _ => Ok(Cidr { address, bits }),
        },
        _ => wrong("prefix length out of range"),
    }
}
