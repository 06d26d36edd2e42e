//! `NAME_SERVICE_HOST` and its kin.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Service;

/// The variables that services give a pod of `namespace`. The API server's own Service is always among them.
pub fn service_env(services: &[Arc<Service>], namespace: &str, links: bool) -> BTreeMap<String, String> {
    let mut made = BTreeMap::new();
    let of = |s: &Service, ns: &str| s.metadata.namespace.as_deref() == Some(ns);
    let api =
        services.iter().filter(|s| of(s, "default") && s.metadata.name.as_deref() == Some("kubernetes"));
    // The pod's own namespace comes last, and wins.
    for service in api.chain(services.iter().filter(|s| links && of(s, namespace))) {
        add(service, &mut made);
    }
    made
}

fn add(service: &Service, made: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    if ip.is_empty() || ip == "None" {
        return;
    }
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let variable = |text: &str| text.replace(['-', '.'], "_").to_uppercase();
    let name = variable(service.metadata.name.as_deref().unwrap_or_default());
    made.insert(format!("{name}_SERVICE_HOST"), ip.to_owned());
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{host}:{}", port.port);
        if index == 0 {
            made.insert(format!("{name}_SERVICE_PORT"), port.port.to_string());
            made.insert(format!("{name}_PORT"), url.clone());
        }
        if let Some(port_name) = port.name.as_ref().filter(|n| !n.is_empty()) {
            made.insert(format!("{name}_SERVICE_PORT_{}", variable(port_name)), port.port.to_string());
        }
        let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
        made.insert(prefix.clone(), url);
        made.insert(format!("{prefix}_PROTO"), lower);
        made.insert(format!("{prefix}_PORT"), port.port.to_string());
        made.insert(format!("{prefix}_ADDR"), ip.to_owned());
    }
}
