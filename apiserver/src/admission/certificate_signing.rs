//! CertificateSigning: whoever gives a certificate, or says that there will be none, must be allowed to for its signer.

use serde_json::Value;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review, signers};

pub struct CertificateSigning;

#[async_trait::async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Update, signers::GROUP, signers::REQUESTS, "status")
    }

    async fn validate(&self, review: &Review<'_>, request: &Value) -> Result<(), Status> {
        let old = review.old.unwrap_or(&Value::Null);
        let same = |field: &str| request["status"][field] == old["status"][field];
        if same("certificate") && same("conditions") {
            return Ok(());
        }
        signers::demand(review.call, request, ("sign", signers::of(old)), |signer| {
            format!("user not permitted to sign requests with signerName {signer:?}")
        })
        .await
    }
}
