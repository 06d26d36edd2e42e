//! Every node has a range of pod addresses of its own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use skiff_runtime::event::{Type, reference};
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::Context;
use crate::error::Error;

/// An IPv4 range: its first address as a number, and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    prefix: u8,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        (prefix <= 32).then(|| Self { first: u32::from(address) & mask, prefix })
    }

    fn size(self) -> u64 {
        1 << (32 - self.prefix)
    }

    fn overlaps(self, other: Self) -> bool {
        let end = |range: Self| u64::from(range.first) + range.size();
        u64::from(self.first) < end(other) && u64::from(other.first) < end(self)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix)
    }
}

/// The first range of `mask` bits in `cluster` that none of `taken` overlaps.
fn decide(cluster: Range, mask: u8, taken: &[Range]) -> Option<Range> {
    if mask < cluster.prefix || mask > 32 {
        return None;
    }
    let used: BTreeSet<u32> = taken.iter().map(|range| range.first).collect();
    let odd: Vec<_> = taken.iter().filter(|range| range.prefix != mask).collect();
    let count = 1_u64 << (mask - cluster.prefix);
    let size = 1_u64 << (32 - mask);
    (0..count)
        .map(|index| Range {
            first: cluster.first + u32::try_from(index * size).unwrap_or(u32::MAX),
            prefix: mask,
        })
        .find(|range| !used.contains(&range.first) && !odd.iter().any(|other| other.overlaps(*range)))
}

fn range_of(node: &Node) -> Option<Range> {
    node.spec.as_ref()?.pod_cidr.as_deref().and_then(Range::parse)
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    if !context.config.allocate_node_cidrs {
        return;
    }
    let Some(cluster) = Range::parse(&context.config.cluster_cidr) else {
        tracing::error!(
            cluster_cidr = context.config.cluster_cidr,
            "not an IPv4 range: nodes get no pod addresses"
        );
        return;
    };
    let queue = Queue::new("ipam");
    {
        let queue = queue.clone();
        context.nodes.follow(context.shutdown.clone(), move |change| {
            if let Some(node) = change.new.as_ref().filter(|node| range_of(node).is_none()) {
                queue.add(node.metadata.name.clone().unwrap_or_default());
            }
        });
    }
    tokio::select! { () = context.nodes.synced() => {}, () = context.shutdown.cancelled() => return }
    let recorder = context.recorder("cidrAllocator");
    let reconcile = |name: String| {
        let (context, recorder) = (&context, &recorder);
        async move {
            let Some(node) = context.nodes.get("", &name).filter(|node| range_of(node).is_none()) else {
                return Ok(Action::Done);
            };
            let taken: Vec<_> = context.nodes.list().iter().filter_map(|node| range_of(node)).collect();
            let Some(range) = decide(cluster, context.config.node_cidr_mask_size, &taken) else {
                let text = format!("Node {name} status is now: CIDRNotAvailable");
                recorder.event(&reference(node.as_ref()), Type::Normal, "CIDRNotAvailable", text);
                return Err(Error::Unfinished(format!("no range is left in {cluster} for node {name}")));
            };
            let api: Api<Node> = Api::all(context.client.clone());
            let patch = json!({
                "metadata": {"uid": node.metadata.uid},
                "spec": {"podCIDR": range.to_string(), "podCIDRs": [range.to_string()]},
            });
            let written = api.patch(&name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
            // The next node is given a range only when this one's is seen to be taken.
            context.nodes.caught_up(&written).await;
            Ok(Action::Done)
        }
    };
    // One worker: two nodes must never be given one range.
    queue::run(queue.clone(), 1, reconcile, context.shutdown.clone()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_in_order_and_never_twice() {
        let table: [(&str, u8, &[&str], Option<&str>); 6] = [
            ("10.244.0.0/16", 24, &[], Some("10.244.0.0/24")),
            ("10.244.0.0/16", 24, &["10.244.0.0/24", "10.244.2.0/24"], Some("10.244.1.0/24")),
            ("10.244.0.0/16", 24, &["10.244.0.0/23"], Some("10.244.2.0/24")),
            ("10.244.0.0/24", 25, &["10.244.0.0/25", "10.244.0.128/25"], None),
            ("10.244.0.0/24", 16, &[], None),
            ("0.0.0.0/0", 8, &["0.0.0.0/8"], Some("1.0.0.0/8")),
        ];
        for (cluster, mask, taken, expected) in table {
            let taken: Vec<_> = taken.iter().map(|text| Range::parse(text).unwrap()).collect();
            let given = decide(Range::parse(cluster).unwrap(), mask, &taken);
            assert_eq!(
                given.map(|range| range.to_string()).as_deref(),
                expected,
                "{cluster} {mask} {taken:?}"
            );
        }
    }
}
