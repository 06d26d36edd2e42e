//! The cache of one kind: a map that is swapped whole, and a ring of recent changes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use bytes::Bytes;
use imbl::OrdMap;
use skiff_api::kind::Kind;
use skiff_api::status::Status;
use skiff_storage::{Entry, Event, Revision};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Item;
use crate::encryption::Unreadable;

/// Bytes of changes that a kind keeps for watches; the oldest go first.
const RING_BYTES: usize = 16 << 20;
/// Changes that a kind keeps for watches.
const RING_CHANGES: usize = 8192;

/// A kind's objects at one revision.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By `namespace/name` or `name`.
    pub items: OrdMap<Arc<str>, Arc<Item>>,
    /// What is stored and cannot be read, and why.
    pub unreadable: OrdMap<Arc<str>, Unreadable>,
    /// Everything up to here is in it.
    pub revision: Revision,
}

/// One change of one object.
#[derive(Debug)]
pub struct Change {
    /// When.
    pub revision: Revision,
    /// What it is now; `None` if it was deleted.
    pub new: Option<Arc<Item>>,
    /// What it was.
    pub old: Option<Arc<Item>>,
}

/// The changes asked for are no longer kept.
#[derive(Debug)]
pub struct Missed;

/// The cache of one kind.
pub struct KindCache {
    kind: Arc<Kind>,
    prefix: String,
    state: ArcSwap<Snapshot>,
    ring: Mutex<Ring>,
    /// What all kinds have reached: a quiet kind is as new as the busiest.
    reached: Arc<watch::Sender<Revision>>,
    changed: watch::Sender<Revision>,
    /// This kind is served no more, or otherwise.
    ended: CancellationToken,
}

#[derive(Default)]
struct Ring {
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    /// Changes after this revision are all here.
    complete_after: Revision,
}

impl KindCache {
    /// An empty cache; `reached` is the revision that all kinds have reached.
    pub fn new(kind: Arc<Kind>, reached: Arc<watch::Sender<Revision>>) -> Self {
        let prefix = format!("/{}/", kind.prefix);
        Self {
            kind,
            prefix,
            state: ArcSwap::default(),
            ring: Mutex::default(),
            reached,
            changed: watch::Sender::new(0),
            ended: CancellationToken::new(),
        }
    }

    /// The kind.
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// What the keys of this kind begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The newest state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // In this order: what has been reached is in the state.
        let reached = *self.reached.borrow();
        let state = self.state.load_full();
        if state.revision >= reached {
            return state;
        }
        Arc::new(Snapshot { revision: reached, ..(*state).clone() })
    }

    /// The object, if it is there.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Item>> {
        let state = self.state.load();
        if self.kind.namespaced {
            state.items.get(format!("{namespace}/{name}").as_str()).cloned()
        } else {
            state.items.get(name).cloned()
        }
    }

    /// Ends every watch of this cache.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Waits until the kind is served no more, or otherwise than this cache knows it.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Refuses an object that is there and cannot be read.
    ///
    /// # Errors
    /// 500, in upstream's words.
    pub fn check_readable(&self, namespace: &str, name: &str) -> Result<(), Status> {
        let state = self.state.load();
        if state.unreadable.is_empty() {
            return Ok(());
        }
        let key = if self.kind.namespaced { format!("{namespace}/{name}") } else { name.to_owned() };
        state.unreadable.get(key.as_str()).map_or(Ok(()), |why| Err(why.status()))
    }

    /// Follows this kind's own changes.
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.changed.subscribe()
    }

    /// The changes after a revision, and the revision that they lead to.
    pub fn changes(&self, after: Revision) -> Result<(Vec<Arc<Change>>, Revision), Missed> {
        let reached = *self.reached.borrow();
        let ring = self.ring();
        if after < ring.complete_after {
            return Err(Missed);
        }
        let start = ring.changes.partition_point(|change| change.revision <= after);
        let changes: Vec<_> = ring.changes.range(start..).cloned().collect();
        let last = changes.last().map_or(reached, |change| change.revision);
        Ok((changes, last.max(reached)))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("no holder of this lock panics")
    }

    /// Replaces everything; watches that were behind are told that they missed something.
    pub(super) fn reset(&self, entries: Vec<Entry>, revision: Revision) {
        let mut items = OrdMap::new();
        let mut unreadable = OrdMap::new();
        for entry in entries {
            if let Some(why) = Unreadable::of(&entry.value) {
                unreadable.insert(entry.key[self.prefix.len()..].into(), why);
                continue;
            }
            if let Some(item) = self.read(&entry.key, &entry.value, entry.revision) {
                items.insert(item.key.clone(), item);
            }
        }
        let mut ring = self.ring();
        *ring = Ring { complete_after: revision, ..Ring::default() };
        self.state.store(Arc::new(Snapshot { items, unreadable, revision }));
        drop(ring);
        self.changed.send_replace(revision);
    }

    /// Takes in changes, all of their revisions at once: whoever has seen one of a revision has seen
    /// them all. Only the follower of the store calls it.
    pub(super) fn apply(&self, events: Vec<Event>) {
        let mut state = (*self.state.load_full()).clone();
        let mut changes = Vec::with_capacity(events.len());
        // What is not newer was read when the kind was adopted.
        let had = state.revision;
        for event in events.into_iter().filter(|event| event.revision > had) {
            let key = &event.key[self.prefix.len()..];
            let old = state.items.get(key).cloned();
            state.unreadable.remove(key);
            if let Some(why) = event.value.as_deref().and_then(Unreadable::of) {
                // Watches are not told: it is neither changed nor gone as far as anyone can say.
                state.items.remove(key);
                state.unreadable.insert(key.into(), why);
                state.revision = event.revision;
                continue;
            }
            let new = event.value.and_then(|value: Bytes| self.read(&event.key, &value, event.revision));
            match &new {
                Some(item) => {
                    state.items.insert(item.key.clone(), item.clone());
                }
                None => {
                    state.items.remove(key);
                }
            }
            state.revision = event.revision;
            if new.is_some() || old.is_some() {
                changes.push(Arc::new(Change { revision: event.revision, new, old }));
            }
        }
        let revision = state.revision;
        let mut ring = self.ring();
        changes.into_iter().for_each(|change| ring.push(change));
        self.state.store(Arc::new(state));
        drop(ring);
        self.changed.send_replace(revision);
    }

    fn read(&self, key: &str, value: &[u8], revision: Revision) -> Option<Arc<Item>> {
        let item = Item::read(&self.kind, &key[self.prefix.len()..], value, revision);
        if item.is_none() {
            tracing::error!(key, "the store holds something that is not an object; it is not shown");
        }
        item.map(Arc::new)
    }
}

impl Ring {
    fn push(&mut self, change: Arc<Change>) {
        self.bytes += change.weight();
        self.changes.push_back(change);
        while self.bytes > RING_BYTES || self.changes.len() > RING_CHANGES {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.weight();
            self.complete_after = oldest.revision;
        }
    }
}

impl Change {
    fn weight(&self) -> usize {
        self.new.as_ref().or(self.old.as_ref()).map_or(0, |item| item.body.len())
    }
}
