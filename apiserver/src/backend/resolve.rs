//! From a Service or a host's name to addresses.
//!
//! A Service leads straight to its ready endpoints, as kube-apiserver does it with
//! `--enable-aggregator-routing`: the machine of the API server need not know the cluster's own addresses.
//! Matched to `apiserver/pkg/util/proxy`.

use std::net::{IpAddr, SocketAddr};

use rand::seq::SliceRandom;
use serde_json::Value;

use super::Failure;
use crate::cache::Cache;

/// The ready endpoints of a Service's port, in any order; never none.
pub fn service(cache: &Cache, namespace: &str, name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let services = cache.find("", "services").ok_or("services are not served")?;
    let service = services.get(namespace, name).ok_or_else(|| format!("service {name:?} not found"))?;
    let service = service.object(services.kind(), "v1");
    let sort = service["spec"]["type"].as_str().unwrap_or("ClusterIP");
    if !matches!(sort, "ClusterIP" | "NodePort" | "LoadBalancer") {
        return Err(format!("unsupported service type {sort:?}"));
    }
    let ports = service["spec"]["ports"].as_array();
    let port = ports
        .into_iter()
        .flatten()
        .find(|one| one["port"] == port)
        .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let port = port["name"].as_str().unwrap_or_default();
    let mut found = endpoints(cache, namespace, name, port);
    if found.is_empty() {
        return Err(format!("no endpoints available for service {name:?}"));
    }
    found.shuffle(&mut rand::rng());
    Ok(found)
}

/// Whether a Service has any slice of endpoints.
pub fn has_slices(cache: &Cache, namespace: &str, service: &str) -> bool {
    !slices(cache, namespace, service).is_empty()
}

/// The ready endpoints of a Service's port by its name.
pub fn endpoints(cache: &Cache, namespace: &str, service: &str, port: &str) -> Vec<SocketAddr> {
    slices(cache, namespace, service).iter().flat_map(|slice| of_slice(slice, port)).collect()
}

fn slices(cache: &Cache, namespace: &str, service: &str) -> Vec<Value> {
    let Some(slices) = cache.find("discovery.k8s.io", "endpointslices") else { return Vec::new() };
    let snapshot = slices.snapshot();
    // Keys begin with the namespace: others need not be looked at.
    let start = format!("{namespace}/");
    let inside = snapshot.items.range(std::sync::Arc::from(start.as_str())..);
    let inside = inside.take_while(|(key, _)| key.starts_with(&start));
    let of_service = inside.filter(|(_, item)| {
        item.labels.get("kubernetes.io/service-name").is_some_and(|label| label == service)
    });
    of_service.map(|(_, item)| item.object(slices.kind(), "v1")).collect()
}

fn of_slice(slice: &Value, port: &str) -> Vec<SocketAddr> {
    let list = |field: &str| slice[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let number = list("ports")
        .iter()
        .find(|one| one["name"].as_str().unwrap_or_default() == port)
        .and_then(|one| one["port"].as_u64().and_then(|port| u16::try_from(port).ok()));
    let ready = list("endpoints").iter().filter(|one| one["conditions"]["ready"] != false);
    let addresses = ready.filter_map(|one| one["addresses"][0].as_str()?.parse::<IpAddr>().ok());
    number
        .into_iter()
        .flat_map(|port| addresses.clone().map(move |address| SocketAddr::new(address, port)))
        .collect()
}

/// The addresses of a host.
pub async fn host(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(_) => Err(Failure::Other(format!("dial tcp: lookup {host}: no such host"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_endpoints_of_the_named_port_are_taken() {
        let slice = json!({
            "ports": [{"name": "web", "port": 80}, {"name": "https", "port": 8443}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"]},
            ],
        });
        let found = of_slice(&slice, "https");
        assert_eq!(found, ["10.0.0.1:8443".parse().unwrap(), "10.0.0.3:8443".parse().unwrap()]);
        assert!(of_slice(&slice, "other").is_empty());
    }
}
