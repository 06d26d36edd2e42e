//! Hairpin mode of bridge ports: whether a bridge sends a frame back to the port that it came from.
//!
//! With br_netfilter a pod's packet to its own Service, once translated, is bridged and not routed. Without hairpin mode
//! the bridge would drop it.

use std::fs;
use std::path::Path;

use nix::ifaddrs::getifaddrs;

use crate::net::Cidr;

/// Turns hairpin mode on for all ports of the bridges that have an address in the range. A port that goes meanwhile is
/// of no matter.
pub fn allow_hairpin(cluster: Cidr) {
    let Ok(addresses) = getifaddrs() else { return };
    for address in addresses {
        let ip =
            address.address.as_ref().and_then(|address| address.as_sockaddr_in()).map(|address| address.ip());
        if !ip.is_some_and(|ip| cluster.contains(ip)) {
            continue;
        }
        let ports = Path::new("/sys/class/net").join(&address.interface_name).join("brif");
        for port in fs::read_dir(ports).into_iter().flatten().flatten() {
            let setting = port.path().join("hairpin_mode");
            if fs::read_to_string(&setting).is_ok_and(|mode| mode.trim() == "0")
                && let Err(error) = fs::write(&setting, "1")
            {
                tracing::debug!(port = ?port.file_name(), %error, "setting hairpin mode");
            }
        }
    }
}
