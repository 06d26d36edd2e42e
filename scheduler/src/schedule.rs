//! Choosing a node: filter, score, and the explanation when none fits.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Pod;

use crate::plugin::Prepared;
use crate::pod::Needs;
use crate::snapshot::{NodeInfo, Snapshot};

/// Why no node takes a pod: every node is counted once for each of its reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FitError {
    /// How many nodes there are.
    pub nodes: usize,
    /// Reason to number of nodes.
    pub reasons: BTreeMap<String, usize>,
    /// Nodes that could take it if other pods left.
    pub curable: Vec<String>,
    /// What became of driving pods out, when it was tried.
    pub preemption: Option<String>,
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut reasons: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))?;
        self.preemption.as_ref().map_or(Ok(()), |text| write!(f, " preemption: {text}"))
    }
}

/// Upstream looks at this many nodes that fit at least, and at this share of a large cluster at least.
const LEAST_NODES: usize = 100;
const LEAST_PERCENT: usize = 5;

/// How many nodes that fit are enough to choose from.
fn enough(nodes: usize) -> usize {
    let percent = 50usize.saturating_sub(nodes / 125).max(LEAST_PERCENT);
    (nodes * percent / 100).max(LEAST_NODES).min(nodes)
}

/// The node that a pod goes to. `seed` says where to begin, and picks among the best.
///
/// # Errors
/// No node takes it; the reasons are in upstream's words.
pub fn schedule(pod: &Pod, needs: &Needs, snapshot: &Snapshot, seed: u64) -> Result<String, FitError> {
    let count = snapshot.nodes.len();
    let prepared = Prepared::new(pod, needs, snapshot);
    let mut error = FitError { nodes: count, ..FitError::default() };
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    let wanted = enough(count);
    let start = usize::try_from(seed % count.max(1) as u64).unwrap_or(0);
    let around = snapshot.nodes.values().skip(start).chain(snapshot.nodes.values().take(start));
    for info in around {
        match prepared.filter(pod, needs, info) {
            Ok(()) => fitting.push(info),
            Err(refusal) => {
                refusal.reasons.into_iter().for_each(|reason| *error.reasons.entry(reason).or_default() += 1);
                if refusal.curable {
                    error.curable.push(info.name().to_owned());
                }
            }
        }
        if fitting.len() >= wanted {
            break;
        }
    }
    let scores = prepared.scores(pod, needs, &fitting);
    let Some(top) = scores.iter().max() else { return Err(error) };
    let best: Vec<&NodeInfo> =
        fitting.iter().zip(&scores).filter(|(_, score)| *score == top).map(|(info, _)| *info).collect();
    Ok(best[usize::try_from(seed % best.len() as u64).unwrap_or(0)].name().to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Node;
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(nodes: Value) -> Snapshot {
        let nodes: Vec<Node> = serde_json::from_value(nodes).unwrap();
        let nodes = nodes.into_iter().map(|node| {
            let info = NodeInfo::new(Arc::new(node));
            (info.name().to_owned(), Arc::new(info))
        });
        Snapshot { nodes: nodes.collect(), ..Snapshot::default() }
    }

    fn check(nodes: Value, spec: Value, expected: Result<&str, &str>) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
        let answer = schedule(&pod, &Needs::of(&pod), &snapshot(nodes), 0).map_err(|error| error.to_string());
        assert_eq!(answer.as_deref().map_err(String::as_str), expected);
    }

    fn node(name: &str, cpu: &str, more: Value) -> Value {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"zone": name}},
            "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "2"}},
        });
        if !more.is_null() {
            node["spec"] = more;
        }
        node
    }

    fn asks(cpu: &str) -> Value {
        json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}])
    }

    #[test]
    fn a_pod_goes_to_the_node_with_most_room() {
        let nodes = json!([node("a", "1", Value::Null), node("b", "4", Value::Null)]);
        check(nodes, json!({"containers": asks("500m")}), Ok("b"));
    }

    #[test]
    fn every_node_is_explained() {
        let taint = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
        let nodes = json!([
            node("a", "1", Value::Null),
            node("b", "4", taint),
            node("c", "4", json!({"unschedulable": true})),
        ]);
        check(
            nodes,
            json!({"containers": asks("2")}),
            Err(
                "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable.",
            ),
        );
        check(json!([]), json!({"containers": asks("2")}), Err("no nodes available to schedule pods"));
    }

    #[test]
    fn selectors_affinity_and_tolerations_are_obeyed() {
        let taint = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
        let nodes = || json!([node("a", "1", Value::Null), node("b", "4", taint.clone())]);
        check(nodes(), json!({"containers": asks("1m"), "nodeSelector": {"zone": "a"}}), Ok("a"));
        check(
            nodes(),
            json!({"containers": asks("2"), "tolerations": [{"key": "k", "operator": "Exists"}]}),
            Ok("b"),
        );
        let term = json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a", "b"]}]});
        let affinity = json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
        }});
        check(
            nodes(),
            json!({"containers": asks("1m"), "affinity": affinity, "tolerations": [{"operator": "Exists"}]}),
            Err("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
        );
    }
}
