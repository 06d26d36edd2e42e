//! Cluster IPs and node ports.
//!
//! Writes of Services go one after the other: each is given what no Service in the cache holds, and the
//! next waits until the cache shows it. Against other API servers of the same store each takes what it
//! was given as a claim before it writes; who finds one taken chooses again.

mod claim;
mod index;
pub(crate) mod repair;
mod turn;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use serde_json::{Value, json};
use skiff_api::kind::Kind;
use skiff_api::meta;
use skiff_api::status::{FieldError, Problem, Status};
use tokio::sync::Mutex;

use crate::app::{Call, Config};
use crate::cache::unavailable;
use claim::{Claim, Holder, held};
use index::Index;

pub use turn::Turn;

/// How often a write that finds a claim taken chooses again.
const TRIES: u32 = 7;
/// How long it waits before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(10);

/// Hands out cluster IPs and node ports.
pub struct Allocator {
    order: Arc<Mutex<()>>,
    index: std::sync::Mutex<Index>,
    first: u32,
    size: u32,
    ports: (u16, u16),
}

/// What became of a write's claims.
pub enum Claimed {
    /// It has them all.
    All(Option<Turn>),
    /// Another server was faster: choose again.
    Again,
}

/// How often a write has found its claims taken.
#[derive(Default)]
pub struct Contention(u32);

impl Allocator {
    /// For the ranges of the configuration.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let bad = || anyhow::anyhow!("service range {:?} is not like 10.96.0.0/16", config.service_cidr);
        let (address, bits) = config.service_cidr.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let bits: u32 = bits.parse().ok().filter(|bits| (8..=30).contains(bits)).ok_or_else(bad)?;
        let first = u32::from(address) & (u32::MAX << (32 - bits));
        Ok(Self {
            order: Arc::default(),
            index: std::sync::Mutex::default(),
            first,
            size: 1 << (32 - bits),
            ports: config.node_ports,
        })
    }

    /// Whether writes of a kind go one after the other.
    pub fn orders(&self, kind: &Kind) -> bool {
        kind.group.is_empty() && kind.plural == "services"
    }

    /// The turn of a write, for kinds that need one.
    pub async fn lock(&self, call: &Call) -> Option<Turn> {
        if !self.orders(&call.kind) {
            return None;
        }
        let order = self.order.clone().lock_owned().await;
        Some(self.turn(call, Some(order)))
    }

    fn turn(&self, call: &Call, order: Option<tokio::sync::OwnedMutexGuard<()>>) -> Turn {
        let holder = Holder { namespace: call.namespace().into(), name: call.name().into() };
        let key = call.kind.key(call.namespace(), call.name());
        Turn::new(call.app.storage.clone(), holder, key, order)
    }

    /// Takes in the store what a write needs beyond what its object had. `new` is `None` for a delete.
    pub async fn claim(
        &self,
        turn: Option<Turn>,
        old: Option<&Value>,
        new: Option<&Value>,
        contention: &mut Contention,
    ) -> Result<Claimed, Status> {
        let Some(mut turn) = turn else { return Ok(Claimed::All(None)) };
        let (before, after) = (old.map(held).unwrap_or_default(), new.map(held).unwrap_or_default());
        for claim in after.difference(&before) {
            if turn.take(*claim).await.map_err(unavailable)? {
                continue;
            }
            // What was taken for this write is given back.
            drop(turn);
            contention.0 += 1;
            if contention.0 == TRIES {
                return Err(refusal(*claim, new));
            }
            tokio::time::sleep(PAUSE * (1 << (contention.0 - 1))).await;
            return Ok(Claimed::Again);
        }
        let left: Vec<Claim> = before.difference(&after).copied().collect();
        turn.will_leave(left).await.map_err(unavailable)?;
        Ok(Claimed::All(Some(turn)))
    }

    /// What a delete of this object leaves.
    pub async fn leave(&self, call: &Call, old: &Value) -> Result<Option<Turn>, Status> {
        if !self.orders(&call.kind) {
            return Ok(None);
        }
        let mut turn = self.turn(call, None);
        turn.will_leave(held(old)).await.map_err(unavailable)?;
        Ok(Some(turn))
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
        let mut taken = self.index.lock().expect("no holder of this lock panics");
        taken.follow(&*call.app.cache.of(&call.kind)?);
        let taken = &*taken;
        let mut errors = Vec::new();
        if let Some(old) = old {
            keep(new, old);
        }
        let own = old.map(|old| old["spec"].clone()).unwrap_or_default();
        self.cluster_ip(new, &own, taken, &mut errors);
        self.node_ports(new, &own, taken, &mut errors);
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid("", "Service", meta::name(new), &errors))
    }

    fn cluster_ip(&self, new: &mut Value, own: &Value, taken: &Index, errors: &mut Vec<FieldError>) {
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
                        Problem::Internal,
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
                Ok(ip) if taken.holds(Claim::Ip(ip)) => {
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
    fn free_ip(&self, taken: &Index) -> Option<Ipv4Addr> {
        let reserved = (self.size / 16).clamp(16.min(self.size / 4), 256);
        let span = self.size - 1 - reserved;
        let start = rand::rng().random_range(0..span);
        (0..span)
            .map(|step| Ipv4Addr::from(self.first + reserved + (start + step) % span))
            .find(|ip| !taken.holds(Claim::Ip(*ip)))
    }

    fn node_ports(&self, new: &mut Value, own: &Value, taken: &Index, errors: &mut Vec<FieldError>) {
        let wants = match new["spec"]["type"].as_str() {
            Some("NodePort") => true,
            Some("LoadBalancer") => new["spec"]["allocateLoadBalancerNodePorts"] != false,
            _ => false,
        };
        let port = &own["healthCheckNodePort"];
        let own = held(&json!({"spec": {"ports": own["ports"], "healthCheckNodePort": port}}));
        // What this Service asks for; one of its ports may be that of another of its protocols.
        let mut mine = held(&json!({"spec": {"ports": new["spec"]["ports"]}}));
        for (at, port) in new["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate() {
            let asked = port["nodePort"].as_u64().unwrap_or(0);
            if asked == 0 && !wants {
                continue;
            }
            let path = format!("spec.ports[{at}].nodePort");
            if asked == 0 {
                let free = |claim: &Claim| !taken.holds(*claim) && !mine.contains(claim);
                match self.free_port(free) {
                    Some(free) => {
                        port["nodePort"] = free.into();
                        mine.insert(Claim::Port(free));
                    }
                    None => errors.push(FieldError::new(
                        Problem::Internal,
                        path,
                        Value::Null,
                        "failed to allocate a nodePort: range is full",
                    )),
                }
                continue;
            }
            let claim = u16::try_from(asked).ok().map(Claim::Port);
            if claim.is_some_and(|claim| own.contains(&claim)) {
                continue;
            }
            let detail = if !(u64::from(self.ports.0)..=u64::from(self.ports.1)).contains(&asked) {
                format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    self.ports.0, self.ports.1
                )
            } else if claim.is_some_and(|claim| taken.holds(claim)) {
                PORT_TAKEN.to_owned()
            } else {
                continue;
            };
            errors.push(FieldError::invalid(path, asked, detail));
        }
        self.health_port(new, &own, taken, &mut mine, errors);
    }

    /// A balancer that leads to local pods only asks each node, on a port, whether it has some.
    fn health_port(
        &self,
        new: &mut Value,
        own: &BTreeSet<Claim>,
        taken: &Index,
        mine: &mut BTreeSet<Claim>,
        errors: &mut Vec<FieldError>,
    ) {
        let spec = &mut new["spec"];
        if spec["type"] != "LoadBalancer" || spec["externalTrafficPolicy"] != "Local" {
            return;
        }
        let path = "spec.healthCheckNodePort";
        let asked = spec["healthCheckNodePort"].as_u64().unwrap_or(0);
        if asked == 0 {
            match self.free_port(|claim: &Claim| !taken.holds(*claim) && !mine.contains(claim)) {
                Some(free) => {
                    spec["healthCheckNodePort"] = free.into();
                    mine.insert(Claim::Port(free));
                }
                None => {
                    let why = "failed to allocate a nodePort: range is full";
                    errors.push(FieldError::new(Problem::Internal, path, Value::Null, why));
                }
            }
            return;
        }
        let claim = u16::try_from(asked).ok().map(Claim::Port);
        if claim.is_some_and(|claim| taken.holds(claim) && !own.contains(&claim)) {
            errors.push(FieldError::invalid(path, asked, PORT_TAKEN));
        }
    }

    fn free_port(&self, free: impl Fn(&Claim) -> bool) -> Option<u16> {
        let (first, last) = self.ports;
        let span = u32::from(last - first) + 1;
        let start = rand::rng().random_range(0..span);
        (0..span).map(|step| first + ((start + step) % span) as u16).find(|port| free(&Claim::Port(*port)))
    }
}

const PORT_TAKEN: &str = "provided port is already allocated";

/// What is said of a claim that another Service has.
fn refusal(claim: Claim, new: Option<&Value>) -> Status {
    let error = match claim {
        Claim::Ip(ip) => FieldError::invalid(
            "spec.clusterIPs",
            json!([ip.to_string()]),
            format!("failed to allocate IP {ip}: provided IP is already allocated"),
        ),
        Claim::Port(port) => {
            let ports = new.and_then(|new| new["spec"]["ports"].as_array());
            let at = ports.and_then(|ports| ports.iter().position(|one| one["nodePort"] == port));
            let path = format!("spec.ports[{}].nodePort", at.unwrap_or(0));
            FieldError::invalid(path, port, PORT_TAKEN)
        }
    };
    Status::invalid("", "Service", new.map_or("", meta::name), &[error])
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
    if new["spec"]["externalTrafficPolicy"] == "Local" && new["spec"]["healthCheckNodePort"].is_null() {
        new["spec"]["healthCheckNodePort"] = old["spec"]["healthCheckNodePort"].clone();
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
