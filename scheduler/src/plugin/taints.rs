//! TaintToleration: what a node repels, and what a pod bears.

use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use crate::pod::Needs;
use crate::snapshot::NodeInfo;

fn taints(info: &NodeInfo) -> impl Iterator<Item = &Taint> {
    info.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

/// Whether a pod bears a taint.
pub fn tolerated(pod: &Pod, taint: &Taint) -> bool {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    tolerations.into_iter().any(|toleration| bears(toleration, taint))
}

fn bears(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        _ => !key.is_empty() && text(&toleration.value) == text(&taint.value),
    }
}

/// Refuses a node with a taint that the pod does not bear.
pub fn filter(pod: &Pod, _: &Needs, info: &NodeInfo) -> Result<(), Vec<String>> {
    let repels = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    match taints(info).filter(repels).find(|taint| !tolerated(pod, taint)) {
        None => Ok(()),
        Some(taint) => {
            let value = taint.value.as_deref().unwrap_or_default();
            Err(vec![format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)])
        }
    }
}

/// Prefers nodes with fewer taints that would rather not have the pod.
pub fn score(pod: &Pod, _: &Needs, info: &NodeInfo) -> i64 {
    let unwanted =
        taints(info).filter(|taint| taint.effect == "PreferNoSchedule" && !tolerated(pod, taint)).count();
    100 / (1 + i64::try_from(unwanted).unwrap_or(99))
}
