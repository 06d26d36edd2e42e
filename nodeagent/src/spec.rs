//! From a pod to what the engine is told to make: pure, apart from the files of a container.

mod mounts;
mod resources;
mod security;

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::api::core::v1::{Container, Pod};

pub use mounts::mounts;
pub use resources::resources;
pub use security::security;

use crate::{
    cri::{ContainerSpec, Image, PortMapping, SandboxSpec, label},
    dns,
    env::expand,
    error::Result,
};

fn meta(of: &Option<String>) -> String {
    of.clone().unwrap_or_default()
}

fn labels(pod: &Pod, kind: &str, container: &str, attempt: u32) -> BTreeMap<String, String> {
    let grace = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    [
        (label::POD_UID, meta(&pod.metadata.uid)),
        (label::POD_NAMESPACE, meta(&pod.metadata.namespace)),
        (label::POD_NAME, meta(&pod.metadata.name)),
        (label::TYPE, kind.to_owned()),
        (label::CONTAINER_NAME, container.to_owned()),
        (label::ATTEMPT, attempt.to_string()),
        (label::GRACE, grace.to_string()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into()
}

/// The name under which the engine knows a container, as Kubernetes has always named them on Docker.
fn engine_name(pod: &Pod, container: &str, attempt: u32) -> String {
    let meta_of = &pod.metadata;
    format!(
        "k8s_{container}_{}_{}_{}_{attempt}",
        meta(&meta_of.name),
        meta(&meta_of.namespace),
        meta(&meta_of.uid)
    )
}

/// The pod's sandbox.
pub fn sandbox(pod: &Pod, attempt: u32, domain: &str) -> SandboxSpec {
    let spec = pod.spec.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let port = |p: &k8s_openapi::api::core::v1::ContainerPort| {
        Some(PortMapping {
            protocol: p.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
            container_port: u16::try_from(p.container_port).ok()?,
            host_port: p.host_port.and_then(|h| u16::try_from(h).ok()).filter(|h| *h > 0)?,
            host_ip: p.host_ip.clone().filter(|ip| !ip.is_empty()),
        })
    };
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let ports = all.flat_map(|c| c.ports.iter().flatten()).filter_map(port);
    let sysctls = spec.security_context.as_ref().and_then(|s| s.sysctls.clone()).unwrap_or_default();
    SandboxSpec {
        name: engine_name(pod, "POD", attempt),
        labels: labels(pod, "podsandbox", "POD", attempt),
        hostname: dns::hostname(pod, domain).0,
        host_network,
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        // With the host's network the ports are the host's already.
        ports: if host_network { Vec::new() } else { ports.collect() },
        sysctls: sysctls.into_iter().map(|s| (s.name, s.value)).collect(),
    }
}

/// What else a container is made from.
pub struct Parts<'a> {
    /// Its image.
    pub image: &'a Image,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its mounts, besides the agent's own files.
    pub volumes: &'a crate::volume::Paths,
    /// The pod's folder.
    pub dir: &'a Path,
    /// The pod's sandbox.
    pub sandbox: &'a str,
    /// Memory of the node, in bytes.
    pub node_memory: i64,
}

/// One container of the pod.
pub fn container(pod: &Pod, wanted: &Container, attempt: u32, parts: Parts<'_>) -> Result<ContainerSpec> {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut labels = labels(pod, "container", &wanted.name, attempt);
    labels.insert(label::SANDBOX.into(), parts.sandbox.to_owned());
    labels.insert(label::IMAGE.into(), wanted.image.clone().unwrap_or_default());
    let (mounts, termination_file) = mounts(pod, wanted, attempt, &parts)?;
    labels.insert(label::TERMINATION_FILE.into(), termination_file);
    let known: BTreeMap<&str, &str> = parts.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expand_all = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|t| expand(t, |name| known.get(name).map(|v| (*v).to_owned()))).collect()
    };
    Ok(ContainerSpec {
        name: engine_name(pod, &wanted.name, attempt),
        labels,
        image: parts.image.id.clone(),
        command: expand_all(&wanted.command),
        args: expand_all(&wanted.args),
        env: parts.env.clone(),
        working_dir: wanted.working_dir.clone().filter(|d| !d.is_empty()),
        mounts,
        sandbox: parts.sandbox.to_owned(),
        host_network: spec.host_network == Some(true),
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        share_pid: spec.share_process_namespace == Some(true),
        tty: wanted.tty == Some(true),
        stdin: wanted.stdin == Some(true),
        stdin_once: wanted.stdin_once == Some(true),
        resources: resources(&spec, wanted, parts.node_memory),
        security: security(&spec, wanted, parts.image)?,
        stop_signal: wanted.lifecycle.as_ref().and_then(|l| l.stop_signal.clone()),
    })
}
