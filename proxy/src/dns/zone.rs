//! Answers for the cluster's own names, from what the API server holds. Pure: a query and the state → an answer.
//!
//! Follows the Kubernetes DNS specification (kubernetes/dns `docs/specification.md`), schema version 1.1.0.

use std::net::Ipv4Addr;

use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::Endpoint;
use skiff_runtime::Key;

use crate::compile::cluster_ips;
use crate::net::Cidr;
use crate::state::State;

/// Seconds that an answer may be kept.
pub const TTL_S: u32 = 5;

/// What is ours to answer.
#[derive(Debug, Clone)]
pub struct Zone {
    /// Such as `cluster.local.`.
    pub domain: Name,
    /// Where we answer.
    pub dns: Ipv4Addr,
    /// All pods.
    pub cluster: Cidr,
    /// All services.
    pub services: Cidr,
}

/// What becomes of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// These records; none: the name exists, but has nothing of this type.
    Records {
        /// What was asked for.
        answers: Vec<Record>,
        /// Addresses of what the answers name.
        additionals: Vec<Record>,
    },
    /// The name is another one.
    Alias(Name),
    /// There is no such name.
    Unknown,
    /// The name is not ours.
    Elsewhere,
}

impl Answer {
    fn nothing() -> Self {
        Self::of(Vec::new())
    }

    fn of(answers: Vec<Record>) -> Self {
        Self::Records { answers, additionals: Vec::new() }
    }
}

/// An endpoint as names see it.
struct Host {
    label: String,
    ip: Ipv4Addr,
    /// Name, protocol in lower case, number.
    ports: Vec<(String, String, u16)>,
}

impl Zone {
    /// Answers a query of class IN.
    pub fn answer(&self, state: &State, name: &Name, kind: RecordType) -> Answer {
        let lower = name.to_lowercase();
        let labels: Vec<String> =
            lower.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        if self.domain.zone_of(&lower) {
            let ours = usize::from(self.domain.num_labels());
            return self.forward(state, name, &labels[..labels.len() - ours], kind);
        }
        match reverse_address(&labels) {
            Some(ip) if self.services.contains(ip) || self.cluster.contains(ip) => {
                self.reverse(state, name, ip, kind)
            }
            _ => Answer::Elsewhere,
        }
    }

    /// The record that says how long a "no" may be kept; `name` is what was asked.
    pub fn authority(&self, name: &Name) -> Record {
        let (mname, rname) = (self.below(&["ns", "dns"]), self.below(&["hostmaster"]));
        let soa = SOA::new(mname, rname, 1, 7200, 1800, 86400, TTL_S);
        let owner = if self.domain.zone_of(name) {
            self.domain.clone()
        } else {
            Name::from_labels(["in-addr", "arpa"].map(str::as_bytes)).unwrap_or_else(|_| Name::root())
        };
        record(&owner, RData::SOA(soa))
    }

    fn forward(&self, state: &State, name: &Name, labels: &[&str], kind: RecordType) -> Answer {
        match *labels {
            [] => match kind {
                RecordType::SOA => Answer::of(vec![self.authority(name)]),
                RecordType::NS => Answer::of(vec![record(name, RData::NS(NS(self.below(&["ns", "dns"]))))]),
                _ => Answer::nothing(),
            },
            ["dns-version"] => match kind {
                RecordType::TXT => Answer::of(vec![record(name, RData::TXT(TXT::new(vec!["1.1.0".into()])))]),
                _ => Answer::nothing(),
            },
            ["ns", "dns"] => addresses(name, kind, [self.dns]),
            ["dns" | "svc" | "pod"] => Answer::nothing(),
            [namespace, "svc"] if state.has_namespace(namespace) => Answer::nothing(),
            [ip, _, "pod"] => match ip.replace('-', ".").parse() {
                Ok(ip) => addresses(name, kind, [ip]),
                Err(_) => Answer::Unknown,
            },
            [_, "pod"] => Answer::nothing(),
            [ref host @ .., service, namespace, "svc"] => {
                let key = Key::new(namespace, service);
                match state.get(&key) {
                    Some(service) => self.service(state, name, &key, service, host, kind),
                    None => Answer::Unknown,
                }
            }
            _ => Answer::Unknown,
        }
    }

    fn service(
        &self,
        state: &State,
        name: &Name,
        key: &Key,
        service: &Service,
        host: &[&str],
        kind: RecordType,
    ) -> Answer {
        let Some(spec) = &service.spec else { return Answer::Unknown };
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec.external_name.as_deref().and_then(|target| Name::from_ascii(target).ok());
            return match (host, target) {
                ([], Some(mut target)) => {
                    target.set_fqdn(true);
                    Answer::Alias(target)
                }
                _ => Answer::Unknown,
            };
        }
        let cluster_ips = cluster_ips(spec);
        let headless = spec.cluster_ip.as_deref() == Some("None");
        let hosts = if headless { hosts(state, key) } else { Vec::new() };
        match *host {
            [] if kind == RecordType::SRV => self.ports(key, service, &hosts, None, name),
            [] if headless => addresses(name, kind, hosts.iter().map(|host| host.ip)),
            [] => addresses(name, kind, cluster_ips),
            [protocol] if protocol.starts_with('_') => Answer::nothing(),
            [label] => {
                let found: Vec<Ipv4Addr> =
                    hosts.iter().filter(|host| host.label == label).map(|host| host.ip).collect();
                if found.is_empty() { Answer::Unknown } else { addresses(name, kind, found) }
            }
            [port, protocol] => match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                (Some(port), Some(protocol)) => {
                    match self.ports(key, service, &hosts, Some((port, protocol)), name) {
                        Answer::Records { answers, .. } if answers.is_empty() => Answer::Unknown,
                        _ if kind != RecordType::SRV => Answer::nothing(),
                        found => found,
                    }
                }
                _ => Answer::Unknown,
            },
            _ => Answer::Unknown,
        }
    }

    /// SRV records of a service's ports: all, or the one of this name and protocol.
    fn ports(
        &self,
        key: &Key,
        service: &Service,
        hosts: &[Host],
        wanted: Option<(&str, &str)>,
        owner: &Name,
    ) -> Answer {
        let is_wanted = |name: &str, protocol: &str| {
            wanted.is_none_or(|wanted| !name.is_empty() && wanted == (name, protocol))
        };
        let base = ["svc"].as_slice();
        let base = [&[key.name.as_str(), key.namespace.as_str()], base].concat();
        let mut found: Vec<(u16, Name, Vec<Ipv4Addr>)> = Vec::new();
        let spec = service.spec.clone().unwrap_or_default();
        let ips: Vec<Ipv4Addr> = cluster_ips(&spec).into_iter().collect();
        if !ips.is_empty() {
            for port in spec.ports.iter().flatten() {
                let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
                if is_wanted(port.name.as_deref().unwrap_or_default(), &protocol)
                    && let Ok(number) = u16::try_from(port.port)
                {
                    found.push((number, self.below(&base), ips.clone()));
                }
            }
        }
        for host in hosts {
            let target = self.below(&[&[host.label.as_str()], base.as_slice()].concat());
            let ports = host.ports.iter().filter(|(name, protocol, _)| is_wanted(name, protocol));
            found.extend(ports.map(|(_, _, number)| (*number, target.clone(), vec![host.ip])));
        }
        let weight = u16::try_from(100 / found.len().max(1)).unwrap_or(1).max(1);
        let mut answers = Vec::new();
        let mut additionals: Vec<Record> = Vec::new();
        for (number, target, ips) in found {
            let new = ips.iter().map(|ip| record(&target, RData::A(A(*ip))));
            for address in new.collect::<Vec<_>>() {
                if !additionals.contains(&address) {
                    additionals.push(address);
                }
            }
            answers.push(record(owner, RData::SRV(SRV::new(0, weight, number, target))));
        }
        Answer::Records { answers, additionals }
    }

    fn reverse(&self, state: &State, name: &Name, ip: Ipv4Addr, kind: RecordType) -> Answer {
        let named = |labels: &[&str]| record(name, RData::PTR(PTR(self.below(labels))));
        let mut answers: Vec<Record> =
            state.by_ip(ip).map(|key| named(&[&key.name, &key.namespace, "svc"])).into_iter().collect();
        for key in state.by_endpoint(ip) {
            let headless = state.get(key).and_then(|service| service.spec.as_ref()?.cluster_ip.as_deref());
            if headless == Some("None") {
                let here = hosts(state, key).into_iter().filter(|host| host.ip == ip);
                answers.extend(here.map(|host| named(&[&host.label, &key.name, &key.namespace, "svc"])));
            }
        }
        match kind {
            _ if answers.is_empty() => Answer::Unknown,
            RecordType::PTR => Answer::of(answers),
            _ => Answer::nothing(),
        }
    }

    fn below(&self, labels: &[&str]) -> Name {
        let mut name = labels.join(".");
        name.push('.');
        name.push_str(&self.domain.to_ascii());
        // Names of objects are DNS labels, so that this fails only where a name grows too long.
        Name::from_ascii(name).unwrap_or_else(|_| self.domain.clone())
    }
}

fn record(owner: &Name, data: RData) -> Record {
    Record::from_rdata(owner.clone(), TTL_S, data)
}

fn addresses(owner: &Name, kind: RecordType, ips: impl IntoIterator<Item = Ipv4Addr>) -> Answer {
    match kind {
        RecordType::A | RecordType::ANY => {
            Answer::of(ips.into_iter().map(|ip| record(owner, RData::A(A(ip)))).collect())
        }
        _ => Answer::nothing(),
    }
}

/// The record that makes one name another.
pub fn alias(owner: &Name, target: &Name) -> Record {
    record(owner, RData::CNAME(CNAME(target.clone())))
}

fn reverse_address(labels: &[&str]) -> Option<Ipv4Addr> {
    match labels {
        [d, c, b, a, "in-addr", "arpa"] => format!("{a}.{b}.{c}.{d}").parse().ok(),
        _ => None,
    }
}

/// The ready endpoints of a headless service, each address once, ports of all slices together.
fn hosts(state: &State, key: &Key) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for slice in state.slices_of(key).filter(|slice| slice.address_type == "IPv4") {
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            Some((port.name.clone().unwrap_or_default(), protocol, u16::try_from(port.port?).ok()?))
        });
        let ports: Vec<_> = ports.collect();
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint)) {
            let Some(ip) = endpoint.addresses.first().and_then(|ip| ip.parse::<Ipv4Addr>().ok()) else {
                continue;
            };
            let label = endpoint.hostname.clone().filter(|name| !name.is_empty());
            let label = label.unwrap_or_else(|| ip.to_string().replace('.', "-"));
            match hosts.iter_mut().find(|host| host.ip == ip && host.label == label) {
                Some(host) => host.ports.extend(
                    ports.iter().filter(|port| !host.ports.contains(port)).cloned().collect::<Vec<_>>(),
                ),
                None => hosts.push(Host { label, ip, ports: ports.clone() }),
            }
        }
    }
    hosts
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}
