//! Objects in another version of their kind.
//!
//! The versions of most kinds differ in name only. Those of a custom kind may differ in structure; then its
//! definition names a webhook that is asked, for many objects at once (`review` has what is said). What was
//! converted once is kept with the stored object for as long as that is. Matched to
//! `apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go`.

mod known;
mod review;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use skiff_api::kind::{Conversion, Kind};
use skiff_api::status::Status;
use skiff_api::walk;

use crate::admission::Review;
use crate::admission::webhook;
use crate::app::{App, Call};
use crate::backend::Failure;
use crate::cache::Item;

pub use known::{Known, run};

/// Objects in one question.
const BATCH: usize = 500;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const LIMIT_BYTES: usize = 128 << 20;

/// Stored objects as a version shows them.
pub async fn items(
    app: &App,
    kind: &Kind,
    items: Vec<Arc<Item>>,
    version: &str,
) -> Result<Vec<Arc<Item>>, Status> {
    let Some(conversion) = &kind.conversion else { return Ok(items) };
    let mut shown: Vec<Option<Arc<Item>>> = items
        .iter()
        .map(|item| if item.version(kind) == version { Some(item.clone()) } else { item.form(version) })
        .collect();
    let missing: Vec<usize> = (0..items.len()).filter(|index| shown[*index].is_none()).collect();
    for batch in missing.chunks(BATCH) {
        let objects =
            batch.iter().map(|index| items[*index].object(kind, items[*index].version(kind))).collect();
        let converted = ask(app, kind, conversion, objects, version).await?;
        for (index, object) in batch.iter().zip(converted) {
            shown[*index] = Some(items[*index].keep_form(version, object));
        }
    }
    Ok(shown.into_iter().flatten().collect())
}

/// A stored object as a call shows it.
pub async fn item(call: &Call, item: Arc<Item>) -> Result<Arc<Item>, Status> {
    let mut shown = items(&call.app, &call.kind, vec![item], &call.version).await?;
    shown.pop().ok_or_else(|| Status::internal("an object was lost in conversion"))
}

/// An object in another version, as that version's schema has it.
pub async fn object(app: &App, kind: &Kind, mut object: Value, version: &str) -> Result<Value, Status> {
    let wanted = kind.api_version(version);
    let Some(conversion) = kind.conversion.as_ref().filter(|_| object["apiVersion"] != *wanted) else {
        object["apiVersion"] = wanted.into();
        return Ok(object);
    };
    let mut shown = ask(app, kind, conversion, vec![object], version).await?;
    shown.pop().ok_or_else(|| Status::internal("an object was lost in conversion"))
}

/// What is stored of an object, if it is stored in another version than a call writes.
pub async fn stored(call: &Call, new: &Value) -> Result<Option<Value>, Status> {
    let stored = &call.kind.stored().name;
    if call.kind.conversion.is_none() || *stored == call.version {
        return Ok(None);
    }
    object(&call.app, &call.kind, new.clone(), stored).await.map(Some)
}

/// An object under review in another version. What is of a kind of its own, a Scale say, has but one.
pub async fn shown(review: &Review<'_>, shown: Value, version: &str) -> Result<Value, Status> {
    if !shown.is_object() || !review.is_of_own_kind() {
        return Ok(shown);
    }
    object(&review.call.app, &review.call.kind, shown, version).await
}

/// What is written and what was there, in another version.
pub async fn both<'a>(
    review: &Review<'a>,
    object: &'a Value,
    version: &str,
) -> Result<(Cow<'a, Value>, Cow<'a, Value>), Status> {
    let old = review.old.unwrap_or(&Value::Null);
    if version == review.call.version {
        return Ok((Cow::Borrowed(object), Cow::Borrowed(old)));
    }
    let object = shown(review, object.clone(), version).await?;
    Ok((Cow::Owned(object), Cow::Owned(shown(review, old.clone(), version).await?)))
}

/// Asks the webhook for objects in a version.
async fn ask(
    app: &App,
    kind: &Kind,
    conversion: &Conversion,
    objects: Vec<Value>,
    version: &str,
) -> Result<Vec<Value>, Status> {
    let from = objects.first().and_then(|object| object["apiVersion"].as_str()).unwrap_or_default();
    let about = format!("conversion webhook for {from}, Kind={}", kind.kind);
    let failed = |why: String| Status::new(500, "", format!("{about} {why}"));
    let uid = uuid::Uuid::new_v4().to_string();
    let reviews = review::version(&conversion.reviews)
        .ok_or_else(|| Status::new(500, "", "no supported conversion review versions"))?;
    let wanted = kind.api_version(version);
    let body = review::request(reviews, &uid, &wanted, &objects);
    let answer = exchange(app, conversion, body).await.map_err(|why| failed(format!("failed: {why}")))?;
    let converted = review::answer(reviews, &uid, &answer).map_err(|why| failed(format!("failed: {why}")))?;
    if converted.len() != objects.len() {
        return Err(failed(format!("returned {} objects, expected {}", converted.len(), objects.len())));
    }
    let schema = kind.versions.iter().find(|known| known.name == version).map(|known| &known.schema);
    let settled = objects.iter().zip(converted).enumerate().map(|(index, (before, after))| {
        let mut after = review::settled(before, after, &wanted)
            .map_err(|why| failed(format!("returned invalid converted object at index {index}: {why}")))?;
        if let Some(schema) = schema {
            walk::prune(schema, &mut after);
            walk::default(schema, &mut after);
        }
        Ok(after)
    });
    settled.collect()
}

async fn exchange(app: &App, conversion: &Conversion, body: Vec<u8>) -> Result<Value, String> {
    let client = webhook::client(&conversion.client)?;
    let url = client.url(PATIENCE);
    let request = Request::post(format!("{}?timeout={}s", client.path, PATIENCE.as_secs()))
        .header(header::HOST, client.backend.place.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .body(Body::from(body))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = app.backends.send(&client.backend, request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LIMIT_BYTES).collect().await;
        Ok::<_, Failure>((head, body.map_err(|error| Failure::Other(error.to_string()))?.to_bytes()))
    };
    let outcome = tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err(Failure::Timeout));
    let (head, body) = outcome.map_err(|failure| format!("Post {url:?}: {failure}"))?;
    if !head.status.is_success() {
        let media = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_text = media.is_none_or(|media| media.starts_with("text/"));
        return Err(webhook::unsuccessful(head.status.as_u16(), is_text, &body));
    }
    serde_json::from_slice(&body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))
}
