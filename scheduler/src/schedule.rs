//! Choosing a node: filter, score, and the explanation when none fits.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Pod;

use crate::plugin::{FILTERS, SCORES};
use crate::pod::Needs;
use crate::snapshot::{NodeInfo, Snapshot};

/// Why no node takes a pod: every node is counted once for each of its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FitError {
    /// How many nodes there are.
    pub nodes: usize,
    /// Reason to number of nodes.
    pub reasons: BTreeMap<String, usize>,
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut reasons: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))
    }
}

/// The node that a pod goes to. Of the best ones `seed` picks.
///
/// # Errors
/// No node takes it; the reasons are in upstream's words.
pub fn schedule(pod: &Pod, needs: &Needs, snapshot: &Snapshot, seed: u64) -> Result<String, FitError> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    for info in snapshot.nodes.values() {
        // A plugin that refuses a node spares the rest the trouble, as upstream.
        match FILTERS.iter().find_map(|filter| filter(pod, needs, info).err()) {
            None => fitting.push(info),
            Some(refused) => refused.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1),
        }
    }
    let scored = fitting.iter().map(|info| {
        let score: i64 = SCORES.iter().map(|(score, weight)| score(pod, needs, info) * weight).sum();
        (score, *info)
    });
    let mut best: Vec<(i64, &NodeInfo)> = Vec::new();
    for (score, info) in scored {
        if best.first().is_none_or(|(top, _)| score > *top) {
            best.clear();
        }
        if best.first().is_none_or(|(top, _)| score == *top) {
            best.push((score, info));
        }
    }
    match best.len() {
        0 => Err(FitError { nodes: snapshot.nodes.len(), reasons }),
        count => Ok(best[usize::try_from(seed % count as u64).unwrap_or(0)].1.name().to_owned()),
    }
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
        Snapshot { nodes: nodes.collect() }
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
