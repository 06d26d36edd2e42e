//! A definition that is deleted first loses its objects, as upstream's CRD finalizer does it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use skiff_api::custom::{CLEANUP, names};
use skiff_api::kind::Kind;
use skiff_api::meta;

use super::PATH;
use crate::app::App;
use crate::bootstrap::send;
use crate::cache::KindCache;
use crate::write;

/// How long objects may take to go before it is tried again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Removes the objects of a definition that is being deleted, and then what keeps it. Started again, it does no harm.
pub fn start(app: &Arc<App>, definition: &Value, kind: Option<Arc<Kind>>) {
    let (app, definition) = (app.clone(), definition.clone());
    tokio::spawn(async move {
        while !app.shutdown.is_cancelled() {
            match run(&app, &definition, kind.as_deref()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(name = meta::name(&definition), %error, "objects of a definition cannot be removed")
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

async fn run(app: &Arc<App>, definition: &Value, kind: Option<&Kind>) -> anyhow::Result<()> {
    let name = meta::name(definition);
    let cache = kind.and_then(|kind| app.cache.find(&kind.group, &kind.plural));
    let (reason, message) = match (kind, cache) {
        (Some(kind), Some(cache)) => {
            remove_all(app, kind, &cache).await?;
            ("InstanceDeletionCompleted", "removed all instances")
        }
        _ => ("NeverEstablished", "resource was never established"),
    };
    let path = format!("{PATH}/{name}");
    let (code, mut live) = send(app, Method::GET, &path, &Value::Null).await?;
    if code == 404 || meta::uid(&live) != meta::uid(definition) {
        return Ok(());
    }
    let now = write::time(jiff::Timestamp::now());
    names::set_condition(&mut live["status"], "Terminating", false, reason, message, &now);
    let (code, mut live) = send(app, Method::PUT, &format!("{path}/status"), &live).await?;
    anyhow::ensure!(code < 300, "status {code}");
    let kept: Vec<&str> = meta::finalizers(&live).into_iter().filter(|name| *name != CLEANUP).collect();
    live["metadata"]["finalizers"] = json!(kept);
    let (code, answer) = send(app, Method::PUT, &path, &live).await?;
    anyhow::ensure!(code < 300 || code == 404, "{}", answer["message"]);
    Ok(())
}

/// Deletes every object, by the rules of any delete, and waits until all are gone.
async fn remove_all(app: &Arc<App>, kind: &Kind, cache: &KindCache) -> anyhow::Result<()> {
    let root = format!("/apis/{}/{}", kind.group, kind.stored_or_served());
    let mut revisions = cache.subscribe();
    let gone = async {
        loop {
            revisions.borrow_and_update();
            let snapshot = cache.snapshot();
            let places: BTreeSet<&str> = snapshot.items.values().map(|item| item.namespace()).collect();
            if places.is_empty() {
                return anyhow::Ok(());
            }
            let waiting = snapshot
                .items
                .values()
                .all(|item| meta::deletion_timestamp(&item.object(kind, &kind.stored().name)).is_some());
            for place in places.into_iter().filter(|_| !waiting) {
                let path = match place {
                    "" => format!("{root}/{}", kind.plural),
                    place => format!("{root}/namespaces/{place}/{}", kind.plural),
                };
                let (code, answer) = send(app, Method::DELETE, &path, &Value::Null).await?;
                anyhow::ensure!(code < 300 || code == 404, "{}", answer["message"]);
            }
            if !waiting {
                app.cache.catch_up().await?;
                continue;
            }
            revisions.changed().await?;
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("objects are still there")))
}
