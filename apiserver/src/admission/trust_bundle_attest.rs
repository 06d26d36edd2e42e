//! ClusterTrustBundleAttest: whoever says what a signer's roots are must be allowed to speak for that signer.

use serde_json::Value;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review, signers};
use crate::security::rbac::escalation::only_collection_fields_differ;

pub struct ClusterTrustBundleAttest;

#[async_trait::async_trait]
impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        matches!(review.operation, Operation::Create | Operation::Update)
            && review.of(signers::GROUP, "clustertrustbundles", "")
    }

    async fn validate(&self, review: &Review<'_>, bundle: &Value) -> Result<(), Status> {
        let signer = signers::of(bundle);
        if signer.is_empty() || review.old.is_some_and(|old| only_collection_fields_differ(old, bundle)) {
            return Ok(());
        }
        signers::demand(review.call, bundle, ("attest", signer), |signer| {
            format!("user not permitted to attest for signerName {signer:?}")
        })
        .await
    }
}
