//! DefaultTolerationSeconds: a pod outlives its node's failure for a while unless it says otherwise.

use serde_json::{Value, json};
use skiff_api::status::Status;

use super::{Plugin, Review};

pub struct DefaultTolerationSeconds;

#[async_trait::async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.writes("", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let default = review.call.app.config.tolerations;
        let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        for (key, seconds) in [
            ("node.kubernetes.io/not-ready", default.not_ready_s),
            ("node.kubernetes.io/unreachable", default.unreachable_s),
        ] {
            let tolerated = tolerations.iter().any(|toleration| {
                let effect = toleration["effect"].as_str().unwrap_or_default();
                let its = toleration["key"].as_str().unwrap_or_default();
                (its == key || its.is_empty()) && (effect == "NoExecute" || effect.is_empty())
            });
            if !tolerated {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds,
                }));
            }
        }
        pod["spec"]["tolerations"] = tolerations.into();
        Ok(())
    }
}
