//! What plugins find of other objects.

use std::sync::Arc;

use serde_json::Value;
use skiff_api::kind::Kind;
use skiff_api::status::Status;

use super::Review;
use crate::app::Call;
use crate::cache::{Item, KindCache};

impl Review<'_> {
    /// Another object. That there is none is only said of the newest state: what was made a moment ago is found.
    pub async fn find_now(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        if let Some(found) = self.call.find(group, resource, namespace, name) {
            return Ok(Some(found));
        }
        self.call.app.cache.catch_up().await?;
        Ok(self.call.find(group, resource, namespace, name))
    }

    /// All objects of a kind, by name.
    pub fn list(&self, group: &str, resource: &str) -> Vec<Value> {
        let Some(cache) = self.call.app.cache.find(group, resource) else { return Vec::new() };
        let snapshot = cache.snapshot();
        snapshot.items.values().map(|item| whole(item, cache.kind())).collect()
    }

    /// All objects of a kind in the namespace that is written to, by name. The cost is that of the namespace.
    pub fn list_here(&self, group: &str, resource: &str) -> Vec<Value> {
        list_in(self.call, group, resource, self.call.namespace())
    }
}

fn whole(item: &Item, kind: &Kind) -> Value {
    item.object(kind, &kind.stored().name)
}

/// All objects of a kind in a namespace.
pub(super) fn list_in(call: &Call, group: &str, resource: &str, namespace: &str) -> Vec<Value> {
    let Some(cache) = call.app.cache.find(group, resource) else { return Vec::new() };
    items_in(&cache, namespace).map(|item| whole(&item, cache.kind())).collect()
}

fn items_in(cache: &KindCache, namespace: &str) -> impl Iterator<Item = Arc<Item>> {
    let start = format!("{namespace}/");
    let snapshot = cache.snapshot();
    let from: Arc<str> = start.as_str().into();
    let found: Vec<_> = snapshot
        .items
        .range(from..)
        .take_while(|(key, _)| key.starts_with(&start))
        .map(|(_, item)| item.clone())
        .collect();
    found.into_iter()
}
