//! TaintNodesByCondition: a new node takes no pods before it has said that it is ready.

use serde_json::{Value, json};
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};

pub struct TaintNodesByCondition;

#[async_trait::async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "nodes", "")
    }

    async fn mutate(&self, _review: &Review<'_>, node: &mut Value) -> Result<(), Status> {
        let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let key = "node.kubernetes.io/not-ready";
        if !taints.iter().any(|taint| taint["key"] == key && taint["effect"] == "NoSchedule") {
            taints.push(json!({"key": key, "effect": "NoSchedule"}));
        }
        node["spec"]["taints"] = taints.into();
        Ok(())
    }
}
