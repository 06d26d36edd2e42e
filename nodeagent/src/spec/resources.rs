//! Requests and limits in the kernel's units: pure.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::{
    cri::Resources,
    quantity,
    status::{Qos, qos},
};

const PERIOD_US: i64 = 100_000;
/// The kernel's least.
const MIN_QUOTA_US: i64 = 1000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// As upstream's `kuberuntime` and `qos/policy.go`.
pub fn resources(spec: &PodSpec, container: &Container, node_memory: i64) -> Resources {
    let given = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (given.limits.unwrap_or_default(), given.requests.unwrap_or_default());
    let cpu_limit = limits.get("cpu").and_then(|q| quantity::milli(&q.0)).unwrap_or_default();
    // A limit without a request is a request too.
    let cpu_request = requests.get("cpu").and_then(|q| quantity::milli(&q.0)).unwrap_or(cpu_limit);
    let memory_limit = limits.get("memory").and_then(|q| quantity::units(&q.0)).unwrap_or_default();
    let memory_request = requests.get("memory").and_then(|q| quantity::units(&q.0)).unwrap_or(memory_limit);
    Resources {
        cpu_shares: (cpu_request * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES),
        cpu_quota_us: if cpu_limit > 0 { (cpu_limit * PERIOD_US / 1000).max(MIN_QUOTA_US) } else { 0 },
        memory_bytes: memory_limit,
        oom_score_adj: match qos(spec) {
            Qos::Guaranteed => -997,
            Qos::BestEffort => 1000,
            Qos::Burstable => {
                // Multiplied wide: the product of bytes and a thousand needs more than 53 bits, not more than 127.
                let share = i128::from(memory_request) * 1000 / i128::from(node_memory.max(1));
                (1000 - i64::try_from(share).unwrap_or(1000)).clamp(3, 999)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_limits_become_weights_and_quotas() {
        let made = |resources: serde_json::Value| {
            let spec: PodSpec = serde_json::from_value(
                serde_json::json!({"containers": [{"name": "c", "resources": resources}]}),
            )
            .unwrap();
            super::resources(&spec, &spec.containers[0], 1 << 30)
        };
        let none = made(serde_json::json!({}));
        assert_eq!(none, Resources { cpu_shares: 2, oom_score_adj: 1000, ..Resources::default() });
        let both = serde_json::json!({"cpu": "500m", "memory": "64Mi"});
        let guaranteed = made(serde_json::json!({"limits": both, "requests": both}));
        assert_eq!(
            guaranteed,
            Resources { cpu_shares: 512, cpu_quota_us: 50_000, memory_bytes: 64 << 20, oom_score_adj: -997 }
        );
        assert_eq!(made(serde_json::json!({"requests": {"memory": "512Mi"}})).oom_score_adj, 500);
    }
}
