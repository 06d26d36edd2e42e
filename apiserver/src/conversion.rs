//! Objects in another version of their kind.

use std::borrow::Cow;

use serde_json::Value;
use skiff_api::status::Status;

use crate::admission::Review;

/// An object under review in another version. What is of a kind of its own, a Scale say, has but one.
pub async fn shown(review: &Review<'_>, mut object: Value, version: &str) -> Result<Value, Status> {
    if object.is_object() && review.is_of_own_kind() {
        object["apiVersion"] = review.call.kind.api_version(version).into();
    }
    Ok(object)
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
