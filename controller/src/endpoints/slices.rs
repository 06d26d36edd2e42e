//! From the pods of a Service to its EndpointSlices, changing as few as possible.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{World, ports};
use crate::claim::controller_reference;
use crate::pods::{is_finished, is_ready};

/// Endpoints in one slice (`--max-endpoints-per-slice`).
const MAX_ENDPOINTS: usize = 100;
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

fn label<'s>(slice: &'s EndpointSlice, name: &str) -> Option<&'s str> {
    slice.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// Whether this controller made it.
pub(super) fn is_ours(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY) == Some(MANAGER)
}

/// The Service that it belongs to.
pub(super) fn service_of(slice: &EndpointSlice) -> Option<&str> {
    label(slice, SERVICE_NAME)
}

/// From what is to what to write.
pub(super) fn decide(world: &World) -> Plan {
    let mut plan = Plan::default();
    let families = families(&world.service);
    for family in &families {
        let existing = world.slices.iter().filter(|slice| slice.address_type == *family).cloned().collect();
        one_family(world, family, existing, &mut plan);
    }
    plan.delete.extend(world.slices.iter().filter(|slice| !families.contains(&slice.address_type)).cloned());
    plan
}

/// `IPv4` and `IPv6`, as far as the Service has them.
fn families(service: &Service) -> Vec<String> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    if families.is_empty() { vec!["IPv4".to_owned()] } else { families }
}

fn one_family(world: &World, family: &str, existing: Vec<Arc<EndpointSlice>>, plan: &mut Plan) {
    // Keyed by the text of the ports, which have no order of their own.
    let mut wanted: BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
    for pod in &world.pods {
        let Some(endpoint) = endpoint(world, pod, family) else { continue };
        let ports = ports::of(&world.service, pod);
        wanted.entry(key(&ports)).or_insert_with(|| (ports, Vec::new())).1.push(endpoint);
    }
    if wanted.is_empty() {
        // An empty slice tells that there is nothing, as opposed to nothing being known.
        wanted.insert(key(&[]), Default::default());
    }
    let mut leftover: Vec<Arc<EndpointSlice>> = Vec::new();
    let mut by_ports: BTreeMap<String, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        let ports = key(slice.ports.as_deref().unwrap_or_default());
        if wanted.contains_key(&ports) {
            by_ports.entry(ports).or_default().push(slice)
        } else {
            leftover.push(slice)
        }
    }
    for (text, (ports, endpoints)) in wanted {
        let slices = by_ports.remove(&text).unwrap_or_default();
        distribute(world, family, ports, endpoints, slices, &mut leftover, plan);
    }
    plan.delete.extend(leftover);
}

fn key(ports: &[EndpointPort]) -> String {
    let mut texts: Vec<_> = ports
        .iter()
        .map(|port| {
            let name = port.name.as_deref().unwrap_or_default();
            format!("{name}/{:?}/{:?}/{:?}", port.protocol, port.port, port.app_protocol)
        })
        .collect();
    texts.sort();
    texts.join(",")
}

/// Keeps every endpoint in the slice it is in, fills slices that have room, and then others: unused, or new.
fn distribute(
    world: &World,
    family: &str,
    ports: Vec<EndpointPort>,
    mut endpoints: Vec<Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
    leftover: &mut Vec<Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    let mut kept: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in slices {
        let mut stay = Vec::new();
        for held in slice.endpoints.iter().flatten() {
            if let Some(index) = endpoints.iter().position(|endpoint| is_same(endpoint, held)) {
                stay.push(endpoints.swap_remove(index));
            }
        }
        kept.push((slice, stay));
    }
    endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    for (_, stay) in &mut kept {
        let room = MAX_ENDPOINTS.saturating_sub(stay.len()).min(endpoints.len());
        stay.extend(endpoints.drain(..room));
    }
    let mut some_left = false;
    for (slice, stay) in kept {
        // Of slices that ran empty one is kept if it is the last.
        if stay.is_empty() && (some_left || !endpoints.is_empty()) {
            leftover.push(slice);
            continue;
        }
        some_left = true;
        let changed = render(world, family, ports.clone(), stay, Some(&slice));
        if changed != *slice {
            plan.update.push(changed);
        }
    }
    while !endpoints.is_empty() || !some_left {
        some_left = true;
        let batch: Vec<_> = endpoints.drain(..endpoints.len().min(MAX_ENDPOINTS)).collect();
        match leftover.pop() {
            Some(slice) => plan.update.push(render(world, family, ports.clone(), batch, Some(&slice))),
            None => plan.create.push(render(world, family, ports.clone(), batch, None)),
        }
    }
}

fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    let uid = |endpoint: &Endpoint| endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    one.addresses == other.addresses && uid(one) == uid(other)
}

fn render(
    world: &World,
    family: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    onto: Option<&EndpointSlice>,
) -> EndpointSlice {
    let service = &world.service;
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let name = service.metadata.name.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut metadata = onto.map(|slice| slice.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: service.metadata.namespace.clone(),
        owner_references: Some(vec![controller_reference(service.as_ref())]),
        ..Default::default()
    });
    metadata.labels = Some(labels);
    // What decodes as absent and what as empty is the same, so compare as the API server shows it.
    let endpoints = match onto.map(|slice| &slice.endpoints) {
        Some(None) if endpoints.is_empty() => None,
        _ => Some(endpoints),
    };
    let held_ports = onto.and_then(|slice| slice.ports.clone());
    let same_ports = onto.is_some() && key(held_ports.as_deref().unwrap_or_default()) == key(&ports);
    let ports = if same_ports { held_ports } else { Some(ports) };
    EndpointSlice { metadata, address_type: family.to_owned(), endpoints, ports }
}

/// Whether the Service has no address of its own.
pub(super) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The pod's addresses, the first one first.
pub(super) fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = pod.status.as_ref();
    let all =
        status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|ip| ip.ip.as_str());
    let first = status.and_then(|status| status.pod_ip.as_deref());
    first.into_iter().chain(all).filter(|address| !address.is_empty())
}

/// The name by which the pod answers under a headless Service.
pub(super) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.clone().filter(|hostname| !hostname.is_empty())?;
    (spec.subdomain == service.metadata.name && spec.subdomain.is_some()).then_some(hostname)
}

/// A reference to the pod behind an address.
pub(super) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..Default::default()
    }
}

/// Whether the Service shows pods that are not ready as if they were.
pub(super) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

fn endpoint(world: &World, pod: &Pod, family: &str) -> Option<Endpoint> {
    if is_finished(pod) {
        return None;
    }
    let of_family = |address: &&str| match address.parse() {
        Ok(IpAddr::V4(_)) => family == "IPv4",
        Ok(IpAddr::V6(_)) => family == "IPv6",
        Err(_) => false,
    };
    let address = addresses(pod).find(of_family)?.to_owned();
    let serving = is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = publishes_not_ready(&world.service) || (serving && !terminating);
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(&world.service, pod),
        zone: node.as_ref().and_then(|node| world.zones.get(node).cloned()),
        node_name: node,
        target_ref: Some(target(pod)),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests;
