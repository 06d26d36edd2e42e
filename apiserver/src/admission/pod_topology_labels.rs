//! PodTopologyLabels: a pod carries the zone and the region of its node.

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};

const COPIED: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub struct PodTopologyLabels;

#[async_trait::async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "pods", "") || review.is(Operation::Create, "", "pods", "binding")
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        let binding = review.call.info.subresource == "binding";
        let node = if binding {
            object["target"]["name"].as_str().filter(|_| object["target"]["kind"] == "Node")
        } else {
            object["spec"]["nodeName"].as_str()
        };
        let Some(name) = node.filter(|name| !name.is_empty()) else { return Ok(()) };
        let Some(node) = review.call.find("", "nodes", "", name) else { return Ok(()) };
        for (key, value) in meta::labels(&node).filter(|(key, _)| COPIED.contains(key)) {
            object["metadata"]["labels"][key] = value.into();
        }
        Ok(())
    }
}
