//! Cluster IPs and node ports.
//!
//! Writes of Services go one after the other: each is given what no Service in the cache holds,
//! and the next waits until the cache shows it. Several API servers on one etcd need a claim in
//! the store as well; that is not there yet.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rand::Rng;
use serde_json::{Value, json};
use skiff_api::kind::Kind;
use skiff_api::status::{FieldError, Status};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::app::{Call, Config};

/// A write's turn among those that go one after the other.
pub struct Turn(#[expect(dead_code, reason = "it is held, not read")] OwnedMutexGuard<()>);

/// Hands out cluster IPs and node ports.
pub struct Allocator {
    order: Arc<Mutex<()>>,
    first: u32,
    size: u32,
    ports: (u16, u16),
}

impl Allocator {
    /// For the ranges of the configuration.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let bad = || anyhow::anyhow!("service range {:?} is not like 10.96.0.0/16", config.service_cidr);
        let (address, bits) = config.service_cidr.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let bits: u32 = bits.parse().ok().filter(|bits| (8..=30).contains(bits)).ok_or_else(bad)?;
        let first = u32::from(address) & (u32::MAX << (32 - bits));
        Ok(Self { order: Arc::default(), first, size: 1 << (32 - bits), ports: config.node_ports })
    }

    /// Whether writes of a kind go one after the other.
    pub fn orders(&self, kind: &Kind) -> bool {
        kind.group.is_empty() && kind.plural == "services"
    }

    /// The turn of a write, for kinds that need one.
    pub async fn lock(&self, kind: &Kind) -> Option<Turn> {
        if self.orders(kind) { Some(Turn(self.order.clone().lock_owned().await)) } else { None }
    }

    /// The first address of the range, which the `kubernetes` Service has.
    pub fn first_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.first + 1)
    }

    /// Gives a Service what it needs and has not. Call it with the lock held.
    pub fn allocate(&self, call: &Call, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        if !self.orders(&call.kind) {
            return Ok(());
        }
        let mut taken = Taken::read(call)?;
        let mut errors = Vec::new();
        if let Some(old) = old {
            keep(new, old);
        }
        let own = old.map(|old| old["spec"].clone()).unwrap_or_default();
        self.cluster_ip(new, &own, &mut taken, &mut errors);
        self.node_ports(new, &own, &mut taken, &mut errors);
        if errors.is_empty() {
            return Ok(());
        }
        let name = skiff_api::meta::name(new);
        Err(Status::invalid("", "Service", name, &errors))
    }

    fn cluster_ip(&self, new: &mut Value, own: &Value, taken: &mut Taken, errors: &mut Vec<FieldError>) {
        let spec = &mut new["spec"];
        if spec["type"] == "ExternalName" {
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if let Some(spec) = spec.as_object_mut() {
                    spec.remove(key);
                }
            }
            return;
        }
        let asked = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
        let ip = if asked == "None" || (!asked.is_empty() && own["clusterIP"] == asked.as_str()) {
            asked
        } else if asked.is_empty() {
            match self.free_ip(taken) {
                Some(ip) => ip.to_string(),
                None => {
                    errors.push(FieldError::new(
                        skiff_api::status::Problem::Internal,
                        "spec.clusterIPs",
                        Value::Null,
                        "failed to allocate a serviceIP: range is full",
                    ));
                    return;
                }
            }
        } else {
            let detail = match asked.parse::<Ipv4Addr>() {
                Err(_) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()),
                Ok(ip) if !self.holds(ip) => Some(format!(
                    "failed to allocate IP {ip}: the provided IP is not in the valid range. The range of \
                     valid IPs is {}/{}",
                    Ipv4Addr::from(self.first),
                    32 - self.size.trailing_zeros()
                )),
                Ok(ip) if taken.ips.contains(&u32::from(ip)) => {
                    Some(format!("failed to allocate IP {ip}: provided IP is already allocated"))
                }
                Ok(_) => None,
            };
            if let Some(detail) = detail {
                errors.push(FieldError::invalid("spec.clusterIPs", json!([asked]), detail));
                return;
            }
            asked
        };
        spec["clusterIPs"] = json!([ip]);
        spec["clusterIP"] = ip.into();
        if spec["ipFamilies"].is_null() {
            spec["ipFamilies"] = json!(["IPv4"]);
        }
        if spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = "SingleStack".into();
        }
    }

    fn holds(&self, ip: Ipv4Addr) -> bool {
        let offset = u32::from(ip).wrapping_sub(self.first);
        offset > 0 && offset < self.size - 1
    }

    /// A random free address from the upper part of the range; the lower is for those who ask.
    fn free_ip(&self, taken: &Taken) -> Option<Ipv4Addr> {
        let reserved = (self.size / 16).clamp(16.min(self.size / 4), 256);
        let span = self.size - 1 - reserved;
        let start = rand::rng().random_range(0..span);
        (0..span)
            .map(|step| self.first + reserved + (start + step) % span)
            .find(|ip| !taken.ips.contains(ip))
            .map(Ipv4Addr::from)
    }

    fn node_ports(&self, new: &mut Value, own: &Value, taken: &mut Taken, errors: &mut Vec<FieldError>) {
        let wants = match new["spec"]["type"].as_str() {
            Some("NodePort") => true,
            Some("LoadBalancer") => new["spec"]["allocateLoadBalancerNodePorts"] != false,
            _ => false,
        };
        let own_ports: BTreeSet<(String, u64)> = ports(own).collect();
        // One Service may use one node port for TCP and for UDP.
        let mut mine: BTreeSet<(String, u64)> = BTreeSet::new();
        for (at, port) in new["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate() {
            let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
            let asked = port["nodePort"].as_u64().unwrap_or(0);
            if asked == 0 && !wants {
                continue;
            }
            if asked == 0 {
                match self.free_port(&protocol, taken) {
                    Some(free) => {
                        port["nodePort"] = free.into();
                        taken.ports.insert((protocol, free));
                    }
                    None => errors.push(FieldError::new(
                        skiff_api::status::Problem::Internal,
                        format!("spec.ports[{at}].nodePort"),
                        Value::Null,
                        "failed to allocate a nodePort: range is full",
                    )),
                }
                continue;
            }
            let key = (protocol, asked);
            if own_ports.contains(&key) && mine.insert(key.clone()) {
                continue;
            }
            let detail = if !(u64::from(self.ports.0)..=u64::from(self.ports.1)).contains(&asked) {
                format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    self.ports.0, self.ports.1
                )
            } else if taken.ports.contains(&key) {
                "provided port is already allocated".to_owned()
            } else {
                taken.ports.insert(key);
                continue;
            };
            errors.push(FieldError::invalid(format!("spec.ports[{at}].nodePort"), asked, detail));
        }
    }

    fn free_port(&self, protocol: &str, taken: &Taken) -> Option<u64> {
        let (first, last) = (u64::from(self.ports.0), u64::from(self.ports.1));
        let span = last - first + 1;
        let start = rand::rng().random_range(0..span);
        (0..span)
            .map(|step| first + (start + step) % span)
            .find(|port| !taken.ports.contains(&(protocol.to_owned(), *port)))
    }
}

/// An update that leaves out what was allocated keeps it.
fn keep(new: &mut Value, old: &Value) {
    let leaves = |kind: &Value| kind == "ExternalName";
    if leaves(&old["spec"]["type"]) || leaves(&new["spec"]["type"]) {
        return;
    }
    for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if new["spec"][key].is_null() || new["spec"][key] == "" {
            new["spec"][key] = old["spec"][key].clone();
        }
    }
    if !matches!(new["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
        return;
    }
    let before = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if port["nodePort"].as_u64().unwrap_or(0) == 0
            && let Some(same) =
                before.iter().find(|old| old["port"] == port["port"] && old["protocol"] == port["protocol"])
            && same["nodePort"].as_u64().unwrap_or(0) > 0
        {
            port["nodePort"] = same["nodePort"].clone();
        }
    }
}

fn ports(spec: &Value) -> impl Iterator<Item = (String, u64)> + '_ {
    spec["ports"].as_array().into_iter().flatten().filter_map(|port| {
        let number = port["nodePort"].as_u64().filter(|number| *number > 0)?;
        Some((port["protocol"].as_str().unwrap_or("TCP").to_owned(), number))
    })
}

/// What the Services in the cache hold.
#[derive(Default)]
struct Taken {
    ips: BTreeSet<u32>,
    ports: BTreeSet<(String, u64)>,
}

impl Taken {
    fn read(call: &Call) -> Result<Self, Status> {
        let mut taken = Self::default();
        for item in call.app.cache.of(&call.kind)?.snapshot().items.values() {
            let object = item.object(&call.kind, &call.version);
            let spec = &object["spec"];
            let ips = spec["clusterIPs"].as_array().into_iter().flatten();
            taken.ips.extend(ips.filter_map(|ip| Some(u32::from(ip.as_str()?.parse::<Ipv4Addr>().ok()?))));
            taken.ports.extend(ports(spec));
        }
        Ok(taken)
    }
}
