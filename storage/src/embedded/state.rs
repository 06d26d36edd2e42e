//! Everything that is stored, as values that are cheap to clone; and the recent past.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use imbl::OrdMap;
use tokio::sync::watch;

use super::Options;
use super::log::LogOp;
use crate::{Entry, Error, Event, Page, Range, Result, Revision};

/// A value with the revision that made it, and when it ends (seconds since 1970).
#[derive(Debug, Clone)]
pub struct Stored {
    pub value: Bytes,
    pub revision: Revision,
    pub ends_s: Option<u64>,
}

/// The state after one revision.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub map: OrdMap<Arc<str>, Stored>,
    pub revision: Revision,
    /// Bytes of keys and values.
    pub live_bytes: u64,
}

impl State {
    /// Takes in one operation from the log.
    pub fn replay(&mut self, op: LogOp<'_>) {
        self.apply(
            &Arc::from(op.key),
            op.value.map(|value| (Bytes::copy_from_slice(value), op.ends_s)),
            op.revision,
        );
    }

    /// Stores or removes a value.
    pub fn apply(
        &mut self,
        key: &Arc<str>,
        value: Option<(Bytes, Option<u64>)>,
        revision: Revision,
    ) -> Option<Stored> {
        let weight = |stored: &Stored| (key.len() + stored.value.len()) as u64;
        let old = match value {
            Some((value, ends_s)) => {
                let stored = Stored { value, revision, ends_s };
                self.live_bytes += weight(&stored);
                self.map.insert(key.clone(), stored)
            }
            None => self.map.remove(key),
        };
        if let Some(old) = &old {
            self.live_bytes -= weight(old);
        }
        self.revision = self.revision.max(revision);
        old
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<Entry> {
        let stored = self.map.get(key)?;
        Some(Entry { key: key.to_owned(), value: stored.value.clone(), revision: stored.revision })
    }

    /// One page below a prefix.
    pub fn page(&self, prefix: &str, range: &Range) -> Page {
        let start = range.after.as_deref().filter(|after| *after >= prefix).unwrap_or(prefix);
        let mut below = self
            .map
            .range(Arc::<str>::from(start)..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| range.after.as_deref().is_none_or(|after| &***key > after));
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let entries: Vec<Entry> = below
            .by_ref()
            .take(limit)
            .map(|(key, stored)| Entry {
                key: key.to_string(),
                value: stored.value.clone(),
                revision: stored.revision,
            })
            .collect();
        let remaining = below.count() as u64;
        Page { revision: self.revision, entries, more: remaining > 0, remaining: Some(remaining) }
    }
}

/// What readers see, and what the writer replaces.
pub struct Shared {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    history_events: usize,
    history_bytes: usize,
}

struct Inner {
    newest: State,
    /// The states before recent changes, oldest first, each with the change that followed it.
    past: VecDeque<(State, Arc<Event>)>,
    bytes: usize,
    oldest: Revision,
}

impl Shared {
    pub fn new(state: State, options: &Options) -> Self {
        let oldest = state.revision;
        Self {
            inner: Mutex::new(Inner { newest: state, past: VecDeque::new(), bytes: 0, oldest }),
            changed: watch::Sender::new(0),
            history_events: options.history_events,
            history_bytes: options.history_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// The newest state.
    pub fn newest(&self) -> State {
        self.lock().newest.clone()
    }

    /// The state after `revision`.
    pub fn at(&self, revision: Revision) -> Result<State> {
        let inner = self.lock();
        if revision > inner.newest.revision {
            return Err(Error::Future { asked: revision, newest: inner.newest.revision });
        }
        if revision < inner.oldest {
            return Err(Error::Compacted { asked: revision, oldest: inner.oldest });
        }
        let next = inner.past.partition_point(|(_, event)| event.revision <= revision);
        let mut state = inner.past.get(next).map_or_else(|| inner.newest.clone(), |(state, _)| state.clone());
        state.revision = state.revision.max(revision);
        Ok(state)
    }

    /// The changes after `after`, and the newest revision.
    pub fn events(&self, after: Revision) -> Result<(Vec<Arc<Event>>, Revision)> {
        let inner = self.lock();
        if after < inner.oldest {
            return Err(Error::Compacted { asked: after, oldest: inner.oldest });
        }
        let start = inner.past.partition_point(|(_, event)| event.revision <= after);
        Ok((inner.past.range(start..).map(|(_, event)| event.clone()).collect(), inner.newest.revision))
    }

    /// Follows changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Wakes every watch.
    pub fn nudge(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Shows what has been written: the states before each change, and the newest.
    pub fn publish(&self, newest: State, changes: Vec<(State, Event)>) {
        let mut inner = self.lock();
        for (before, event) in changes {
            inner.bytes += weight(&event);
            inner.past.push_back((before, Arc::new(event)));
        }
        while inner.past.len() > self.history_events || inner.bytes > self.history_bytes {
            inner.forget_oldest();
        }
        inner.newest = newest;
        drop(inner);
        self.nudge();
    }

    /// Forgets the past before `revision`.
    pub fn compact(&self, revision: Revision) {
        let mut inner = self.lock();
        while inner.past.front().is_some_and(|(_, event)| event.revision <= revision) {
            inner.forget_oldest();
        }
    }

    /// When values end: time to keys, for the writer to begin with.
    pub fn endings(&self) -> BTreeMap<u64, Vec<(Arc<str>, Revision)>> {
        let mut endings: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (key, stored) in &self.lock().newest.map {
            if let Some(ends_s) = stored.ends_s {
                endings.entry(ends_s).or_default().push((key.clone(), stored.revision));
            }
        }
        endings
    }
}

impl Inner {
    fn forget_oldest(&mut self) {
        if let Some((_, event)) = self.past.pop_front() {
            self.bytes -= weight(&event);
            self.oldest = event.revision;
        }
    }
}

fn weight(event: &Event) -> usize {
    let previous = event.previous.as_ref().map_or(0, |(value, _)| value.len());
    event.key.len() + event.value.as_ref().map_or(0, Bytes::len) + previous + 128
}
