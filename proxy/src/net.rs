//! An IPv4 range, as written in configuration.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 range such as `10.244.0.0/16`. The bits after the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    address: Ipv4Addr,
    prefix_bits: u8,
}

impl Cidr {
    /// The range of this address and prefix; bits after the prefix are cleared. `prefix_bits` above 32 counts as 32.
    pub fn new(address: Ipv4Addr, prefix_bits: u8) -> Self {
        let prefix_bits = prefix_bits.min(32);
        Self { address: Ipv4Addr::from_bits(address.to_bits() & mask(prefix_bits)), prefix_bits }
    }

    /// Whether the address lies in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix_bits) == self.address.to_bits()
    }
}

fn mask(prefix_bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an IPv4 range such as 10.244.0.0/16");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(wrong)?;
        Ok(Self::new(address, bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_contain_what_they_say() {
        let range: Cidr = "10.244.3.9/16".parse().unwrap();
        assert_eq!(range.to_string(), "10.244.0.0/16");
        assert!(range.contains("10.244.255.1".parse().unwrap()));
        assert!(!range.contains("10.245.0.1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("1.2.3.4".parse().unwrap()));
        for wrong in ["10.244.0.0", "10.244.0.0/33", "x/8", "fd00::/64"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
