//! CertificateApproval: whoever approves a certificate must be allowed to for its signer, by the signer's
//! name or its domain.

use serde_json::Value;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};
use crate::security::{Attributes, Authorizer};

const CERTIFICATES: &str = "certificates.k8s.io";

pub struct CertificateApproval;

#[async_trait::async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Update, CERTIFICATES, "certificatesigningrequests", "approval")
    }

    async fn validate(&self, review: &Review<'_>, request: &Value) -> Result<(), Status> {
        let call = review.call;
        let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
        let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
        let allowed = [signer, &domain].into_iter().any(|name| {
            let asked = Attributes {
                user: &call.context.user,
                verb: "approve",
                group: CERTIFICATES,
                version: "*",
                resource: "signers",
                name,
                resource_request: true,
                ..Attributes::default()
            };
            call.app.authorizer.authorize(&asked).is_allowed()
        });
        if allowed {
            return Ok(());
        }
        let why = format!("user not permitted to approve requests with signerName {signer:?}");
        Err(Status::forbidden(CERTIFICATES, &call.kind.plural, call.name(), &why))
    }
}
