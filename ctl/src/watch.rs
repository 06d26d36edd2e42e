//! Waiting on one object: read it, then watch it from there, until a pure test is content.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::discovery::Kind;
use crate::error::{Error, Result};
use crate::rest::Call;
use crate::session::Session;

/// What a test says of the object's present state.
pub enum Verdict<T> {
    /// That is it.
    Done(T),
    /// Not yet.
    Wait,
}

/// Watches an object until `judge` is content. It sees `None` when the object does not exist.
/// A watch that ends is begun anew from a fresh read.
pub async fn until<T>(
    session: &Session,
    kind: &Kind,
    namespace: &str,
    name: &str,
    timeout: Option<Duration>,
    mut judge: impl FnMut(Option<&Value>) -> Result<Verdict<T>>,
) -> Result<T> {
    let watching = async {
        let rest = session.rest().await?;
        let base =
            || Call::get(kind.path(Some(namespace))).query("fieldSelector", format!("metadata.name={name}"));
        loop {
            let list = rest.call(base()).await?;
            if let Verdict::Done(value) = judge(list["items"].get(0))? {
                return Ok(value);
            }
            let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            let mut events = Box::pin(rest.watch(base().query("resourceVersion", version)).await?);
            while let Some(event) = events.next().await {
                let (change, object) = match event {
                    Ok(event) => event,
                    // Too old a version: read again.
                    Err(error) if error.code() == Some(410) => break,
                    Err(error) => return Err(error),
                };
                if change == "BOOKMARK" {
                    continue;
                }
                let present = (change != "DELETED").then_some(&object);
                if let Verdict::Done(value) = judge(present)? {
                    return Ok(value);
                }
            }
        }
    };
    match timeout {
        None => watching.await,
        Some(timeout) => tokio::time::timeout(timeout, watching).await.unwrap_or_else(|_| {
            Err(Error::usage(format!("timed out waiting for the condition on {}/{name}", kind.plural)))
        }),
    }
}

/// Waits until an object with this uid is gone.
pub async fn gone(
    session: &Session,
    kind: &Kind,
    namespace: &str,
    name: &str,
    uid: &str,
    timeout: Option<Duration>,
) -> Result<()> {
    until(session, kind, namespace, name, timeout, |object| {
        let same = object.is_some_and(|object| uid.is_empty() || object["metadata"]["uid"] == uid);
        Ok(if same { Verdict::Wait } else { Verdict::Done(()) })
    })
    .await
}
