//! Endpoints as traffic sees them, read from slices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::discovery::v1::EndpointSlice;

/// One place that serves a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Whether it takes new connections.
    pub ready: bool,
    /// Whether it still serves, though it is going.
    pub draining: bool,
    /// Whether it is on a node of this machine.
    pub local: bool,
    /// Whether its slice names a node at all.
    pub placed: bool,
}

impl Endpoint {
    /// Whether it can be on this machine: it is, or nobody says where it is.
    pub fn maybe_local(&self) -> bool {
        self.local || !self.placed
    }
}

/// The endpoints of a service's port by the name and protocol (lowercase) of the port, in order of address, each once.
pub fn of_port<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port_name: Option<&str>,
    protocol: &str,
    nodes: &BTreeSet<String>,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<(Ipv4Addr, u16), Endpoint> = BTreeMap::new();
    for slice in slices.filter(|slice| slice.address_type == "IPv4") {
        let ports = slice.ports.iter().flatten().filter(|port| {
            port.name.as_deref().unwrap_or_default() == port_name.unwrap_or_default()
                && port.protocol.as_deref().unwrap_or("TCP").eq_ignore_ascii_case(protocol)
        });
        for port in ports.filter_map(|port| u16::try_from(port.port?).ok()) {
            for endpoint in slice.endpoints.iter().flatten() {
                let conditions = endpoint.conditions.as_ref();
                let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
                let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
                let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
                // Consumers use the first address only; upstream does so too.
                let Some(ip) = endpoint.addresses.first().and_then(|ip| ip.parse().ok()) else { continue };
                let this = Endpoint {
                    ip,
                    port,
                    ready,
                    draining: serving && terminating,
                    local: endpoint.node_name.as_ref().is_some_and(|node| nodes.contains(node)),
                    placed: endpoint.node_name.is_some(),
                };
                // In two slices while it moves from one to the other: the better of the two counts.
                let held = found.entry((ip, port)).or_insert_with(|| this.clone());
                if this.ready && !held.ready {
                    *held = this;
                }
            }
        }
    }
    found.into_values().collect()
}

/// The ready ones; when there is none, those that still serve while they go.
pub fn usable(endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let any_ready = endpoints.iter().any(|endpoint| endpoint.ready);
    endpoints
        .into_iter()
        .filter(|endpoint| if any_ready { endpoint.ready } else { endpoint.draining })
        .collect()
}
