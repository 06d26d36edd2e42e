//! Services and endpoint slices as last seen, indexed the way rules and names ask for them.
//!
//! Held behind a lock that is never kept across an await: the watch writes, names are looked up while reading, and the
//! rules are compiled from it service by service.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use skiff_runtime::Key;

use crate::compile::cluster_ips;

/// The label of a slice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What the API server holds, as far as traffic goes.
#[derive(Debug, Default)]
pub struct State {
    complete: bool,
    services: BTreeMap<Key, Arc<Service>>,
    /// The slices of each service, by their own name.
    slices: HashMap<Key, BTreeMap<String, Arc<EndpointSlice>>>,
    /// Who has a cluster address.
    by_ip: HashMap<Ipv4Addr, Key>,
    /// The services whose endpoints have this address.
    by_endpoint: HashMap<Ipv4Addr, BTreeSet<Key>>,
}

impl State {
    /// Both first lists are in: what is not here does not exist.
    pub fn completed(&mut self) {
        self.complete = true;
    }

    /// Whether what is not here does not exist.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// A service is new, has changed or is gone; tells whose rules that touches.
    pub fn service(&mut self, old: Option<&Service>, new: Option<&Arc<Service>>) -> Option<Key> {
        let key = new.map(|new| Key::of(new.as_ref())).or_else(|| old.map(Key::of))?;
        // What we hold counts, not what the watch says was there: after a gap they differ.
        if let Some(held) = self.services.remove(&key) {
            for ip in held.spec.iter().flat_map(cluster_ips) {
                if self.by_ip.get(&ip) == Some(&key) {
                    self.by_ip.remove(&ip);
                }
            }
        }
        if let Some(new) = new {
            for ip in new.spec.iter().flat_map(cluster_ips) {
                self.by_ip.insert(ip, key.clone());
            }
            self.services.insert(key.clone(), new.clone());
        }
        Some(key)
    }

    /// A slice is new, has changed or is gone; tells whose rules that touches.
    pub fn slice(&mut self, old: Option<&EndpointSlice>, new: Option<&Arc<EndpointSlice>>) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        if let Some(old) = old
            && let Some(service) = service_of(old)
        {
            let gone = self.slices.get_mut(&service).and_then(|held| held.remove(name(old)));
            if self.slices.get(&service).is_some_and(BTreeMap::is_empty) {
                self.slices.remove(&service);
            }
            if let Some(gone) = gone {
                self.forget_addresses(&service, &gone);
            }
            touched.insert(service);
        }
        if let Some(new) = new
            && let Some(service) = service_of(new)
        {
            let held = self.slices.entry(service.clone()).or_default();
            if let Some(replaced) = held.insert(name(new).to_owned(), new.clone()) {
                self.forget_addresses(&service, &replaced);
            }
            for ip in addresses(new) {
                self.by_endpoint.entry(ip).or_default().insert(service.clone());
            }
            touched.insert(service);
        }
        touched
    }

    /// A service.
    pub fn get(&self, key: &Key) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The slices of a service.
    pub fn slices_of(&self, key: &Key) -> impl Iterator<Item = &EndpointSlice> + Clone {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values).map(Arc::as_ref)
    }

    /// Every service.
    pub fn services(&self) -> impl Iterator<Item = &Key> {
        self.services.keys()
    }

    /// Whether a namespace has any service.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.services
            .range(Key::new(namespace, "")..)
            .next()
            .is_some_and(|(key, _)| key.namespace == namespace)
    }

    /// The service that has this cluster address.
    pub fn by_ip(&self, ip: Ipv4Addr) -> Option<&Key> {
        self.by_ip.get(&ip)
    }

    /// The services that have an endpoint of this address.
    pub fn by_endpoint(&self, ip: Ipv4Addr) -> impl Iterator<Item = &Key> {
        self.by_endpoint.get(&ip).into_iter().flatten()
    }

    fn forget_addresses(&mut self, service: &Key, gone: &EndpointSlice) {
        let kept: BTreeSet<Ipv4Addr> = self.slices_of(service).flat_map(addresses).collect();
        for ip in addresses(gone).filter(|ip| !kept.contains(ip)) {
            if let Some(of) = self.by_endpoint.get_mut(&ip) {
                of.remove(service);
                if of.is_empty() {
                    self.by_endpoint.remove(&ip);
                }
            }
        }
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), service))
}

fn name(slice: &EndpointSlice) -> &str {
    slice.meta().name.as_deref().unwrap_or_default()
}

fn addresses(slice: &EndpointSlice) -> impl Iterator<Item = Ipv4Addr> {
    let all = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses);
    all.filter_map(|address| address.parse().ok())
}
