//! Endpoints, the form that EndpointSlices replace: one object a Service, with the ready and the other addresses.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::slices::{HEADLESS, addresses, hostname, is_headless, publishes_not_ready, target};
use super::{World, ports};
use crate::pods::{is_finished, is_ready};

/// Addresses that one object holds; more are left out, and an annotation says so.
const MAX_ADDRESSES: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// Whether this controller made it.
pub(super) fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(MANAGED_BY))
        .is_some_and(|by| by == MANAGER)
}

/// The object as it should be, if it is not.
pub(super) fn decide(world: &World) -> Option<Endpoints> {
    let service = &world.service;
    let mut truncated = false;
    let mut left = MAX_ADDRESSES;
    // Keyed by the text of the ports, which have no order of their own.
    let mut subsets: BTreeMap<String, EndpointSubset> = BTreeMap::new();
    for pod in &world.pods {
        if is_finished(pod) || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let Some(ip) = addresses(pod).next() else { continue };
        if left == 0 {
            truncated = true;
            break;
        }
        left -= 1;
        let ports: Vec<_> = ports::of(service, pod)
            .into_iter()
            .map(|port| EndpointPort {
                name: port.name.filter(|name| !name.is_empty()),
                port: port.port.unwrap_or_default(),
                protocol: port.protocol,
                app_protocol: port.app_protocol,
            })
            .collect();
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: hostname(service, pod),
            node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            target_ref: Some(target(pod)),
        };
        let subset = subsets.entry(format!("{ports:?}")).or_insert_with(|| EndpointSubset {
            ports: Some(ports).filter(|ports| !ports.is_empty()),
            ..Default::default()
        });
        let ready = publishes_not_ready(service) || is_ready(pod);
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let held = world.endpoints.as_deref();
    let mut metadata = held.map(|held| held.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..Default::default()
    });
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    metadata.annotations = metadata.annotations.filter(|annotations| !annotations.is_empty());
    let subsets: Vec<_> = subsets.into_values().collect();
    let wanted = Endpoints { metadata, subsets: Some(subsets).filter(|subsets| !subsets.is_empty()) };
    (held != Some(&wanted)).then_some(wanted)
}
