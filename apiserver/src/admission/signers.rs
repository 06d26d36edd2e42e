//! Rights about signers: by the signer's name, or by its domain.

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use crate::app::Call;
use crate::security::{Attributes, Authorization};

/// The group of certificates.
pub const GROUP: &str = "certificates.k8s.io";
/// The plural of CertificateSigningRequests.
pub const REQUESTS: &str = "certificatesigningrequests";

/// The signer that an object names.
pub fn of(object: &Value) -> &str {
    object["spec"]["signerName"].as_str().unwrap_or_default()
}

/// Refuses, in the words of `why`, whoever may not do that for a signer, to an object.
pub async fn demand(
    call: &Call,
    object: &Value,
    (verb, signer): (&str, &str),
    why: impl Fn(&str) -> String,
) -> Result<(), Status> {
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    for name in [signer, &domain] {
        let asked = Attributes {
            user: &call.context.user,
            verb,
            group: GROUP,
            version: "*",
            resource: "signers",
            name,
            resource_request: true,
            ..Attributes::default()
        };
        if call.app.authorization.decide(&asked).await.is_allowed() {
            return Ok(());
        }
    }
    Err(Status::forbidden(GROUP, &call.kind.plural, meta::name(object), &why(signer)))
}
