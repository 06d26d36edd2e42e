//! CertificateSubjectRestriction: no client certificate makes anyone a member of `system:masters`, who may do everything
//! and whom no one can take that from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use skiff_api::certificate::{CertificateRequest, KUBE_APISERVER_CLIENT};
use skiff_api::status::Status;

use super::{Operation, Plugin, Review, signers};
use crate::security::MASTERS;

pub struct CertificateSubjectRestriction;

#[async_trait::async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, signers::GROUP, signers::REQUESTS, "")
    }

    async fn validate(&self, review: &Review<'_>, request: &Value) -> Result<(), Status> {
        if signers::of(request) != KUBE_APISERVER_CLIENT {
            return Ok(());
        }
        let text =
            STANDARD.decode(request["spec"]["request"].as_str().unwrap_or_default()).unwrap_or_default();
        let why = match CertificateRequest::from_pem(&text) {
            Ok(asked) if !asked.organizations.iter().any(|group| group == MASTERS) => return Ok(()),
            Ok(_) => {
                format!("use of {KUBE_APISERVER_CLIENT} signer with system:masters group is not allowed")
            }
            Err(why) => format!("failed to parse CSR: {why}"),
        };
        let name = skiff_api::meta::name(request);
        Err(Status::forbidden(signers::GROUP, &review.call.kind.plural, name, &why))
    }
}
