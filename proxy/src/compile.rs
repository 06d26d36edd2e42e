//! A service with its endpoint slices → the [`Part`] of the rules that serves it.
//!
//! Chains, each named after the service's port (`KIND-namespace/name/protocol/port`):
//!
//! - `c-` to all endpoints, `l-` to those of this machine: one random choice and its DNAT;
//! - `e-` to one endpoint, where clients are to be remembered (`sessionAffinity: ClientIP`);
//! - `x-` what comes from outside (node ports, external addresses): by `externalTrafficPolicy`;
//! - `f-` what comes to a load balancer's address: by `loadBalancerSourceRanges`.
//!
//! Matches upstream's `pkg/proxy/nftables/proxier.go` in what is reachable from where.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::conntrack::Flow;
use crate::endpoints::{self, Endpoint};
use crate::net::Cidr;
use crate::nft::MASQUERADE;
use crate::rules::{Container, Element, Part};

/// A Service with this label is served by somebody else.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";

/// Seconds that a client is remembered when the Service does not say.
const AFFINITY_S: i32 = 10_800;

/// Names of chains may have 127 bytes; endpoint chains add an address and a port to this.
const LONGEST_NAME: usize = 96;

/// What compiling depends on beside the service itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The nodes of this machine.
    pub nodes: BTreeSet<String>,
    /// All pods.
    pub cluster: Cidr,
    /// Our own DNS server's address: it answers there itself, so that no rules may stand in its way.
    pub dns: Option<Ipv4Addr>,
}

/// Compiles one service. `None` if it needs no rules.
pub fn compile<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    facts: &Facts,
) -> Option<Part> {
    let spec = service.spec.as_ref()?;
    let labelled = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(OTHER_PROXY));
    let cluster_ips = cluster_ips(spec);
    if labelled || spec.type_.as_deref() == Some("ExternalName") || cluster_ips.is_empty() {
        return None;
    }
    let owner = format!(
        "{}/{}",
        service.metadata.namespace.as_deref().unwrap_or_default(),
        service.metadata.name.as_deref().unwrap_or_default()
    );
    let mut part = Part::default();
    for port in spec.ports.iter().flatten() {
        let Some(number) = port_number(port.port) else { continue };
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        let all = endpoints::of_port(slices.clone(), port.name.as_deref(), &protocol, &facts.nodes);
        let local: Vec<Endpoint> = all.iter().filter(|endpoint| endpoint.local).cloned().collect();
        let compiler = PortCompiler {
            name: short(format!("{owner}/{protocol}/{number}")),
            all: endpoints::usable(all),
            local: endpoints::usable(local),
            spec,
            protocol,
            number,
            facts,
        };
        compiler.compile(port, &cluster_ips, &load_balancer_ips(service), &mut part);
    }
    Some(part)
}

/// The IPv4 cluster addresses.
pub fn cluster_ips(spec: &ServiceSpec) -> BTreeSet<Ipv4Addr> {
    spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten()).filter_map(|ip| ip.parse().ok()).collect()
}

fn load_balancer_ips(service: &Service) -> BTreeSet<Ipv4Addr> {
    let ingress = service.status.iter().filter_map(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    ingress
        .flatten()
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref()?.parse().ok())
        .collect()
}

fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

/// A name no longer than fits; what is cut is replaced by a hash (FNV-1a) of the whole.
fn short(name: String) -> String {
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{}-{hash:016x}", &name[..LONGEST_NAME - 17])
}

/// One port of one service.
struct PortCompiler<'a> {
    name: String,
    all: Vec<Endpoint>,
    local: Vec<Endpoint>,
    spec: &'a ServiceSpec,
    protocol: String,
    number: u16,
    facts: &'a Facts,
}

impl PortCompiler<'_> {
    fn compile(
        &self,
        port: &ServicePort,
        cluster_ips: &BTreeSet<Ipv4Addr>,
        load_balancer_ips: &BTreeSet<Ipv4Addr>,
        part: &mut Part,
    ) {
        let internal_local = self.spec.internal_traffic_policy.as_deref() == Some("Local");
        let internal = if internal_local { self.to_local(part) } else { self.to_all(part) };
        for ip in cluster_ips.iter().filter(|ip| Some(**ip) != self.facts.dns) {
            self.enter(*ip, internal.clone(), part);
            if let (Some(chain), false) = (&internal, internal_local) {
                // From outside the cluster (this machine too): only the machine itself is sure to get the reply.
                let from_outside = format!(
                    "ip daddr {ip} ip saddr != {} meta mark set meta mark | {MASQUERADE}",
                    self.facts.cluster
                );
                if let Some(rules) = chain.strip_prefix("goto ").and_then(|name| part.chains.get_mut(name)) {
                    rules.insert(0, from_outside);
                }
            }
        }
        let external_ips: BTreeSet<Ipv4Addr> =
            self.spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
        let node_port = port.node_port.and_then(port_number);
        if external_ips.is_empty() && load_balancer_ips.is_empty() && node_port.is_none() {
            return self.remember(cluster_ips, node_port, part);
        }
        let external = self.entrance(part);
        for ip in &external_ips {
            self.enter(*ip, external.clone(), part);
        }
        let filtered = external.clone().map(|verdict| self.filtered(verdict, part));
        for ip in load_balancer_ips.difference(&external_ips) {
            self.enter(*ip, filtered.clone(), part);
        }
        if let Some(node_port) = node_port {
            let key = format!("{} . {node_port}", self.protocol);
            put(part, Container::NodePorts, Container::RejectedPorts, key, external);
        }
        let fronts = cluster_ips | &external_ips;
        self.remember(&(&fronts | load_balancer_ips), node_port, part);
    }

    /// What happens to packets to this address and our port. `None`: they are rejected.
    fn enter(&self, ip: Ipv4Addr, verdict: Option<String>, part: &mut Part) {
        let key = format!("{ip} . {} . {}", self.protocol, self.number);
        put(part, Container::ServiceIps, Container::RejectedIps, key, verdict);
    }

    /// Hairpins, and UDP flows.
    fn remember(&self, fronts: &BTreeSet<Ipv4Addr>, node_port: Option<u16>, part: &mut Part) {
        for Endpoint { ip, .. } in self.all.iter().filter(|endpoint| endpoint.maybe_local()) {
            let element = Element { container: Container::Hairpin, key: format!("{ip} . {ip}") };
            part.elements.insert(element, String::new());
        }
        if self.protocol != "udp" || self.all.is_empty() {
            return;
        }
        part.udp.extend(
            self.all.iter().map(|endpoint| Flow::Endpoint(SocketAddrV4::new(endpoint.ip, endpoint.port))),
        );
        part.udp.extend(fronts.iter().map(|ip| Flow::Service { ip: Some(*ip), port: self.number }));
        part.udp.extend(node_port.map(|port| Flow::Service { ip: None, port }));
    }

    fn to_all(&self, part: &mut Part) -> Option<String> {
        self.balance("c", &self.all, part)
    }

    /// To the endpoints of this machine. Without one packets vanish, as upstream: another node may serve.
    fn to_local(&self, part: &mut Part) -> Option<String> {
        if self.all.is_empty() {
            return None;
        }
        Some(self.balance("l", &self.local, part).unwrap_or_else(|| "drop".to_owned()))
    }

    /// The verdict for what comes to node ports and external addresses.
    fn entrance(&self, part: &mut Part) -> Option<String> {
        let all = self.to_all(part)?;
        let masquerade = format!("meta mark set meta mark | {MASQUERADE}");
        let rules = if self.spec.external_traffic_policy.as_deref() == Some("Local") {
            let local = self.to_local(part)?;
            vec![
                // A pod, and the machine itself, is not outside: for them a node without endpoints serves as well.
                format!("ip saddr {} {all}", self.facts.cluster),
                format!("fib saddr type local {masquerade}"),
                format!("fib saddr type local {all}"),
                local,
            ]
        } else {
            vec![masquerade, all]
        };
        let name = format!("x-{}", self.name);
        let verdict = format!("goto {name}");
        part.chains.insert(name, rules);
        Some(verdict)
    }

    /// The verdict narrowed to the source ranges of a load balancer.
    fn filtered(&self, verdict: String, part: &mut Part) -> String {
        let ranges = self.spec.load_balancer_source_ranges.iter().flatten();
        let ranges: BTreeSet<Cidr> = ranges.filter_map(|range| range.trim().parse().ok()).collect();
        if ranges.is_empty() {
            return verdict;
        }
        let mut rules: Vec<String> =
            ranges.iter().map(|range| format!("ip saddr {range} {verdict}")).collect();
        rules.push("drop".to_owned());
        let name = format!("f-{}", self.name);
        let verdict = format!("goto {name}");
        part.chains.insert(name, rules);
        verdict
    }

    /// The chain that chooses among endpoints, and the verdict that leads there. `None` without endpoints.
    fn balance(&self, kind: &str, endpoints: &[Endpoint], part: &mut Part) -> Option<String> {
        if endpoints.is_empty() {
            return None;
        }
        let name = format!("{kind}-{}", self.name);
        let rules = if self.spec.session_affinity.as_deref() == Some("ClientIP") {
            self.sticky(endpoints, part)
        } else {
            vec![format!("meta l4proto {} dnat ip to {}", self.protocol, choice(endpoints))]
        };
        let verdict = format!("goto {name}");
        part.chains.entry(name).or_insert(rules);
        Some(verdict)
    }

    fn sticky(&self, endpoints: &[Endpoint], part: &mut Part) -> Vec<String> {
        let config = self.spec.session_affinity_config.as_ref();
        let timeout_s = config
            .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
            .filter(|seconds| *seconds > 0)
            .unwrap_or(AFFINITY_S);
        let mut known = Vec::new();
        let mut chosen = Vec::new();
        for (n, Endpoint { ip, port, .. }) in endpoints.iter().enumerate() {
            let chain = format!("e-{}/{ip}/{port}", self.name);
            // The time is part of the name: what a set is cannot change.
            let set = format!("a{timeout_s}-{}/{ip}/{port}", self.name);
            part.sets.insert(
                set.clone(),
                format!("type ipv4_addr; flags dynamic,timeout; timeout {timeout_s}s; size 65535;"),
            );
            let rules = vec![
                format!("update @{set} {{ ip saddr }}"),
                format!("meta l4proto {} dnat ip to {ip}:{port}", self.protocol),
            ];
            known.push(format!("ip saddr @{set} goto {chain}"));
            chosen.push(format!("{n} : goto {chain}"));
            part.chains.insert(chain, rules);
        }
        known.push(format!("numgen random mod {} vmap {{ {} }}", chosen.len(), chosen.join(", ")));
        known
    }
}

fn put(part: &mut Part, served: Container, rejected: Container, key: String, verdict: Option<String>) {
    let (container, value) = match verdict {
        Some(verdict) => (served, verdict),
        None => (rejected, String::new()),
    };
    part.elements.insert(Element { container, key }, value);
}

/// A random choice of one endpoint, as an nft expression.
fn choice(endpoints: &[Endpoint]) -> String {
    if let [Endpoint { ip, port, .. }] = endpoints {
        return format!("{ip}:{port}");
    }
    let entries: Vec<String> = endpoints
        .iter()
        .enumerate()
        .map(|(n, Endpoint { ip, port, .. })| format!("{n} : {ip} . {port}"))
        .collect();
    format!("numgen random mod {} map {{ {} }}", entries.len(), entries.join(", "))
}

#[cfg(test)]
mod tests;
