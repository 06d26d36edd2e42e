//! Signs approved requests for the four signers of Kubernetes' own.
//!
//! Behaviour: upstream's `signer/signer.go`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use skiff_api::certificate::{
    CertificateRequest, KUBE_APISERVER_CLIENT, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING,
    LEGACY_UNKNOWN, check_request,
};
use skiff_runtime::queue::Action;

use super::{Signer, condition, has, usages, write};
use crate::context::Context;
use crate::error::Error;

/// The shortest life that is given.
const SHORTEST: Duration = Duration::from_secs(600);

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// It is not approved, has failed, or is another signer's.
    Leave,
    /// The signer does not sign such.
    Fail(String),
    /// For so long.
    Sign(Box<CertificateRequest>, Duration),
}

/// `longest` is the signer's own limit (`--cluster-signing-duration`).
fn decide(request: &CertificateSigningRequest, longest: Duration) -> Plan {
    if !has(request, "Approved") || has(request, "Denied") || has(request, "Failed") {
        return Plan::Leave;
    }
    let signers = [KUBE_APISERVER_CLIENT, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN];
    let signer = request.spec.signer_name.as_str();
    if !signers.contains(&signer) {
        return Plan::Leave;
    }
    let pem = &request.spec.request.0;
    let asked = match CertificateRequest::from_pem(pem).and_then(|asked| check_request(pem).map(|()| asked)) {
        Ok(asked) => asked,
        Err(why) => return Plan::Fail(why),
    };
    let usages = usages(request);
    let checked = match signer {
        KUBELET_SERVING => asked.check_kubelet_serving(&usages),
        KUBE_APISERVER_CLIENT_KUBELET => asked.check_kubelet_client(&usages),
        KUBE_APISERVER_CLIENT => check_client(&usages),
        // It signs anything, for what was asked for long ago.
        _ => Ok(()),
    };
    match checked {
        Err(why) => Plan::Fail(why),
        Ok(()) => Plan::Sign(Box::new(asked), life(request.spec.expiration_seconds, longest)),
    }
}

fn check_client(usages: &[&str]) -> Result<(), String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages.iter().find(|usage| !allowed.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if usages.contains(&"client auth") {
        return Ok(());
    }
    Err("missing required usage for client certificate: client auth".into())
}

fn life(asked_s: Option<i32>, longest: Duration) -> Duration {
    let Some(asked_s) = asked_s else { return longest };
    let asked = Duration::from_secs(u64::try_from(asked_s).unwrap_or(0));
    if asked > longest { longest } else { asked.max(SHORTEST) }
}

/// Runs the controller, if it is given a CA.
pub(crate) async fn run(context: Arc<Context>) {
    let Some(signer) = context.config.signer.clone() else {
        tracing::info!("no CA is configured to sign with, so certificate requests are not signed");
        return;
    };
    super::follow(&context, "csrsigning", |request| sign(&context, &signer, request)).await;
}

async fn sign(
    context: &Context,
    signer: &Signer,
    request: Arc<CertificateSigningRequest>,
) -> Result<Action, Error> {
    let mut changed = (*request).clone();
    let status = changed.status.get_or_insert_default();
    match decide(&request, signer.longest) {
        Plan::Leave => return Ok(Action::Done),
        Plan::Fail(why) => {
            let failed = condition("Failed", "SignerValidationFailure", &why);
            status.conditions.get_or_insert_default().push(failed);
        }
        Plan::Sign(asked, life) => {
            let now_s = Timestamp::now().as_second();
            let signed = signer.sign(&asked, &usages(&request), life, now_s);
            let pem = signed.map_err(|why| Error::Unfinished(format!("error auto signing csr: {why}")))?;
            status.certificate = Some(ByteString(pem.into_bytes()));
        }
    }
    write(context, "status", &changed).await?;
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{request, with};
    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    #[test]
    fn what_is_approved_is_signed_or_fails_in_upstreams_words() {
        let client = ["digital signature", "client auth"];
        let approved = |signer: &str, name: &str, groups: &[&str], usages: &[&str]| {
            with(request(signer, name, groups, usages), &["Approved"])
        };
        let node = "system:node:a";
        let table = [
            ("waiting", request(KUBE_APISERVER_CLIENT, "jane", &[], &client), "left"),
            ("denied", with(request(KUBE_APISERVER_CLIENT, "jane", &[], &client), &["Denied"]), "left"),
            (
                "failed",
                with(request(KUBE_APISERVER_CLIENT, "jane", &[], &client), &["Approved", "Failed"]),
                "left",
            ),
            ("of another signer", approved("example.com/own", "jane", &[], &client), "left"),
            ("a client", approved(KUBE_APISERVER_CLIENT, "jane", &["dev"], &client), "signed"),
            (
                "a client that would serve",
                approved(KUBE_APISERVER_CLIENT, "jane", &[], &["client auth", "server auth"]),
                "invalid usage for client certificate: server auth",
            ),
            (
                "a client that is none",
                approved(KUBE_APISERVER_CLIENT, "jane", &[], &["digital signature"]),
                "missing required usage for client certificate: client auth",
            ),
            (
                "a node agent",
                approved(KUBE_APISERVER_CLIENT_KUBELET, node, &["system:nodes"], &client),
                "signed",
            ),
            (
                "one who is none",
                approved(KUBE_APISERVER_CLIENT_KUBELET, "jane", &["system:nodes"], &client),
                "subject common name does not begin with system:node:",
            ),
            (
                "a server without names",
                approved(KUBELET_SERVING, node, &["system:nodes"], &["digital signature", "server auth"]),
                "DNS or IP subjectAltName is required",
            ),
            ("anything", approved(LEGACY_UNKNOWN, "jane", &[], &["code signing"]), "signed"),
        ];
        for (what, request, expected) in table {
            let got = match decide(&request, YEAR) {
                Plan::Leave => "left".to_owned(),
                Plan::Fail(why) => why,
                Plan::Sign(..) => "signed".to_owned(),
            };
            assert_eq!(got, expected, "{what}");
        }
    }

    #[test]
    fn a_life_is_as_asked_for_within_limits() {
        let second = Duration::from_secs;
        let table = [
            (None, YEAR, YEAR),
            (Some(3600), YEAR, second(3600)),
            (Some(1), YEAR, second(600)),
            (Some(i32::MAX), YEAR, YEAR),
            (Some(3600), second(60), second(60)),
            (None, second(60), second(60)),
        ];
        for (asked, longest, expected) in table {
            assert_eq!(life(asked, longest), expected, "{asked:?}");
        }
    }
}
