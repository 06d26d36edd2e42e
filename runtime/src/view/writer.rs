//! From watch events to a view. There is one writer a view.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};

use super::{Change, Progress, Shared, Snapshot, revision};
use crate::Key;

/// Owns the right to change a view.
pub(super) struct Writer<K> {
    shared: Arc<Shared<K>>,
    /// The objects of a list that is not complete yet.
    listing: Option<Snapshot<K>>,
}

impl<K: Resource> Writer<K> {
    pub(super) fn new(shared: Arc<Shared<K>>) -> Self {
        Self { shared, listing: None }
    }

    pub(super) async fn run(mut self, events: impl Stream<Item = watcher::Result<Event<K>>>) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event),
                Err(error) => {
                    tracing::debug!(kind = std::any::type_name::<K>(), %error, "watch interrupted, trying again")
                }
            }
        }
    }

    pub(super) fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listing = Some(Snapshot::new()),
            Event::InitApply(mut object) => {
                object.meta_mut().managed_fields = None;
                let listing = self.listing.get_or_insert_with(Snapshot::new);
                listing.insert(Key::of(&object), Arc::new(object));
            }
            Event::InitDone => self.replace(),
            Event::Apply(mut object) => {
                object.meta_mut().managed_fields = None;
                let revision = revision(&object);
                let (key, new) = (Key::of(&object), Arc::new(object));
                let mut objects = Snapshot::clone(&self.shared.objects.load());
                let old = objects.insert(key, new.clone());
                self.shared.objects.store(Arc::new(objects));
                self.tell(old, Some(new));
                self.progress(|progress| progress.revision = progress.revision.max(revision));
            }
            Event::Delete(object) => {
                let mut objects = Snapshot::clone(&self.shared.objects.load());
                let old = objects.remove(&Key::of(&object));
                self.shared.objects.store(Arc::new(objects));
                let revision = revision(&object);
                self.tell(Some(old.unwrap_or_else(|| Arc::new(object))), None);
                self.progress(|progress| progress.revision = progress.revision.max(revision));
            }
        }
    }

    /// A list is complete: what is not in it is gone.
    fn replace(&mut self) {
        let fresh = self.listing.take().unwrap_or_default();
        let stale = self.shared.objects.swap(Arc::new(fresh.clone()));
        let highest = fresh.values().map(|object| revision(object.as_ref())).max().unwrap_or(0);
        for (key, old) in stale.iter().filter(|(key, _)| !fresh.contains_key::<Key>(key)) {
            tracing::trace!(%key, "gone while not watched");
            self.tell(Some(old.clone()), None);
        }
        for (key, new) in &fresh {
            let old = stale.get(key).cloned();
            if old.as_ref().is_none_or(|old| old.meta().resource_version != new.meta().resource_version) {
                self.tell(old, Some(new.clone()));
            }
        }
        self.progress(|progress| {
            progress.synced = true;
            progress.lists += 1;
            progress.revision = progress.revision.max(highest);
        });
    }

    fn tell(&self, old: Option<Arc<K>>, new: Option<Arc<K>>) {
        // Nobody listening is no error.
        let _ = self.shared.changes.send(Arc::new(Change { old, new }));
    }

    fn progress(&self, change: impl FnOnce(&mut Progress)) {
        self.shared.progress.send_modify(change);
    }
}

/// Pauses between attempts to watch: a component that is up before its API server must not lose a second by it.
pub(super) struct Reconnect(Duration);

impl Reconnect {
    const FIRST: Duration = Duration::from_millis(50);
    const LAST: Duration = Duration::from_secs(10);
}

impl Default for Reconnect {
    fn default() -> Self {
        Self(Self::FIRST)
    }
}

impl Iterator for Reconnect {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0.mul_f64(rand::random_range(0.8..1.2));
        self.0 = (self.0 * 2).min(Self::LAST);
        Some(pause)
    }
}

impl Backoff for Reconnect {
    fn reset(&mut self) {
        self.0 = Self::FIRST;
    }
}
