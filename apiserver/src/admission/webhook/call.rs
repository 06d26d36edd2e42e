//! Asking one webhook.

use axum::body::Body;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use skiff_api::status::Status;

use super::hook::Hook;
use super::review::{self, Answer};
use crate::admission::Review;
use crate::backend::Failure;

/// The largest answer that is read, in bytes.
const LIMIT_BYTES: usize = 16 << 20;

/// Why a webhook did not let a request pass.
#[derive(Debug)]
pub enum Refusal {
    /// It did not answer as it should; whether that matters is its configuration's to say.
    Failed(String),
    /// It said no, or could not be asked at all.
    Denied(Status),
}

impl Refusal {
    /// The refusal that a client reads, or nothing if such a failure lets the request pass.
    pub fn counted(self, hook: &Hook) -> Option<Status> {
        match self {
            Self::Denied(status) => Some(status),
            Self::Failed(why) => {
                let why = format!("failed calling webhook {:?}: {why}", hook.name);
                tracing::warn!(configuration = hook.configuration, ignored = hook.ignores_failures, why);
                (!hook.ignores_failures).then(|| Status::internal(why))
            }
        }
    }
}

/// Asks a webhook about an object and what it was before, both in the version that it asked for.
pub async fn ask(
    review: &Review<'_>,
    hook: &Hook,
    version: &str,
    object: &Value,
    old: &Value,
    mutating: bool,
) -> Result<Answer, Refusal> {
    if review.call.context.dry_run && !hook.dry_run {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Refusal::Denied(Status::bad_request(why)));
    }
    let reviews = hook.versions.iter().find(|version| review::VERSIONS.contains(&version.as_str()));
    let reviews = reviews.ok_or_else(|| {
        let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        Refusal::Failed(format!("could not create admission objects: {why}"))
    })?;
    let client =
        hook.client.as_ref().map_err(|why| Refusal::Failed(format!("could not get REST client: {why}")))?;
    let uid = uuid::Uuid::new_v4().to_string();
    let described = review.describe(version, if object.is_null() { old } else { object });
    let body = review::request(reviews, &uid, described, object, old);
    let seconds = hook.timeout.as_secs();
    let request = Request::post(format!("{}?timeout={seconds}s", client.path))
        .header(header::HOST, client.backend.place.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(Body::from(body))
        .map_err(|error| Refusal::Failed(format!("failed to call webhook: {error}")))?;
    let exchange = async {
        let response = review.call.app.backends.send(&client.backend, request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LIMIT_BYTES).collect().await;
        let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
            true => Failure::Other(format!("the answer is larger than {LIMIT_BYTES} bytes")),
            false => Failure::Other(format!(
                "unexpected error when reading response body. Please retry. Original error: {error}"
            )),
        })?;
        Ok::<_, Failure>((head, body.to_bytes()))
    };
    let outcome = tokio::time::timeout(hook.timeout, exchange).await.unwrap_or(Err(Failure::Timeout));
    let (head, body) = outcome.map_err(|failure| {
        Refusal::Failed(format!("failed to call webhook: Post {:?}: {failure}", client.url(hook.timeout)))
    })?;
    let failed = |why: String| Refusal::Failed(format!("failed to call webhook: {why}"));
    if !head.status.is_success() {
        let media = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_text = media.is_none_or(|media| media.starts_with("text/"));
        return Err(failed(review::unsuccessful(head.status.as_u16(), is_text, &body)));
    }
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|error| failed(format!("couldn't get version/kind; json parse error: {error}")))?;
    let answer = review::answer(reviews, &uid, mutating, &answer)
        .map_err(|why| Refusal::Failed(format!("received invalid webhook response: {why}")))?;
    let context = &review.call.context;
    for (key, value) in &answer.annotations {
        context.annotate(&format!("{}/{key}", hook.name), value);
    }
    answer.warnings.iter().for_each(|warning| context.warn(warning.as_str()));
    if answer.allowed { Ok(answer) } else { Err(Refusal::Denied(review::denied(&hook.name, &answer.result))) }
}
