//! Views: what the API server holds of one kind, kept up to date by one watch.
//!
//! One task per view reads the watch and is the only writer; readers take an immutable snapshot by one atomic load and
//! never block it. What nobody here reads is [trimmed](trim) on arrival: `metadata.managedFields` always, it is half of a pod.
//!
//! Staleness is solved here once: who has written an object calls [`View::caught_up`] before it decides again, so that no
//! decision is taken from a snapshot older than one's own last write.

pub mod trim;
mod writer;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_kind};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::Key;
use writer::{Reconnect, Writer};

/// Changes a reader may fall behind before it is told to look at everything again.
pub const MAX_PENDING_CHANGES: usize = 1024;

/// How long [`View::caught_up`] waits at most. A watch that is this late is broken, and acting on old news is then no
/// worse than not acting at all.
pub const MAX_CATCH_UP: Duration = Duration::from_secs(20);

/// The objects of a view at one moment.
pub type Snapshot<K> = imbl::OrdMap<Key, Arc<K>>;

/// One object appeared (`old` is none), changed, or went (`new` is none).
#[derive(Debug)]
pub struct Change<K> {
    /// Before.
    pub old: Option<Arc<K>>,
    /// After.
    pub new: Option<Arc<K>>,
}

/// A shared, read-only mirror of one kind. Cloning it is cheap and shares the watch.
pub struct View<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    objects: ArcSwap<Snapshot<K>>,
    changes: broadcast::Sender<Arc<Change<K>>>,
    progress: watch::Sender<Progress>,
}

/// How far the watch has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Progress {
    synced: bool,
    /// The highest revision that any event carried.
    revision: u64,
    /// Completed lists. A fresh list holds everything written before it was asked for.
    lists: u64,
}

// === impl View ===

impl<K> Clone for View<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static> View<K> {
    /// Starts to watch (only metadata if `K` is `PartialObjectMeta`). Returns at once; see [`View::synced`]. The watch reconnects for ever, with back-off, until
    /// `shutdown`.
    pub fn spawn(api: Api<K>, config: watcher::Config, shutdown: CancellationToken) -> Self {
        Self::spawn_trimmed(api, config, |_| {}, shutdown)
    }

    /// The same, of objects without what `trim` takes out. None of them may be written back.
    pub fn spawn_trimmed(
        api: Api<K>,
        config: watcher::Config,
        trim: fn(&mut K),
        shutdown: CancellationToken,
    ) -> Self {
        let events = watch_kind(api, config).backoff(Reconnect::default());
        Self::from_events(events.map(move |event| trim::event(event, trim)), shutdown)
    }
}

impl<K: Resource + Send + Sync + 'static> View<K> {
    /// A view fed by any stream of watch events.
    pub fn from_events(
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        shutdown: CancellationToken,
    ) -> Self {
        let view = Self {
            shared: Arc::new(Shared {
                objects: ArcSwap::from_pointee(Snapshot::new()),
                changes: broadcast::channel(MAX_PENDING_CHANGES).0,
                progress: watch::channel(Progress::default()).0,
            }),
        };
        let writer = Writer::new(view.shared.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = writer.run(events) => {}
                () = shutdown.cancelled() => {}
            }
        });
        view
    }

    /// A view of fixed objects, for tests of what reads views.
    pub fn of(objects: impl IntoIterator<Item = K>) -> Self {
        let objects = objects.into_iter().map(|object| (Key::of(&object), Arc::new(object))).collect();
        Self {
            shared: Arc::new(Shared {
                objects: ArcSwap::from_pointee(objects),
                changes: broadcast::channel(1).0,
                progress: watch::channel(Progress { synced: true, revision: u64::MAX, lists: 1 }).0,
            }),
        }
    }

    /// One object. `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shared.objects.load().get(&Key::new(namespace, name)).cloned()
    }

    /// One object by key.
    pub fn by_key(&self, key: &Key) -> Option<Arc<K>> {
        self.shared.objects.load().get(key).cloned()
    }

    /// Everything at this moment, ordered by namespace and name.
    pub fn snapshot(&self) -> Arc<Snapshot<K>> {
        self.shared.objects.load_full()
    }

    /// Every object, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.objects.load().values().cloned().collect()
    }

    /// The objects of one namespace; the cost is that of the namespace, not of the cluster.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.shared.objects.load();
        let from = Key::new(namespace, "");
        objects
            .range(from..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.objects.load().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        let mut progress = self.shared.progress.subscribe();
        // The sender lives in `self.shared`, so waiting cannot fail while `self` is borrowed.
        let _ = progress.wait_for(|progress| progress.synced).await;
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        self.shared.progress.borrow().synced
    }

    /// The changes from now on. A receiver that lags by more than [`MAX_PENDING_CHANGES`] gets `Lagged` and should look
    /// at [`View::list`] again; [`View::follow`] does so by itself.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Change<K>>> {
        self.shared.changes.subscribe()
    }

    /// Calls `on_change` for every object there is (as if new), then for every change, until `shutdown`. After a lag it
    /// is called for what went meanwhile, and for every object again. Something may be told twice, and what came and went
    /// within a lag is not told; nothing else is missed.
    pub fn follow(
        &self,
        shutdown: CancellationToken,
        mut on_change: impl FnMut(&Change<K>) + Send + 'static,
    ) {
        let view = self.clone();
        tokio::spawn(async move {
            let mut changes = view.changes();
            tokio::select! { () = view.synced() => {}, () = shutdown.cancelled() => return }
            // Subscribed before the list is read, so nothing falls between the two.
            let mut told = view.snapshot();
            replay(&told, &told, &mut on_change);
            loop {
                let received = tokio::select! { received = changes.recv() => received, () = shutdown.cancelled() => return };
                match received {
                    Ok(change) => on_change(&change),
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        let now = view.snapshot();
                        replay(&told, &now, &mut on_change);
                        told = now;
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                }
                if changes.is_empty() {
                    // All that was sent has been told, so what is held now is at most a change ahead.
                    told = view.snapshot();
                }
            }
        });
    }

    /// Waits until the view holds `written`, the answer of a create, update, patch or graceful delete, or something
    /// newer. Gives up after [`MAX_CATCH_UP`].
    pub async fn caught_up(&self, written: &impl Resource) {
        let key = Key::of(written);
        let revision = revision(written);
        self.wait(
            || self.by_key(&key).is_some_and(|held| self::revision(held.as_ref()) >= revision),
            revision,
        )
        .await;
    }

    /// Waits until the view no longer holds the live object with this key and uid: it is gone, replaced, or marked as
    /// being deleted.
    pub async fn caught_up_deleted(&self, key: &Key, uid: &str) {
        let gone = || {
            self.by_key(key).is_none_or(|held| {
                held.meta().uid.as_deref() != Some(uid) || held.meta().deletion_timestamp.is_some()
            })
        };
        self.wait(gone, u64::MAX).await;
    }

    async fn wait(&self, done: impl Fn() -> bool, revision: u64) {
        let mut progress = self.shared.progress.subscribe();
        let lists = progress.borrow().lists;
        let waited = tokio::time::timeout(MAX_CATCH_UP, async {
            while !done() && progress.borrow().revision < revision && progress.borrow().lists == lists {
                if progress.changed().await.is_err() {
                    return;
                }
            }
        });
        if waited.await.is_err() {
            tracing::warn!(
                kind = std::any::type_name::<K>(),
                "the watch is behind our own writes; going on without it"
            );
        }
    }
}

/// `metadata.resourceVersion` as a number; zero when absent or opaque.
pub fn revision(object: &impl Resource) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Tells what is in `before` and no longer in `now`, and all that is in `now`.
fn replay<K>(before: &Snapshot<K>, now: &Snapshot<K>, on_change: &mut impl FnMut(&Change<K>)) {
    for (_, old) in before.iter().filter(|(key, _)| !now.contains_key::<Key>(key)) {
        on_change(&Change { old: Some(old.clone()), new: None });
    }
    for object in now.values() {
        on_change(&Change { old: None, new: Some(object.clone()) });
    }
}

#[cfg(test)]
mod tests;
