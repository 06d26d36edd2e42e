//! Approves the client certificates of node agents: of one that renews its own, and of a new one that an administrator
//! lets in; and what they [serve](super::serving) with. Whether it may is the API server's to say, by a
//! SubjectAccessReview.
//!
//! Behaviour: upstream's `approver/sarapprove.go`.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, PostParams};
use skiff_api::certificate::{CertificateRequest, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING};
use skiff_runtime::queue::Action;

use super::{condition, has, is_issued, serving, usages, write};
use crate::context::Context;
use crate::error::Error;

/// When a request for serving that is not approved yet is looked at again.
const AGAIN: Duration = Duration::from_secs(5);

/// A right that approves a request, and what the approval says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Right {
    /// Who may `create` this subresource of `certificatesigningrequests` is approved.
    subresource: &'static str,
    message: &'static str,
}

const OWN: Right = Right {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const ANY: Right = Right {
    subresource: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

const SERVING: Right = Right {
    subresource: "selfnodeserver",
    message: "Auto approving self kubelet serving certificate after SubjectAccessReview.",
};

/// The rights of which one approves the request, in the order in which they are asked about. `nodes` are all there are.
fn decide<'a>(request: &CertificateSigningRequest, nodes: impl Iterator<Item = &'a Node>) -> Vec<Right> {
    if is_issued(request) || has(request, "Approved") || has(request, "Denied") {
        return Vec::new();
    }
    let Ok(asked) = CertificateRequest::from_pem(&request.spec.request.0) else { return Vec::new() };
    let is_node = request.spec.signer_name == KUBE_APISERVER_CLIENT_KUBELET
        && asked.check_kubelet_client(&usages(request)).is_ok();
    if !is_node {
        return if serving::is_own(request, &asked, nodes) { vec![SERVING] } else { Vec::new() };
    }
    if request.spec.username.as_deref() == Some(&asked.common_name) { vec![OWN, ANY] } else { vec![ANY] }
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    super::follow(&context, "csrapproving", |request| approve(&context, request)).await;
}

async fn approve(context: &Context, request: Arc<CertificateSigningRequest>) -> Result<Action, Error> {
    let nodes = context.nodes.list();
    let rights = decide(&request, nodes.iter().map(AsRef::as_ref));
    for right in &rights {
        if is_allowed(context, &request, right.subresource).await? {
            let mut approved = (*request).clone();
            let conditions = &mut approved.status.get_or_insert_default().conditions;
            conditions.get_or_insert_default().push(condition("Approved", "AutoApproved", right.message));
            write(context, "approval", &approved).await?;
            return Ok(Action::Done);
        }
    }
    if rights.is_empty() {
        let open = request.spec.signer_name == KUBELET_SERVING
            && !["Approved", "Denied", "Failed"].iter().any(|sort| has(&request, sort));
        // The node's addresses may arrive a moment later; a person may decide meanwhile.
        return Ok(if open { Action::After(AGAIN) } else { Action::Done });
    }
    // A right may be given later.
    let tried: Vec<&str> = rights.iter().map(|right| right.subresource).collect();
    let name = request.metadata.name.as_deref().unwrap_or_default();
    Err(Error::Unfinished(format!(
        "recognized csr {name:?} as {tried:?} but subject access review was not approved"
    )))
}

async fn is_allowed(
    context: &Context,
    request: &CertificateSigningRequest,
    subresource: &str,
) -> Result<bool, Error> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: request.spec.username.clone(),
            uid: request.spec.uid.clone(),
            groups: request.spec.groups.clone(),
            extra: request.spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".into()),
                resource: Some("certificatesigningrequests".into()),
                verb: Some("create".into()),
                subresource: Some(subresource.into()),
                version: Some("*".into()),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(context.client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{request, with};
    use super::*;

    #[test]
    fn only_node_agents_clients_are_recognized() {
        let client = ["digital signature", "client auth"];
        let by = |user: &str, mut request: CertificateSigningRequest| {
            request.spec.username = Some(user.into());
            request
        };
        let node = |signer| request(signer, "system:node:a", &["system:nodes"], &client);
        let own = || node(KUBE_APISERVER_CLIENT_KUBELET);
        let table = [
            ("a renewal", by("system:node:a", own()), vec![OWN, ANY]),
            ("a bootstrapper", by("system:bootstrap:x", own()), vec![ANY]),
            ("another node", by("system:node:b", own()), vec![ANY]),
            ("another signer", by("system:node:a", node("kubernetes.io/kube-apiserver-client")), vec![]),
            (
                "another group",
                by(
                    "system:node:a",
                    request(KUBE_APISERVER_CLIENT_KUBELET, "system:node:a", &["system:masters"], &client),
                ),
                vec![],
            ),
            (
                "for serving",
                by(
                    "system:node:a",
                    request(
                        KUBE_APISERVER_CLIENT_KUBELET,
                        "system:node:a",
                        &["system:nodes"],
                        &["digital signature", "server auth"],
                    ),
                ),
                vec![],
            ),
            ("approved", by("system:node:a", with(own(), &["Approved"])), vec![]),
            ("denied", by("system:node:a", with(own(), &["Denied"])), vec![]),
        ];
        for (what, request, expected) in table {
            assert_eq!(decide(&request, std::iter::empty()), expected, "{what}");
        }
    }
}
