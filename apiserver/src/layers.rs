//! What every request passes on its way to a handler: identify, audit, impersonate, flow control, authorize.

use std::sync::Arc;

use axum::body::Body;
use futures::future::BoxFuture;
use http::Request;
use skiff_api::status::Status;

use crate::app::{App, Identity, is_long_running};
use crate::context::Context;
use crate::request::{Query, RequestInfo};
use crate::security::authenticate::{Credentials, LastUse};
use crate::security::{Attributes, Authorization, Decision, User, forbidden, impersonate, token};
use crate::{bootstrap, flow, lookup};

/// Finds out who asks and takes the credentials out of the request.
///
/// # Errors
/// 401.
pub async fn identify(
    app: &Arc<App>,
    request: &mut Request<Body>,
    identity: Identity,
    context: &mut Context,
) -> Result<(), Status> {
    let certificate = match &identity {
        Identity::Known(user) => {
            context.user = Arc::new(user.clone());
            return Ok(());
        }
        Identity::Certificate(shown) => Some(&**shown),
        Identity::Unknown => None,
    };
    let shown = Credentials { certificate, headers: request.headers(), path: request.uri().path() };
    let objects = lookup::Objects(app.cache.clone());
    let found = app.authenticator.authenticate(&shown, &objects, context.now.as_second()).await?;
    if let Some(used) = found.last_use.clone() {
        tokio::spawn(note_use(app.clone(), used));
    }
    context.user = found.user.clone();
    app.authenticator.strip(request.headers_mut());
    Ok(())
}

/// Begins the record of a request, whoever sent it.
pub fn audit(
    app: &App,
    request: &Request<Body>,
    refused: Option<&Status>,
    info: &RequestInfo,
    id: &str,
    context: &Context,
) {
    let attributes = Attributes::of(&context.user, info, "", "");
    let Some(record) = app.audit.begin(&attributes, id, request, context.now) else { return };
    match refused {
        None => context.recorded(record),
        Some(status) => record.unauthenticated(status),
    }
}

/// Says on a Secret that its token was used today. (Boxed: it is a request in a request, and the compiler must see an end.)
fn note_use(app: Arc<App>, used: LastUse) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let path = format!("/api/v1/namespaces/{}/secrets/{}", used.namespace, used.secret);
        let patch = serde_json::json!({
            "metadata": {"uid": used.uid, "labels": {token::legacy::LAST_USED: used.day}},
        });
        if let Err(error) = bootstrap::patch(&app, &path, &patch).await {
            tracing::warn!(%error, path, "the last use of a Secret's token was not noted");
        }
    })
}

/// Lets the request be made as someone else, if that is wanted and allowed. The context keeps who asked.
///
/// # Errors
/// 400 for headers that name no user, 403 if it is not allowed.
pub async fn impersonate(
    app: &Arc<App>,
    request: &mut Request<Body>,
    info: &RequestInfo,
    query: &Query,
    context: &mut Context,
) -> Result<(), Status> {
    let Some(wanted) = impersonate::take(request.headers_mut())? else { return Ok(()) };
    let requester = context.user.clone();
    let asked = attributes(&requester, info, query);
    let found = impersonate::check(&wanted, &asked, &*app.authorization).await?;
    if let Some(record) = context.record() {
        record.impersonates(&found.user);
    }
    context.requester = Some((requester, found.constraint));
    context.user = Arc::new(found.user);
    Ok(())
}

/// How many objects of a list are worth a seat, and the most seats of a list; as upstream's.
const OBJECTS_PER_SEAT: usize = 100;
const WIDEST: usize = 10;

/// Waits for the request's turn. Streams are not held up: they cost nothing while they are open.
///
/// # Errors
/// 429 if too many wait already.
pub async fn take_turn(
    app: &App,
    context: &Context,
    info: &RequestInfo,
    query: &Query,
) -> Result<Option<flow::Seats>, Status> {
    if !app.config.limits.fair || (is_long_running(info) && info.verb != "watch") {
        return Ok(None);
    }
    let class = context.classed(app.flow.class(&context.user, info));
    let width = match info.verb.as_str() {
        "list" => app.cache.find(&info.group, &info.resource).map_or(1, |cache| {
            let limit = query.get("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
            cache.snapshot().items.len().min(limit).div_ceil(OBJECTS_PER_SEAT).min(WIDEST)
        }),
        _ => 1,
    };
    app.flow.admit(class, width).await.map(Some)
}

/// Refuses what the user may not do.
///
/// # Errors
/// 403.
pub async fn authorize(
    app: &App,
    context: &Context,
    info: &RequestInfo,
    query: &Query,
) -> Result<(), Status> {
    let attributes = attributes(&context.user, info, query);
    let decision = app.authorization.decide(&attributes).await;
    let word = if decision.is_allowed() { "allow" } else { "forbid" };
    context.annotate("authorization.k8s.io/decision", word);
    context.annotate("authorization.k8s.io/reason", decision.reason());
    if decision.is_allowed() { Ok(()) } else { Err(forbidden(&attributes, decision.reason())) }
}

fn attributes<'a>(user: &'a User, info: &'a RequestInfo, query: &'a Query) -> Attributes<'a> {
    Attributes::of(user, info, query.get("fieldSelector"), query.get("labelSelector"))
}

impl App {
    /// Refuses what the authorizers do not allow, in upstream's words.
    ///
    /// # Errors
    /// 403.
    pub async fn decide(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.authorization.decide(attributes).await {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) | Decision::Deny(reason) => Err(forbidden(attributes, &reason)),
        }
    }
}
