//! Encryption at rest: between the API server and its store, values are sealed on the way in and opened on the way out.
//!
//! What is sealed how says an `EncryptionConfiguration` ([`config`]); its providers (`provider`) are the ciphers
//! (`cipher`) and keys kept by another process (`kms`). [`Encrypted`] is a store over a store, so that gets, lists,
//! writes and watches all pass here, whichever the store. Bytes, prefixes and words are upstream's: an etcd of Kubernetes'
//! can be read.
//!
//! A value that cannot be opened is no reason to stop: it is handed on as [`Unreadable`], its object is answered with
//! upstream's error, and all others are served.

mod cipher;
pub mod config;
mod kms;
mod provider;
mod store;

pub use config::Configuration;
pub use store::Encrypted;

use std::sync::Arc;

use bytes::Bytes;
use skiff_api::status::Status;

use crate::app::App;
use crate::bootstrap;

/// What stands in place of a value that could not be opened. It never reaches the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// No stored value begins so: those of objects are JSON, protobuf or sealed.
const MARK: &[u8] = b"\0unreadable:";

impl Unreadable {
    fn into_value(self) -> Bytes {
        [MARK, self.0.as_bytes()].concat().into()
    }

    /// What a client is told that asks for the object.
    pub fn status(&self) -> Status {
        Status::internal(&self.0)
    }

    /// What a client is told that lists it among others.
    pub fn status_at(&self, key: &str) -> Status {
        Status::internal(format!("unable to transform key {key:?}: {}", self.0))
    }

    /// Why a value could not be opened, if it could not.
    pub fn of(value: &[u8]) -> Option<Self> {
        let why = value.strip_prefix(MARK)?;
        Some(Self(String::from_utf8_lossy(why).into_owned()))
    }
}

/// Writes anew what is kept in an old form, of one resource; answers with how many that were.
///
/// # Errors
/// A write failed for another reason than that someone else wrote or deleted the object.
pub async fn renew(app: &Arc<App>, group: &str, plural: &str) -> anyhow::Result<usize> {
    let Some(cache) = app.cache.find(group, plural) else { return Ok(0) };
    let kind = cache.kind();
    let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
    let mut count = 0;
    for item in cache.snapshot().items.values() {
        if !app.storage.is_stale(&kind.key(item.namespace(), item.name())).await? {
            continue;
        }
        let version = &kind.stored().name;
        let place = match item.namespace() {
            "" => plural.to_owned(),
            namespace => format!("namespaces/{namespace}/{plural}"),
        };
        let path = format!("{root}/{version}/{place}/{}", item.name());
        // Nothing changes but the form; someone else's write has changed that too.
        match bootstrap::send(app, http::Method::PUT, &path, &item.object(kind, version)).await? {
            (200, _) => count += 1,
            (404 | 409, _) => {}
            (_, answer) => anyhow::bail!("cannot write {path} anew: {}", answer["message"]),
        }
    }
    Ok(count)
}
