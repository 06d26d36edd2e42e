//! CertificateApproval: whoever approves a certificate must be allowed to for its signer.

use serde_json::Value;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review, signers};

pub struct CertificateApproval;

#[async_trait::async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Update, signers::GROUP, signers::REQUESTS, "approval")
    }

    async fn validate(&self, review: &Review<'_>, request: &Value) -> Result<(), Status> {
        // What was stored names the signer: a write cannot choose whose rights it needs.
        let signer = signers::of(review.old.unwrap_or(request));
        signers::demand(review.call, request, ("approve", signer), |signer| {
            format!("user not permitted to approve requests with signerName {signer:?}")
        })
        .await
    }
}
