//! NodePorts: a port of the host has one holder.

use k8s_openapi::api::core::v1::Pod;

use crate::pod::{HostPort, Needs};
use crate::snapshot::NodeInfo;

/// Refuses a node where a wanted port is held.
pub fn filter(_: &Pod, needs: &Needs, info: &NodeInfo) -> Result<(), Vec<String>> {
    let clash = |wanted: &HostPort| info.ports().any(|held| overlap(wanted, held));
    if needs.ports.iter().any(clash) {
        return Err(vec!["node(s) didn't have free ports for the requested pod ports".into()]);
    }
    Ok(())
}

fn overlap(a: &HostPort, b: &HostPort) -> bool {
    let everywhere = "0.0.0.0";
    a.port == b.port && a.protocol == b.protocol && (a.ip == b.ip || a.ip == everywhere || b.ip == everywhere)
}
