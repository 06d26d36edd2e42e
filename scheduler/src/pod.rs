//! What a pod asks of a node, read from it once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use skiff_api::quantity::Quantity;

use crate::company::Company;

/// Amounts by resource name: CPU in thousandths of a core, all else in its own unit.
pub type Amounts = BTreeMap<String, i128>;

/// What upstream takes a container that requests nothing for when nodes are compared.
const UNSAID_CPU_MILLIS: i128 = 100;
const UNSAID_MEMORY_BYTES: i128 = 200 << 20;

/// A port of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` for every address.
    pub ip: String,
    /// Such as `TCP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

/// A pod as the scheduler sees it.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Resources, as the sum over containers or the largest init container.
    pub requests: Amounts,
    /// CPU (thousandths) and memory (bytes) with upstream's stand-ins for what is not said.
    pub likely: (i128, i128),
    /// Ports of the host.
    pub ports: Vec<HostPort>,
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The uid of the controller that owns it.
    pub owner: Option<String>,
    /// Higher goes first, and may drive lower ones out.
    pub priority: i32,
    /// It is being deleted.
    pub leaving: bool,
    /// Where it must, must not and would like to be beside other pods.
    pub company: Company,
}

fn amount(name: &str, text: &str) -> i128 {
    Quantity::parse(text)
        .map_or(0, |quantity| if name == "cpu" { quantity.millis() } else { quantity.value() })
}

fn requests(container: &Container) -> Amounts {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    requests.into_iter().flatten().map(|(name, quantity)| (name.clone(), amount(name, &quantity.0))).collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *to.entry(name.clone()).or_default() += amount;
    }
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let known = to.entry(name.clone()).or_default();
        *known = (*known).max(*amount);
    }
}

impl Needs {
    /// Reads a pod.
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let mut total = Amounts::new();
        let mut likely = (0, 0);
        for container in &spec.containers {
            let own = requests(container);
            likely.0 += own.get("cpu").copied().filter(|cpu| *cpu > 0).unwrap_or(UNSAID_CPU_MILLIS);
            likely.1 += own.get("memory").copied().filter(|bytes| *bytes > 0).unwrap_or(UNSAID_MEMORY_BYTES);
            add(&mut total, &own);
        }
        // Init containers run one after the other, beside the sidecars started before them.
        let mut sidecars = Amounts::new();
        let mut peak = Amounts::new();
        for container in spec.init_containers.iter().flatten() {
            let mut own = requests(container);
            if container.restart_policy.as_deref() == Some("Always") {
                add(&mut sidecars, &own);
                raise(&mut peak, &sidecars);
            } else {
                add(&mut own, &sidecars);
                raise(&mut peak, &own);
            }
        }
        add(&mut total, &sidecars);
        raise(&mut total, &peak);
        for (name, quantity) in spec.overhead.iter().flatten() {
            *total.entry(name.clone()).or_default() += amount(name, &quantity.0);
        }
        let ports = spec
            .containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| {
                Some(HostPort {
                    ip: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into()),
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                    port: port.host_port.filter(|port| *port > 0)?,
                })
            })
            .collect();
        let owners = pod.metadata.owner_references.iter().flatten();
        Self {
            requests: total,
            likely,
            ports,
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            owner: owners
                .filter(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.clone())
                .next(),
            priority: spec.priority.unwrap_or(0),
            leaving: pod.metadata.deletion_timestamp.is_some(),
            company: Company::of(pod),
        }
    }
}

/// The amounts of a node.
pub fn allocatable(node: &k8s_openapi::api::core::v1::Node) -> Amounts {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    allocatable
        .into_iter()
        .flatten()
        .map(|(name, quantity)| (name.clone(), amount(name, &quantity.0)))
        .collect()
}
