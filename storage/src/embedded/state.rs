//! Everything that is stored, as values that are cheap to clone; and the recent past.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
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

    /// Stores or removes a value, and says what changed.
    pub fn change(
        &mut self,
        key: &Arc<str>,
        value: Option<(Bytes, Option<u64>)>,
        revision: Revision,
    ) -> Event {
        let new = value.as_ref().map(|(value, _)| value.clone());
        let previous = self.apply(key, value, revision).map(|old| (old.value, old.revision));
        Event { key: key.to_string(), revision, value: new, previous }
    }

    /// Goes back to `revision` over the changes that came after it, oldest first. When values end is not recalled.
    fn undo(&mut self, later: &[Arc<Event>], revision: Revision) {
        for event in later.iter().rev() {
            match &event.previous {
                Some((value, revision)) => {
                    let stored = Stored { value: value.clone(), revision: *revision, ends_s: None };
                    self.map.insert(event.key.as_str().into(), stored);
                }
                None => {
                    self.map.remove(event.key.as_str());
                }
            }
        }
        self.revision = revision;
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

/// Past states that are kept once they have been asked for.
const RECALLED: usize = 4;

/// Reads a log: the newest state, and the recent past as far as the log tells it.
pub struct Replay {
    inner: Inner,
    bounds: Bounds,
}

impl Replay {
    pub fn new(options: &Options) -> Self {
        let bounds = Bounds { events: options.history_events, bytes: options.history_bytes };
        Self { inner: Inner::default(), bounds }
    }

    /// Takes in one operation.
    pub fn take(&mut self, op: LogOp<'_>) {
        let inner = &mut self.inner;
        if op.key.is_empty() {
            // A state follows, and not how it came to be.
            inner.newest.revision = op.revision;
            inner.oldest = op.revision;
            return;
        }
        let value = op.value.map(|value| (Bytes::copy_from_slice(value), op.ends_s));
        if op.revision <= inner.oldest {
            inner.newest.apply(&Arc::from(op.key), value, op.revision);
            return;
        }
        let event = inner.newest.change(&Arc::from(op.key), value, op.revision);
        inner.remember(event, &self.bounds);
    }
}

/// What readers see, and what the writer replaces.
pub struct Shared {
    inner: Mutex<Inner>,
    signals: watch::Sender<Signals>,
    bounds: Bounds,
    /// The log is to be rewritten, whether or not that is worth it.
    scrub: AtomicBool,
}

/// What wakes watches; the counts only grow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signals {
    changes: u64,
    /// How often progress was asked for.
    pub nudges: u64,
}

/// How much of the past is kept.
struct Bounds {
    events: usize,
    bytes: usize,
}

#[derive(Default)]
struct Inner {
    newest: State,
    /// Recent changes, oldest first.
    past: VecDeque<Arc<Event>>,
    bytes: usize,
    oldest: Revision,
    /// Past states that were asked for lately, the latest last: who reads a list in pages asks for one again and again.
    recalled: VecDeque<State>,
}

impl Shared {
    pub fn new(replay: Replay) -> Self {
        Self {
            inner: Mutex::new(replay.inner),
            signals: watch::Sender::default(),
            bounds: replay.bounds,
            scrub: AtomicBool::new(false),
        }
    }

    /// Asks for the log to be rewritten.
    pub fn ask_scrub(&self) {
        self.scrub.store(true, Ordering::Release);
    }

    /// Whether that was asked since the last call.
    pub fn take_scrub(&self) -> bool {
        self.scrub.swap(false, Ordering::AcqRel)
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
        let (mut state, later) = {
            let mut inner = self.lock();
            if revision > inner.newest.revision {
                return Err(Error::Future { asked: revision, newest: inner.newest.revision });
            }
            if revision < inner.oldest {
                return Err(Error::Compacted { asked: revision, oldest: inner.oldest });
            }
            let start = inner.past.partition_point(|event| event.revision <= revision);
            if start == inner.past.len() {
                return Ok(inner.newest.clone());
            }
            if let Some(at) = inner.recalled.iter().position(|state| state.revision == revision)
                && let Some(state) = inner.recalled.remove(at)
            {
                inner.recalled.push_back(state.clone());
                return Ok(state);
            }
            let later: Vec<Arc<Event>> = inner.past.range(start..).cloned().collect();
            (inner.newest.clone(), later)
        };
        // Not under the lock: the writer must not wait for a long way back.
        state.undo(&later, revision);
        let mut inner = self.lock();
        inner.recalled.push_back(state.clone());
        while inner.recalled.len() > RECALLED {
            inner.recalled.pop_front();
        }
        Ok(state)
    }

    /// The changes after `after`, and the newest revision.
    pub fn events(&self, after: Revision) -> Result<(Vec<Arc<Event>>, Revision)> {
        let inner = self.lock();
        if after < inner.oldest {
            return Err(Error::Compacted { asked: after, oldest: inner.oldest });
        }
        let start = inner.past.partition_point(|event| event.revision <= after);
        Ok((inner.past.range(start..).cloned().collect(), inner.newest.revision))
    }

    /// The oldest state that is remembered, and the changes, oldest first, that lead from it to the newest.
    pub fn history(&self) -> (State, VecDeque<Arc<Event>>, State) {
        let (past, newest, oldest) = {
            let inner = self.lock();
            (inner.past.clone(), inner.newest.clone(), inner.oldest)
        };
        let mut state = newest.clone();
        state.undo(past.as_slices().1, oldest);
        state.undo(past.as_slices().0, oldest);
        (state, past, newest)
    }

    /// Bytes that the past holds, about.
    pub fn history_bytes(&self) -> u64 {
        self.lock().bytes as u64
    }

    /// Follows changes and nudges.
    pub fn subscribe(&self) -> watch::Receiver<Signals> {
        self.signals.subscribe()
    }

    /// Asks every watch for its progress.
    pub fn nudge(&self) {
        self.signals.send_modify(|signals| signals.nudges += 1);
    }

    /// Shows what has been written: the changes and the newest state.
    pub fn publish(&self, newest: State, changes: Vec<Event>) {
        let mut inner = self.lock();
        for event in changes {
            inner.remember(event, &self.bounds);
        }
        inner.newest = newest;
        drop(inner);
        self.signals.send_modify(|signals| signals.changes += 1);
    }

    /// Forgets the past before `revision`.
    pub fn compact(&self, revision: Revision) -> Result<()> {
        let mut inner = self.lock();
        if revision > inner.newest.revision {
            return Err(Error::Future { asked: revision, newest: inner.newest.revision });
        }
        while inner.past.front().is_some_and(|event| event.revision <= revision) {
            inner.forget_oldest();
        }
        Ok(())
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
    fn remember(&mut self, event: Event, bounds: &Bounds) {
        self.bytes += weight(&event);
        self.past.push_back(Arc::new(event));
        while self.past.len() > bounds.events || self.bytes > bounds.bytes {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.past.pop_front() {
            self.bytes -= weight(&event);
            self.oldest = event.revision;
            let oldest = self.oldest;
            self.recalled.retain(|state| state.revision >= oldest);
        }
    }
}

fn weight(event: &Event) -> usize {
    let previous = event.previous.as_ref().map_or(0, |(value, _)| value.len());
    event.key.len() + event.value.as_ref().map_or(0, Bytes::len) + previous + 128
}
