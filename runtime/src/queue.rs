//! The work queue: keys waiting to be reconciled, never two at once for one key.
//!
//! A key added while it is being worked on is worked on once more afterwards. A key added twice before its turn has one
//! turn. A failed key comes back after a delay that doubles; a success forgets its failures.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Keys a queue holds unless told otherwise. A key is an object, so this is more objects than a cluster holds.
pub const DEFAULT_CAPACITY: usize = 1_000_000;
/// The delay after the first failure; it doubles with each one.
pub const FIRST_RETRY: Duration = Duration::from_millis(5);
/// The longest delay after failures.
pub const LAST_RETRY: Duration = Duration::from_secs(60);

/// A queue of keys; clones share it.
pub struct Queue<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    name: &'static str,
    capacity: usize,
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// In `ready`, or to be put there when their present turn ends.
    dirty: HashSet<T>,
    working: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    due: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, u32>,
    sequence: u64,
}

/// Failures of a key in a row that are logged for debugging only.
const QUIET_FAILURES: u32 = 3;

/// What a reconciliation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until something changes.
    Done,
    /// Look again after this long, even if nothing changes.
    After(Duration),
}

// === impl Queue ===

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Queue<T> {
    /// An empty queue; `name` stands in logs.
    pub fn new(name: &'static str) -> Self {
        Self::with_capacity(name, DEFAULT_CAPACITY)
    }

    /// An empty queue that holds at most `capacity` keys; further ones are refused and logged.
    pub fn with_capacity(name: &'static str, capacity: usize) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
        };
        Self { inner: Arc::new(Inner { name, capacity, state: Mutex::new(state), wake: Notify::new() }) }
    }

    /// Its turn comes as soon as a worker is free. False when the queue is full.
    pub fn add(&self, key: T) -> bool {
        let mut state = self.lock();
        if state.dirty.contains(&key) {
            return true;
        }
        if state.dirty.len() >= self.inner.capacity {
            tracing::error!(
                queue = self.inner.name,
                capacity = self.inner.capacity,
                "queue full, key refused"
            );
            return false;
        }
        state.dirty.insert(key.clone());
        if !state.working.contains(&key) {
            state.ready.push_back(key);
            self.inner.wake.notify_one();
        }
        true
    }

    /// Its turn comes after `delay`. Of several delays for one key the earliest holds.
    pub fn add_after(&self, key: T, delay: Duration) -> bool {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.lock();
        let at = Instant::now() + delay;
        if let Some(&slot) = state.due.get(&key) {
            if slot.0 <= at {
                return true;
            }
            state.delayed.remove(&slot);
        } else if state.due.len() >= self.inner.capacity {
            tracing::error!(
                queue = self.inner.name,
                capacity = self.inner.capacity,
                "queue full, delayed key refused"
            );
            return false;
        }
        state.sequence += 1;
        let slot = (at, state.sequence);
        state.due.insert(key.clone(), slot);
        state.delayed.insert(slot, key);
        self.inner.wake.notify_one();
        true
    }

    /// Its turn comes after a delay that doubles with each call, with jitter, until [`Queue::forget`].
    /// Answers how often it has failed in a row.
    pub fn retry(&self, key: T) -> u32 {
        let failures = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures += 1;
            *failures
        };
        self.add_after(key, retry_delay(failures, rand::random_range(0.8..1.2)));
        failures
    }

    /// The next failure counts as the first one.
    pub fn forget(&self, key: &T) {
        self.lock().failures.remove(key);
    }

    /// How many keys wait for a worker.
    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next key, waiting for one. The caller must give it back with [`Queue::done`].
    pub async fn next(&self) -> T {
        loop {
            let wait_until = {
                let mut state = self.lock();
                state.promote(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() {
                        // A permit of `Notify` is one, whatever the number of keys: pass it on.
                        self.inner.wake.notify_one();
                    }
                    return key;
                }
                state.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            let notified = self.inner.wake.notified();
            match wait_until {
                Some(at) => tokio::select! { () = notified => {}, () = tokio::time::sleep_until(at) => {} },
                None => notified.await,
            }
        }
    }

    /// Ends a key's turn.
    pub fn done(&self, key: &T) {
        let mut state = self.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            self.inner.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing below panics while it holds the lock, and the state would still be whole if it did.
        self.inner.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            if self.dirty.insert(key.clone()) && !self.working.contains(&key) {
                self.ready.push_back(key);
            }
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }
}

/// The delay after so many failures in a row; `jitter` scales it.
fn retry_delay(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(LAST_RETRY).mul_f64(jitter)
}

/// Runs `reconcile` for each key, at most `workers` at once, until `shutdown`; turns under way are then finished. An
/// error or a panic is logged and the key retried.
pub async fn run<T, F, R, E>(queue: Queue<T>, workers: usize, reconcile: F, shutdown: CancellationToken)
where
    T: Clone + Eq + Hash + Debug + Send + 'static,
    F: Fn(T) -> R,
    R: Future<Output = Result<Action, E>>,
    E: Display,
{
    let worker = || async {
        loop {
            let key = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                key = queue.next() => key,
            };
            match AssertUnwindSafe(reconcile(key.clone())).catch_unwind().await {
                Ok(Ok(action)) => {
                    queue.forget(&key);
                    if let Action::After(delay) = action {
                        queue.add_after(key.clone(), delay);
                    }
                }
                Ok(Err(error)) => {
                    // A conflict or two is the ordinary course of things; what stays is worth a look.
                    let failures = queue.retry(key.clone());
                    let error = format_args!("{error:#}");
                    if failures > QUIET_FAILURES {
                        tracing::warn!(queue = queue.inner.name, ?key, failures, %error, "will try again");
                    } else {
                        tracing::debug!(queue = queue.inner.name, ?key, failures, %error, "will try again");
                    }
                }
                Err(_) => {
                    tracing::error!(
                        queue = queue.inner.name,
                        ?key,
                        "reconciliation panicked, will try again"
                    );
                    queue.retry(key.clone());
                }
            }
            queue.done(&key);
        }
    };
    futures::future::join_all((0..workers.max(1)).map(|_| worker())).await;
}

#[cfg(test)]
mod tests;
