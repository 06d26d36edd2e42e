//! The node's bridge network.
//!
//! Docker does not masquerade here: the proxy does, as only it knows which addresses are the cluster's.

use std::collections::HashMap;

use bollard::{
    Docker,
    models::{Ipam, IpamConfig, NetworkCreateRequest},
    query_parameters::InspectNetworkOptions,
};

use super::engine_error;
use crate::{
    cri::label,
    error::{Error, Result},
};

/// Name of a node's network.
pub fn name(node: &str) -> String {
    format!("skiff-{node}")
}

/// Name of its bridge: stable, begins with `skiff`, and fits the kernel's 15 characters.
pub fn bridge(node: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(node.as_bytes());
    let short: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("skiff{short}")
}

/// Makes the network, or makes it anew when its range is another, or when an older engine made it without an option that
/// this one needs.
pub async fn ensure(docker: &Docker, node: &str, cidr: &str) -> Result<()> {
    let name = name(node);
    let version = docker.version().await.map_err(engine_error)?.version.unwrap_or_default();
    let options = options(node, major(&version));
    match docker.inspect_network(&name, None::<InspectNetworkOptions>).await.map_err(engine_error) {
        Ok(found) => {
            let ranges = found.ipam.and_then(|i| i.config).unwrap_or_default();
            let held = found.options.unwrap_or_default();
            if ranges.iter().any(|r| r.subnet.as_deref() == Some(cidr)) && has_mode(&held, &options) {
                return Ok(());
            }
            // Containers of the old one would keep it in use; their pods get new sandboxes.
            for id in found.containers.unwrap_or_default().into_keys() {
                let options =
                    bollard::query_parameters::RemoveContainerOptionsBuilder::default().force(true).build();
                let _ = docker.remove_container(&id, Some(options)).await;
            }
            docker.remove_network(&name).await.map_err(engine_error)?;
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let request = NetworkCreateRequest {
        name,
        driver: Some("bridge".into()),
        ipam: Some(Ipam {
            driver: Some("default".into()),
            config: Some(vec![IpamConfig {
                subnet: Some(cidr.to_owned()),
                gateway: gateway(cidr),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        options: Some(options),
        labels: Some(HashMap::from([(label::NODE.to_owned(), node.to_owned())])),
        ..Default::default()
    };
    match docker.create_network(request).await.map_err(engine_error) {
        Ok(_) => Ok(()),
        Err(Error::Engine { status: 409, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the network; absent is well.
pub async fn remove(docker: &Docker, node: &str) -> Result<()> {
    match docker.remove_network(&name(node)).await.map_err(engine_error) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// How packets from elsewhere get to containers, from Docker 28 on.
const GATEWAY_MODE: &str = "com.docker.network.bridge.gateway_mode_ipv4";

fn has_mode(held: &HashMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted.get(GATEWAY_MODE).is_none_or(|mode| held.get(GATEWAY_MODE) == Some(mode))
}

fn options(node: &str, docker_major: u32) -> HashMap<String, String> {
    let mut options = HashMap::from([
        ("com.docker.network.bridge.name".to_owned(), bridge(node)),
        ("com.docker.network.bridge.enable_ip_masquerade".to_owned(), "false".to_owned()),
        ("com.docker.network.bridge.enable_icc".to_owned(), "true".to_owned()),
    ]);
    if docker_major >= 28 {
        // From 28 on, Docker drops what reaches unpublished ports from another bridge, before any rule of ours.
        // It does so in the `raw` table, for a packet to a container's own address from anywhere but its own bridge, and
        // has no such rule for a network in this mode. What is left, the isolation of bridges, comes after DOCKER-USER.
        options.insert(GATEWAY_MODE.to_owned(), "nat-unprotected".to_owned());
    }
    options
}

fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|m| m.parse().ok()).unwrap_or_default()
}

/// The first address of the range.
fn gateway(cidr: &str) -> Option<String> {
    let base: std::net::Ipv4Addr = cidr.split('/').next()?.parse().ok()?;
    Some(std::net::Ipv4Addr::from(u32::from(base) + 1).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_name_is_stable_and_fits() {
        assert_eq!(bridge("a-rather-long-node-name-1"), bridge("a-rather-long-node-name-1"));
        assert_ne!(bridge("n-1"), bridge("n-2"));
        assert!(bridge("n-1").len() <= 15 && bridge("n-1").starts_with("skiff"));
    }

    #[test]
    fn cross_bridge_traffic_is_let_in_from_docker_28() {
        for (version, want) in
            [("20.10.24+dfsg1", false), ("27.5.1", false), ("28.0.0", true), ("29.3.1", true)]
        {
            let options = options("n", major(version));
            assert_eq!(
                options.get(GATEWAY_MODE).map(String::as_str),
                want.then_some("nat-unprotected"),
                "{version}"
            );
        }
        let [old, new] = [20, 28].map(|major| super::options("n", major));
        assert!(has_mode(&new, &new) && has_mode(&old, &old) && has_mode(&new, &old));
        assert!(!has_mode(&old, &new), "a network from before the engine was renewed is made anew");
    }

    #[test]
    fn the_gateway_is_the_first_address() {
        assert_eq!(gateway("10.244.3.0/24").as_deref(), Some("10.244.3.1"));
        assert_eq!(gateway("nonsense"), None);
    }
}
