//! Certificate requests: approved for node agents, signed, and removed when they are old.
//!
//! Behaviour: upstream's `pkg/controller/certificates`.

pub(crate) mod approve;
mod authority;
pub(crate) mod clean;
mod serving;
pub(crate) mod sign;

pub use authority::Signer;

use std::future::Future;
use std::sync::Arc;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use kube::api::{Api, PostParams};
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::Context;
use crate::error::Error;

/// Requests worked on at once.
const WORKERS: usize = 5;

/// Looks at each request that has no certificate yet, when it changes.
async fn follow<F, R>(context: &Arc<Context>, name: &'static str, reconcile: F)
where
    F: Fn(Arc<CertificateSigningRequest>) -> R,
    R: Future<Output = Result<Action, Error>>,
{
    let queue = Queue::new(name);
    {
        let queue = queue.clone();
        context.signing_requests.follow(context.shutdown.clone(), move |change| {
            if let Some(name) = change.new.as_ref().and_then(|request| request.metadata.name.clone()) {
                queue.add(name);
            }
        });
    }
    tokio::select! {
        () = context.signing_requests.synced() => {}
        () = context.shutdown.cancelled() => return,
    }
    let reconcile = |name: String| {
        let request = context.signing_requests.get("", &name).filter(|request| !is_issued(request));
        let work = request.map(&reconcile);
        async move {
            match work {
                Some(work) => work.await,
                None => Ok(Action::Done),
            }
        }
    };
    queue::run(queue.clone(), WORKERS, reconcile, context.shutdown.clone()).await;
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default()
}

fn has(request: &CertificateSigningRequest, sort: &str) -> bool {
    conditions(request).iter().any(|condition| condition.type_ == sort)
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    issued(request).is_some()
}

/// The certificate, as PEM.
fn issued(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    Some(certificate.0.as_slice()).filter(|pem| !pem.is_empty())
}

fn usages(request: &CertificateSigningRequest) -> Vec<&str> {
    request.spec.usages.iter().flatten().map(String::as_str).collect()
}

/// Writes a view of a request if nobody has changed it meanwhile, and waits until that is seen.
async fn write(context: &Context, view: &str, changed: &CertificateSigningRequest) -> Result<(), Error> {
    let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    let name = changed.metadata.name.clone().unwrap_or_default();
    let written = api.replace_subresource(view, &name, &PostParams::default(), changed).await?;
    context.signing_requests.caught_up(&written).await;
    Ok(())
}

fn condition(sort: &str, reason: &str, message: &str) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: sort.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    /// A request with this subject.
    pub(super) fn request(
        signer: &str,
        name: &str,
        groups: &[&str],
        usages: &[&str],
    ) -> CertificateSigningRequest {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        of(signer, &params, usages)
    }

    pub(super) fn of(signer: &str, params: &CertificateParams, usages: &[&str]) -> CertificateSigningRequest {
        let key = KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let mut request = CertificateSigningRequest::default();
        request.metadata.name = Some("r".into());
        request.spec.request = ByteString(pem.into_bytes());
        request.spec.signer_name = signer.into();
        request.spec.usages = Some(usages.iter().map(|usage| (*usage).to_owned()).collect());
        request
    }

    pub(super) fn with(mut request: CertificateSigningRequest, sorts: &[&str]) -> CertificateSigningRequest {
        let list = sorts.iter().map(|sort| condition(sort, "", "")).collect();
        request.status.get_or_insert_default().conditions = Some(list);
        request
    }
}
