//! LimitPodHardAntiAffinityTopology: no pod may keep others out of more than a node.

use serde_json::Value;
use skiff_api::status::Status;

use super::{Plugin, Review};

const NODE: &str = "kubernetes.io/hostname";

pub struct LimitPodHardAntiAffinityTopology;

#[async_trait::async_trait]
impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.writes("", "pods", "")
    }

    async fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), Status> {
        let anti = &pod["spec"]["affinity"]["podAntiAffinity"];
        let terms = anti["requiredDuringSchedulingIgnoredDuringExecution"].as_array();
        let mut keys =
            terms.into_iter().flatten().map(|term| term["topologyKey"].as_str().unwrap_or_default());
        match keys.find(|key| *key != NODE) {
            None => Ok(()),
            Some(key) => {
                let why = format!(
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {NODE} is allowed"
                );
                Err(review.forbidden(pod, &why))
            }
        }
    }
}
