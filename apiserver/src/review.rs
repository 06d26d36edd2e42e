//! Resources that are answered and never stored: reviews of who someone is and what they may do.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response, header};
use skiff_api::status::Status;

use crate::app::App;
use crate::context::Context;
use crate::negotiate::{self, Accept};
use crate::request::RequestInfo;
use crate::{lookup, security, write};

/// A resource that is only created, to be answered.
pub struct Review {
    /// Such as `subjectaccessreviews`.
    pub plural: &'static str,
    /// Such as `subjectaccessreview`.
    pub singular: &'static str,
    /// Such as `SubjectAccessReview`.
    pub kind: &'static str,
    /// Whether it is asked in a namespace.
    pub namespaced: bool,
}

const fn review(
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Review {
    Review { plural, singular, kind, namespaced }
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Every review: group, version, resource.
pub const RESOURCES: &[(&str, &str, Review)] = &[
    // A binding of the pod that it names.
    ("", "v1", review("bindings", "binding", "Binding", true)),
    (AUTHENTICATION, "v1", review("selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview", false)),
    (AUTHENTICATION, "v1", review("tokenreviews", "tokenreview", "TokenReview", false)),
    (
        AUTHORIZATION,
        "v1",
        review("localsubjectaccessreviews", "localsubjectaccessreview", "LocalSubjectAccessReview", true),
    ),
    (
        AUTHORIZATION,
        "v1",
        review("selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview", false),
    ),
    (
        AUTHORIZATION,
        "v1",
        review("selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview", false),
    ),
    (
        AUTHORIZATION,
        "v1",
        review("subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview", false),
    ),
];

/// Answers a review, or says that there is no such resource.
pub async fn answer(
    app: &Arc<App>,
    context: &Context,
    info: &RequestInfo,
    request: &mut Request<Body>,
) -> Result<Response<Body>, Status> {
    let known = RESOURCES.iter().find(|(group, version, review)| {
        *group == info.group && *version == info.version && review.plural == info.resource
    });
    let Some((_, _, review)) = known else { return Err(Status::no_such_path()) };
    if info.verb != "create" {
        return Err(Status::method_not_allowed());
    }
    let accept = Accept::parse(request.headers().get(header::ACCEPT));
    let (object, _) = write::parse(std::mem::take(request), review.kind).await?;
    let subjects = security::review::Subjects {
        user: &context.user,
        authorizer: &*app.authorization,
        authenticator: &app.authenticator,
        objects: &lookup::Objects(app.cache.clone()),
        now_s: context.now.as_second(),
    };
    let answer = security::review::review(review.kind, &info.namespace, object, &subjects).await?;
    Ok(negotiate::value(201, &answer, &accept))
}
