//! `KubeletConfiguration`, read by a table of its fields.

use serde_json::Value;
use skiff_runtime::config::Field::{self, Idle, Only, Taken};
use skiff_runtime::config::{Schema, value};

use super::Config;
use crate::field::Allocatable;
use crate::quantity;

/// The file's kind.
pub(super) const SCHEMA: Schema<Config> =
    Schema { api_version: "kubelet.config.k8s.io/v1beta1", kind: "KubeletConfiguration", fields: FIELDS };

/// Every field of the version, in the order of upstream's `types.go`, so that a status report's own interval comes after
/// the one that is its default.
const FIELDS: &[(&str, Field<Config>)] = &[
    ("enableServer", Taken(|value, config| set(&mut config.serve, value::boolean(value)))),
    ("staticPodPath", Idle),
    ("podLogsDir", Idle),
    ("syncFrequency", Idle),
    ("fileCheckFrequency", Idle),
    ("httpCheckFrequency", Idle),
    ("staticPodURL", Idle),
    ("staticPodURLHeader", Idle),
    ("address", Taken(address)),
    ("port", Taken(port)),
    ("readOnlyPort", Idle),
    ("tlsCertFile", Taken(|value, config| set(&mut config.files.tls_cert, value::path(value).map(Some)))),
    (
        "tlsPrivateKeyFile",
        Taken(|value, config| set(&mut config.files.tls_key, value::path(value).map(Some))),
    ),
    ("tlsCipherSuites", Idle),
    ("tlsCurvePreferences", Idle),
    ("tlsMinVersion", Only("\"VersionTLS12\"")),
    ("rotateCertificates", Idle),
    ("serverTLSBootstrap", Idle),
    (
        "authentication.x509.clientCAFile",
        Taken(|value, config| set(&mut config.files.client_ca, value::path(value).map(Some))),
    ),
    // Who may ask the node is told by certificates alone; what would let in more is not done, and said.
    ("authentication.webhook.enabled", Only("false")),
    ("authentication.webhook.cacheTTL", Idle),
    ("authentication.anonymous.enabled", Only("false")),
    ("authorization.mode", Idle),
    ("authorization.webhook.cacheAuthorizedTTL", Idle),
    ("authorization.webhook.cacheUnauthorizedTTL", Idle),
    ("registryPullQPS", Idle),
    ("registryBurst", Idle),
    ("imagePullCredentialsVerificationPolicy", Idle),
    ("preloadedImagesVerificationAllowlist", Idle),
    ("eventRecordQPS", Idle),
    ("eventBurst", Idle),
    ("enableDebuggingHandlers", Only("true")),
    ("enableContentionProfiling", Idle),
    ("healthzPort", Taken(healthz_port)),
    ("healthzBindAddress", Taken(healthz_address)),
    ("oomScoreAdj", Idle),
    ("clusterDomain", Taken(|value, config| set(&mut config.cluster_domain, value::text(value)))),
    ("clusterDNS", Taken(cluster_dns)),
    ("streamingConnectionIdleTimeout", Idle),
    ("nodeStatusUpdateFrequency", Taken(status_frequency)),
    ("nodeStatusReportFrequency", Taken(status_frequency)),
    ("nodeLeaseDurationSeconds", Taken(lease_duration)),
    ("imageMinimumGCAge", Idle),
    ("imageMaximumGCAge", Idle),
    ("imageGCHighThresholdPercent", Idle),
    ("imageGCLowThresholdPercent", Idle),
    ("volumeStatsAggPeriod", Idle),
    ("kubeletCgroups", Idle),
    ("systemCgroups", Idle),
    ("cgroupRoot", Idle),
    ("cgroupsPerQOS", Only("false")),
    // The engine's own is used.
    ("cgroupDriver", Idle),
    ("cpuManagerPolicy", Only("\"none\"")),
    ("singleProcessOOMKill", Idle),
    ("cpuManagerPolicyOptions", Idle),
    ("cpuManagerReconcilePeriod", Idle),
    ("memoryManagerPolicy", Only("\"None\"")),
    ("topologyManagerPolicy", Only("\"none\"")),
    ("topologyManagerScope", Idle),
    ("topologyManagerPolicyOptions", Idle),
    ("qosReserved", Idle),
    ("runtimeRequestTimeout", Idle),
    ("hairpinMode", Idle),
    ("maxPods", Taken(max_pods)),
    ("podCIDR", Taken(|value, config| set(&mut config.pod_cidr, value::text(value).map(Some)))),
    ("podPidsLimit", Only("-1")),
    ("resolvConf", Taken(|value, config| set(&mut config.resolv_conf, value::path(value)))),
    ("runOnce", Idle),
    ("cpuCFSQuota", Only("true")),
    ("cpuCFSQuotaPeriod", Only("\"100ms\"")),
    ("nodeStatusMaxImages", Taken(max_images)),
    ("maxOpenFiles", Idle),
    ("contentType", Only("\"application/json\"")),
    ("kubeAPIQPS", Idle),
    ("kubeAPIBurst", Idle),
    ("serializeImagePulls", Only("false")),
    ("maxParallelImagePulls", Idle),
    ("evictionHard", Idle),
    ("evictionSoft", Idle),
    ("evictionSoftGracePeriod", Idle),
    ("evictionPressureTransitionPeriod", Idle),
    ("evictionMaxPodGracePeriod", Idle),
    ("evictionMinimumReclaim", Idle),
    ("mergeDefaultEvictionSettings", Idle),
    ("podsPerCore", Idle),
    ("enableControllerAttachDetach", Only("true")),
    ("protectKernelDefaults", Idle),
    ("makeIPTablesUtilChains", Only("false")),
    ("iptablesMasqueradeBit", Idle),
    ("iptablesDropBit", Idle),
    ("featureGates", Idle),
    ("failSwapOn", Only("false")),
    ("memorySwap", Idle),
    ("containerLogMaxSize", Taken(log_size)),
    ("containerLogMaxFiles", Taken(log_files)),
    ("containerLogMaxWorkers", Idle),
    ("containerLogMonitorInterval", Idle),
    ("configMapAndSecretChangeDetectionStrategy", Only("\"Watch\"")),
    ("systemReserved", Taken(reserve)),
    ("kubeReserved", Taken(reserve)),
    ("reservedSystemCPUs", Idle),
    ("showHiddenMetricsForVersion", Idle),
    ("systemReservedCgroup", Idle),
    ("kubeReservedCgroup", Idle),
    // What is reserved is kept from the scheduler, and no cgroup holds pods to it.
    ("enforceNodeAllocatable", Only("[\"none\"]")),
    ("allowedUnsafeSysctls", Idle),
    ("volumePluginDir", Idle),
    ("providerID", Taken(|value, config| set(&mut config.provider_id, value::text(value).map(Some)))),
    ("kernelMemcgNotification", Idle),
    ("logging", Idle),
    ("enableSystemLogHandler", Only("false")),
    ("enableSystemLogQuery", Idle),
    ("shutdownGracePeriod", Idle),
    ("shutdownGracePeriodCriticalPods", Idle),
    ("shutdownGracePeriodByPodPriority", Idle),
    ("crashLoopBackOff.maxContainerRestartPeriod", Only("\"5m0s\"")),
    ("reservedMemory", Idle),
    ("enableProfilingHandler", Only("false")),
    ("enableDebugFlagsHandler", Only("false")),
    ("seccompDefault", Idle),
    ("memoryThrottlingFactor", Idle),
    ("memoryReservationPolicy", Idle),
    ("registerWithTaints", Taken(taints)),
    ("registerNode", Only("true")),
    ("tracing", Idle),
    ("localStorageCapacityIsolation", Idle),
    // Skiff speaks to Docker, whose address DOCKER_HOST tells.
    ("containerRuntimeEndpoint", Idle),
    ("imageServiceEndpoint", Idle),
    ("failCgroupV1", Only("false")),
    ("userNamespaces", Idle),
];

/// What a reading of a field answers: whether it has an effect, or what would be allowed.
type Outcome = Result<bool, &'static str>;

fn set<T>(place: &mut T, value: Result<T, &'static str>) -> Outcome {
    *place = value?;
    Ok(true)
}

fn address(value: &Value, config: &mut Config) -> Outcome {
    config.listen.set_ip(value::ip(value)?);
    Ok(true)
}

fn port(value: &Value, config: &mut Config) -> Outcome {
    // Zero says nothing in upstream's files.
    if let port @ 1.. = value::port(value)? {
        config.listen.set_port(port);
    }
    Ok(true)
}

fn healthz_port(value: &Value, config: &mut Config) -> Outcome {
    config.healthz = match value::port(value)? {
        0 => None,
        port => Some(([127, 0, 0, 1], port).into()),
    };
    Ok(true)
}

/// It comes after the port, which may have turned it off.
fn healthz_address(value: &Value, config: &mut Config) -> Outcome {
    let ip = value::ip(value)?;
    if let Some(address) = &mut config.healthz {
        address.set_ip(ip);
    }
    Ok(true)
}

fn cluster_dns(value: &Value, config: &mut Config) -> Outcome {
    let expected = "a list of IP addresses";
    let items = value.as_array().ok_or(expected)?.iter();
    config.cluster_dns = items.map(|item| value::ip(item).map_err(|_| expected)).collect::<Result<_, _>>()?;
    Ok(true)
}

fn status_frequency(value: &Value, config: &mut Config) -> Outcome {
    if let Some(interval) = value::duration(value)? {
        config.status_interval = interval;
    }
    Ok(true)
}

fn number<T: TryFrom<u64>>(value: &Value) -> Result<T, &'static str> {
    let expected = "a whole number that is not negative";
    value.as_u64().ok_or(expected)?.try_into().map_err(|_| expected)
}

fn lease_duration(value: &Value, config: &mut Config) -> Outcome {
    if let seconds @ 1.. = number(value)? {
        config.lease_duration_s = seconds;
    }
    Ok(true)
}

fn max_pods(value: &Value, config: &mut Config) -> Outcome {
    if let pods @ 1.. = number(value)? {
        config.max_pods = pods;
    }
    Ok(true)
}

fn max_images(value: &Value, config: &mut Config) -> Outcome {
    config.max_images = match value.as_i64() {
        Some(-1) => None,
        _ => Some(number(value).map_err(|_| "a whole number, or -1 for no limit")?),
    };
    Ok(true)
}

fn log_size(value: &Value, config: &mut Config) -> Outcome {
    let expected = "a quantity such as 10Mi";
    let bytes = value.as_str().and_then(quantity::milli).ok_or(expected)? / 1000;
    // The engine counts in bytes where no unit is given, and a log must hold at least a line.
    config.container_log.max_size = if bytes > 0 { bytes.to_string() } else { return Err(expected) };
    Ok(true)
}

fn log_files(value: &Value, config: &mut Config) -> Outcome {
    let expected = "a whole number, at least 2";
    config.container_log.max_files = number(value).ok().filter(|files: &u32| *files >= 2).ok_or(expected)?;
    Ok(true)
}

/// Adds to what is kept from pods: system's and Kubernetes' own are kept alike.
fn reserve(value: &Value, config: &mut Config) -> Outcome {
    let expected = "quantities of cpu, memory, ephemeral-storage and pid";
    let mut honoured = true;
    for (name, value) in value.as_object().ok_or(expected)? {
        let milli = value.as_str().and_then(quantity::milli).filter(|milli| *milli >= 0).ok_or(expected)?;
        let Allocatable { cpu_millis, memory_bytes, storage_bytes } = &mut config.reserved;
        match name.as_str() {
            "cpu" => *cpu_millis += milli,
            "memory" => *memory_bytes += milli / 1000,
            "ephemeral-storage" => *storage_bytes += milli / 1000,
            "pid" => honoured = false,
            _ => return Err(expected),
        }
    }
    Ok(honoured)
}

fn taints(value: &Value, config: &mut Config) -> Outcome {
    let expected = "a list of taints with key, value and effect";
    for taint in value.as_array().ok_or(expected)? {
        let field = |name: &str| taint.get(name).and_then(Value::as_str).unwrap_or_default();
        let (key, effect) = (field("key"), field("effect"));
        if key.is_empty() || !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
            return Err(expected);
        }
        config.taints.push(format!("{key}={}:{effect}", field("value")));
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
