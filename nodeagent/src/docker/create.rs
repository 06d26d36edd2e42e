//! From our specs to Docker's request bodies.

use std::collections::HashMap;

use bollard::{
    Docker,
    models::{
        ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountBindOptions,
        MountBindOptionsPropagationEnum, MountType, NetworkingConfig, PortBinding,
    },
    query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder},
};

use super::{engine_error, network, pause};
use crate::{
    config::LogLimits,
    cri::{ContainerSpec, SandboxSpec, label},
    error::{Error, Result},
};

/// Upstream's value for a sandbox: the last to be killed for lack of memory.
const SANDBOX_OOM_SCORE_ADJ: i64 = -998;

/// Makes a container. One of the same name is a remnant of a try that was cut short, and gives way.
pub async fn create(docker: &Docker, name: &str, body: ContainerCreateBody) -> Result<String> {
    let options = || Some(CreateContainerOptionsBuilder::default().name(name).build());
    let made = docker.create_container(options(), body.clone()).await.map_err(engine_error);
    let made = match made {
        Err(Error::Engine { status: 409, .. }) => {
            let force = RemoveContainerOptionsBuilder::default().force(true).build();
            docker.remove_container(name, Some(force)).await.map_err(engine_error)?;
            docker.create_container(options(), body).await.map_err(engine_error)
        }
        other => other,
    };
    Ok(made?.id)
}

fn labels(of: &std::collections::BTreeMap<String, String>, node: &str) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = of.clone().into_iter().collect();
    labels.insert(label::NODE.to_owned(), node.to_owned());
    labels
}

fn log_config(limits: &LogLimits) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), limits.max_size.clone()),
            ("max-file".to_owned(), limits.max_files.to_string()),
        ])),
    }
}

/// The score, raised to what this machine lets the engine set. In a container or sandboxed machine without
/// CAP_SYS_RESOURCE nothing may be favoured, and the engine would fail to start what asks for it.
fn oom_score_adj(wanted: i64) -> i64 {
    const CAP_SYS_RESOURCE: u32 = 24;
    static MAY_FAVOUR: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let held = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
        held.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
            .is_none_or(|bits| bits & (1 << CAP_SYS_RESOURCE) != 0)
    });
    if *MAY_FAVOUR { wanted } else { wanted.max(0) }
}

/// The body of a sandbox.
pub fn sandbox(spec: &SandboxSpec, node: &str, logs: &LogLimits) -> ContainerCreateBody {
    let mode = if spec.host_network { "host".to_owned() } else { network::name(node) };
    let mut bindings = HashMap::new();
    for port in &spec.ports {
        let to = bindings
            .entry(format!("{}/{}", port.container_port, port.protocol))
            .or_insert_with(|| Some(Vec::new()));
        if let Some(list) = to {
            list.push(PortBinding {
                host_ip: port.host_ip.clone(),
                host_port: Some(port.host_port.to_string()),
            });
        }
    }
    ContainerCreateBody {
        image: Some(pause::image()),
        hostname: (!spec.host_network).then(|| spec.hostname.clone()),
        labels: Some(labels(&spec.labels, node)),
        exposed_ports: (!bindings.is_empty()).then(|| bindings.keys().cloned().collect()),
        networking_config: (!spec.host_network).then(|| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(mode.clone(), EndpointSettings::default())])),
        }),
        host_config: Some(HostConfig {
            network_mode: Some(mode),
            ipc_mode: Some(if spec.host_ipc { "host" } else { "shareable" }.into()),
            pid_mode: spec.host_pid.then(|| "host".into()),
            port_bindings: (!bindings.is_empty()).then_some(bindings),
            sysctls: (!spec.sysctls.is_empty()).then(|| spec.sysctls.clone().into_iter().collect()),
            oom_score_adj: Some(oom_score_adj(SANDBOX_OOM_SCORE_ADJ)),
            cpu_shares: Some(2),
            security_opt: Some(vec!["no-new-privileges".into()]),
            log_config: Some(log_config(logs)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The body of a container.
pub fn container(spec: &ContainerSpec, node: &str, logs: &LogLimits) -> ContainerCreateBody {
    let joined = format!("container:{}", spec.sandbox);
    let security = &spec.security;
    let mut options = Vec::new();
    if security.no_new_privs {
        options.push("no-new-privileges".to_owned());
    }
    if let Some(profile) = &security.seccomp {
        options.push(format!("seccomp={profile}"));
    }
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: some(&spec.command),
        cmd: some(&spec.args),
        env: Some(spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        working_dir: spec.working_dir.clone(),
        user: Some(security.user.clone()),
        labels: Some(labels(&spec.labels, node)),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin),
        stdin_once: Some(spec.stdin_once),
        stop_signal: spec.stop_signal.clone(),
        // Probes are the pod's; the image's own check would only cost.
        healthcheck: Some(bollard::models::HealthConfig {
            test: Some(vec!["NONE".into()]),
            ..Default::default()
        }),
        host_config: Some(HostConfig {
            network_mode: Some(if spec.host_network { "host".into() } else { joined.clone() }),
            ipc_mode: Some(if spec.host_ipc { "host".into() } else { joined.clone() }),
            pid_mode: match (spec.host_pid, spec.share_pid) {
                (true, _) => Some("host".into()),
                (false, true) => Some(joined),
                _ => None,
            },
            mounts: Some(spec.mounts.iter().map(mount).collect()),
            cpu_shares: Some(spec.resources.cpu_shares),
            cpu_period: (spec.resources.cpu_quota_us > 0).then_some(100_000),
            cpu_quota: (spec.resources.cpu_quota_us > 0).then_some(spec.resources.cpu_quota_us),
            memory: (spec.resources.memory_bytes > 0).then_some(spec.resources.memory_bytes),
            // Equal to the memory limit: no swap, as in Kubernetes.
            memory_swap: (spec.resources.memory_bytes > 0).then_some(spec.resources.memory_bytes),
            oom_score_adj: Some(oom_score_adj(spec.resources.oom_score_adj)),
            privileged: Some(security.privileged),
            cap_add: some(&security.cap_add),
            cap_drop: some(&security.cap_drop),
            readonly_rootfs: Some(security.read_only_root),
            group_add: (!security.groups.is_empty())
                .then(|| security.groups.iter().map(i64::to_string).collect()),
            security_opt: some(&options),
            masked_paths: security.unmasked_proc.then(Vec::new),
            readonly_paths: security.unmasked_proc.then(Vec::new),
            log_config: Some(log_config(logs)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn mount(spec: &crate::cri::MountSpec) -> Mount {
    let propagation = match spec.propagation {
        "rshared" => MountBindOptionsPropagationEnum::RSHARED,
        "rslave" => MountBindOptionsPropagationEnum::RSLAVE,
        _ => MountBindOptionsPropagationEnum::RPRIVATE,
    };
    Mount {
        target: Some(spec.container.clone()),
        source: Some(spec.host.clone()),
        typ: Some(MountType::BIND),
        read_only: Some(spec.read_only),
        bind_options: Some(MountBindOptions { propagation: Some(propagation), ..Default::default() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::Resources;

    /// The engine makes the kernel's numbers of them, for control groups of version 1 and 2 alike: weights of shares, a
    /// limit for swap of the difference between both sums.
    #[test]
    fn limits_are_given_in_the_engines_terms() {
        let resources =
            Resources { cpu_shares: 512, cpu_quota_us: 50_000, memory_bytes: 64 << 20, oom_score_adj: 3 };
        let body =
            container(&ContainerSpec { resources, ..ContainerSpec::default() }, "n", &LogLimits::default());
        let host = body.host_config.unwrap();
        assert_eq!(
            (host.cpu_shares, host.cpu_period, host.cpu_quota),
            (Some(512), Some(100_000), Some(50_000))
        );
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert!(host.restart_policy.is_none(), "what runs again is not the engine's to decide");

        let free = container(&ContainerSpec::default(), "n", &LogLimits::default()).host_config.unwrap();
        assert_eq!((free.cpu_quota, free.memory, free.memory_swap), (None, None, None));
    }
}
