//! Kinds come and go while the store is followed.

use std::sync::Arc;

use skiff_api::kind::{GroupResource, Registry};
use skiff_storage::{Error, Range};
use tokio::sync::oneshot;

use super::{Cache, KindCache, Kinds};

/// The kinds that there shall be, and whom to tell when they are.
pub struct Wish {
    registry: Registry,
    granted: oneshot::Sender<()>,
}

impl Cache {
    /// Makes the caches those of a registry. What both have stays as it is; watches of what goes or is
    /// served otherwise end.
    pub async fn adopt(&self, registry: &Registry) {
        loop {
            let (granted, done) = oneshot::channel();
            // No one takes it: the store is followed no more, and the server stops.
            if self.wishes.send(Wish { registry: registry.clone(), granted }).await.is_err() {
                return;
            }
            // Let fall: the store could not be read, and is followed again in a moment.
            if done.await.is_ok() {
                return;
            }
        }
    }

    pub(super) async fn grant(&self, wish: Wish) -> Result<(), Error> {
        let old = self.kinds.load_full();
        let mut new = Kinds::default();
        for kind in wish.registry.iter().filter(|kind| kind.presents.is_none()) {
            let name = GroupResource { group: kind.group.clone(), resource: kind.plural.clone() };
            match old.by_name.get(&name) {
                Some(cache) if Arc::ptr_eq(cache.kind(), kind) => new.insert(cache.clone()),
                _ => {
                    let cache = Arc::new(KindCache::new(kind.clone(), self.revision.clone()));
                    self.read_now(&cache).await?;
                    new.insert(cache);
                }
            }
        }
        let new = Arc::new(new);
        self.kinds.store(new.clone());
        for (name, cache) in &old.by_name {
            if new.by_name.get(name).is_none_or(|now| !Arc::ptr_eq(now, cache)) {
                cache.end();
            }
        }
        let _ = wish.granted.send(());
        Ok(())
    }

    /// Reads a kind's objects as they were at the revision that the others have reached, or later if that is forgotten:
    /// events that are older than what was read are passed over.
    async fn read_now(&self, cache: &KindCache) -> Result<(), Error> {
        let prefix = cache.prefix();
        let at = Some(self.revision()).filter(|revision| *revision > 0);
        let (page, revision) = match self.storage.list(prefix, Range { at, ..Range::default() }).await {
            Err(Error::Compacted { .. }) => {
                let page = self.storage.list(prefix, Range::default()).await?;
                let revision = page.revision;
                (page, revision)
            }
            page => (page?, self.revision()),
        };
        cache.reset(page.entries, revision);
        Ok(())
    }
}
