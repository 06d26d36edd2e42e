//! What the Node object says: pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
        NodeStatus, NodeSystemInfo, Taint,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
};
use serde_json::Value;

use crate::{config::Config, cri::Image, engine::Engine, field::Allocatable};

/// The version that kubelets of this API have.
const VERSION: &str = "v1.36.0";

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The Node as it registers itself.
pub fn node(config: &Config, port: u16, engine: &Engine, now: Timestamp) -> Node {
    let mut labels: BTreeMap<String, String> = config.labels.clone();
    for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
        labels.insert(format!("{prefix}/os"), "linux".into());
        labels.insert(format!("{prefix}/arch"), arch().into());
    }
    labels.insert("kubernetes.io/hostname".into(), config.node_name.clone());
    let taints: Vec<Taint> = config.taints.iter().filter_map(|t| taint(t)).collect();
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!taints.is_empty()).then_some(taints),
            pod_cidr: config.pod_cidr.clone(),
            pod_cidrs: config.pod_cidr.clone().map(|c| vec![c]),
            provider_id: config.provider_id.clone(),
            ..NodeSpec::default()
        }),
        status: Some(status(config, port, engine, &[], None, now)),
    }
}

fn taint(text: &str) -> Option<Taint> {
    let (left, effect) = text.rsplit_once(':')?;
    let (key, value) = left.split_once('=').map_or((left, None), |(k, v)| (k, Some(v.to_owned())));
    Some(Taint { key: key.to_owned(), value, effect: effect.to_owned(), ..Taint::default() })
}

/// Its status; conditions of others are kept.
pub fn status(
    config: &Config,
    port: u16,
    engine: &Engine,
    images: &[Image],
    live: Option<&Node>,
    now: Timestamp,
) -> NodeStatus {
    let old = live.and_then(|n| n.status.clone()).unwrap_or_default();
    let info = engine.info.clone().unwrap_or_default();
    let known = engine.capacity.cpu_millis > 0;
    let address = |kind: &str, address: String| NodeAddress { type_: kind.into(), address };
    let before = old.node_info.clone();
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", config.node_ip.to_string()),
            address("Hostname", config.node_name.clone()),
        ]),
        // An engine that is away has not lost its memory.
        allocatable: if known { Some(resources(config, &engine.allocatable)) } else { old.allocatable },
        capacity: if known { Some(resources(config, &engine.capacity)) } else { old.capacity },
        conditions: Some(conditions(config, engine, old.conditions.unwrap_or_default(), now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: port.into() }),
        }),
        images: Some(if engine.info.is_some() {
            image_list(images, config.max_images)
        } else {
            old.images.unwrap_or_default()
        }),
        node_info: Some(match before {
            Some(before) if engine.info.is_none() => before,
            _ => NodeSystemInfo {
                architecture: arch().into(),
                boot_id: read("/proc/sys/kernel/random/boot_id"),
                container_runtime_version: info.version,
                kernel_version: info.kernel,
                kubelet_version: VERSION.into(),
                kube_proxy_version: String::new(),
                machine_id: read("/etc/machine-id"),
                operating_system: "linux".into(),
                os_image: info.os_image,
                system_uuid: read("/sys/class/dmi/id/product_uuid"),
                ..NodeSystemInfo::default()
            },
        }),
        ..NodeStatus::default()
    }
}

fn resources(config: &Config, of: &Allocatable) -> BTreeMap<String, Quantity> {
    let cpu = match of.cpu_millis {
        whole if whole % 1000 == 0 => (whole / 1000).to_string(),
        millis => format!("{millis}m"),
    };
    let resources = [
        ("cpu", cpu),
        ("memory", format!("{}Ki", of.memory_bytes / 1024)),
        ("ephemeral-storage", format!("{}Ki", of.storage_bytes / 1024)),
        ("pods", config.max_pods.to_string()),
        ("hugepages-1Gi", "0".into()),
        ("hugepages-2Mi", "0".into()),
    ];
    resources.map(|(name, amount)| (name.to_owned(), Quantity(amount))).into()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|t| t.trim().to_owned()).unwrap_or_default()
}

fn image_list(images: &[Image], most: Option<usize>) -> Vec<ContainerImage> {
    let mut list: Vec<ContainerImage> = images
        .iter()
        .map(|i| ContainerImage {
            names: Some(i.digests.iter().chain(&i.tags).filter(|n| !n.contains("<none>")).cloned().collect()),
            size_bytes: Some(i.size),
        })
        .filter(|i| i.names.as_ref().is_some_and(|n| !n.is_empty()))
        .collect();
    list.sort_by_key(|i| std::cmp::Reverse(i.size_bytes));
    list.truncate(most.unwrap_or(usize::MAX));
    list
}

const PRESSURES: [(&str, &str, &str); 3] = [
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
];

fn conditions(
    config: &Config,
    engine: &Engine,
    old: Vec<NodeCondition>,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let mut made = Vec::new();
    let mut set = |kind: &str, status: &str, reason: &str, message: String| {
        let before = old.iter().find(|c| c.type_ == kind && c.status == status);
        made.push(NodeCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or(Some(Time(now))),
        });
    };
    for (kind, reason, message) in PRESSURES {
        set(kind, "False", reason, message.into());
    }
    let not_ready = "KubeletNotReady";
    if let Some(trouble) = &engine.trouble {
        set("Ready", "False", not_ready, format!("container runtime is down: {trouble}"));
    } else if engine.info.is_none() {
        set("Ready", "False", not_ready, "container runtime status check may not have completed yet".into());
    } else if !engine.network_ready {
        let why = engine
            .network_trouble
            .clone()
            .unwrap_or_else(|| format!("node {} has no pod range yet", config.node_name));
        set("Ready", "False", not_ready, format!("container runtime network not ready: {why}"));
    } else {
        set("Ready", "True", "KubeletReady", "kubelet is posting ready status".into());
    }
    let ours: Vec<String> = made.iter().map(|c| c.type_.clone()).collect();
    made.extend(old.into_iter().filter(|c| !ours.contains(&c.type_)));
    made
}

/// The status without the times of its heartbeat.
pub fn essence(status: &NodeStatus) -> Value {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
        condition.last_transition_time = None;
    }
    serde_json::to_value(status).unwrap_or_default()
}

/// Whether the API shows another condition than we would write: a controller marked the node lost.
pub fn contradicts(live: &Node, ours: &NodeStatus) -> bool {
    let shown = live.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let shown: BTreeMap<&str, &str> = shown.map(|c| (c.type_.as_str(), c.status.as_str())).collect();
    ours.conditions.iter().flatten().any(|c| shown.get(c.type_.as_str()) != Some(&c.status.as_str()))
}
