//! DenyServiceExternalIPs: no Service takes an external address that it has not got already.

use serde_json::Value;
use skiff_api::status::Status;

use super::{Plugin, Review};

pub struct DenyServiceExternalIPs;

#[async_trait::async_trait]
impl Plugin for DenyServiceExternalIPs {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.writes("", "services", "")
    }

    async fn validate(&self, review: &Review<'_>, service: &Value) -> Result<(), Status> {
        let addresses =
            |service: &'_ Value| service["spec"]["externalIPs"].as_array().cloned().unwrap_or_default();
        let had = review.old.map(addresses).unwrap_or_default();
        if addresses(service).iter().all(|address| had.contains(address)) {
            return Ok(());
        }
        Err(review.forbidden(service, "Use of external IPs is denied by admission control"))
    }
}
