//! The loop that keeps the kernel's rules as the state says.
//!
//! Watches mark services as dirty. The loop takes all that are dirty, compiles them, and runs one transaction; what comes
//! meanwhile is the next batch. So a single change is served at once, and a flood in few transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use skiff_runtime::Key;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::compile::{Facts, compile};
use crate::nft::Base;
use crate::rules::{Change, Container, Rules};
use crate::state::State;
use crate::{conntrack, host, nft};

/// The longest pause between attempts when the kernel refuses.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The services whose rules may be out of date.
#[derive(Debug, Default)]
pub struct Dirty {
    table_lost: AtomicBool,
    keys: Mutex<BTreeSet<Key>>,
    some: Notify,
}

impl Dirty {
    /// Marks services.
    pub fn mark(&self, keys: impl IntoIterator<Item = Key>) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
        self.some.notify_one();
    }

    /// Somebody else removed our table.
    pub fn table_lost(&self) {
        self.table_lost.store(true, Ordering::Relaxed);
        self.some.notify_one();
    }

    fn take(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps the rules.
#[derive(Debug)]
pub struct Engine {
    base: Base,
    facts: Facts,
    state: Arc<RwLock<State>>,
    dirty: Arc<Dirty>,
    rules: Rules,
    /// Whether the kernel's table is the one that `rules` says.
    in_step: bool,
}

impl Engine {
    /// An engine that begins with the whole table, in place of one left by an earlier run.
    pub fn new(base: Base, facts: Facts, state: Arc<RwLock<State>>, dirty: Arc<Dirty>) -> Self {
        Self { base, facts, state, dirty, rules: Rules::default(), in_step: false }
    }

    /// Runs until shutdown. The rules stay.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut pause = Duration::ZERO;
        loop {
            pause = match self.pass().await {
                Ok(()) => Duration::ZERO,
                Err(error) => {
                    // Once is no worry: somebody flushed the ruleset, and the whole table is made again.
                    tracing::warn!(%error, "the kernel refused rules; making the whole table anew");
                    (pause * 2).clamp(Duration::from_millis(50), MAX_PAUSE)
                }
            };
            let next = async {
                if pause.is_zero() {
                    self.dirty.some.notified().await
                } else {
                    tokio::time::sleep(pause).await
                }
            };
            tokio::select! { () = next => {}, () = shutdown.cancelled() => return }
        }
    }

    /// Brings the kernel up to date with all that is dirty.
    pub async fn pass(&mut self) -> crate::error::Result<()> {
        let change = self.catch_up();
        if self.dirty.table_lost.swap(false, Ordering::Relaxed) {
            self.in_step = false;
        }
        let text = match self.in_step {
            true if change.is_empty() => String::new(),
            true => nft::incremental(&change),
            false => nft::whole(&self.base, &self.rules.whole()),
        };
        if !text.is_empty() {
            let began = std::time::Instant::now();
            self.in_step = false;
            host::transact(&text).await?;
            self.in_step = true;
            tracing::debug!(bytes = text.len(), took = ?began.elapsed(), "rules are in place");
        }
        self.follow_up(change).await;
        Ok(())
    }

    fn catch_up(&mut self) -> Change {
        let dirty = self.dirty.take();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let compiled = |key: &Key| compile(state.get(key)?, state.slices_of(key), &self.facts);
        let parts: BTreeMap<Key, _> = dirty
            .into_iter()
            .map(|key| {
                let part = compiled(&key);
                (key, part)
            })
            .collect();
        self.rules.apply(parts)
    }

    /// What rules alone do not do.
    async fn follow_up(&self, change: Change) {
        let new_pods = change.add_elements.iter().any(|(element, _)| element.container == Container::Hairpin);
        let hairpin = new_pods && !self.base.masquerade_pods;
        let (cluster, stale) = (self.base.cluster, change.stale_udp);
        if !hairpin && stale.is_empty() {
            return;
        }
        let done = tokio::task::spawn_blocking(move || {
            if hairpin {
                host::bridges::allow_hairpin(cluster);
            }
            conntrack::forget(&stale)
        });
        match done.await {
            Ok(Ok(0)) => {}
            Ok(Ok(forgotten)) => tracing::debug!(forgotten, "UDP connections begin anew"),
            Ok(Err(error)) => tracing::warn!(%error, "UDP clients may keep an endpoint that is gone"),
            Err(error) => tracing::warn!(%error, "following up"),
        }
    }
}

/// Puts in order what others do to the rules of the machine, until shutdown.
pub async fn guard(base: &Base, dirty: &Dirty, shutdown: CancellationToken) {
    let changes = match host::changes::Changes::subscribe() {
        Ok(changes) => changes,
        Err(error) => {
            tracing::warn!(%error, "changes of the machine's rules by others go unnoticed");
            return;
        }
    };
    loop {
        tokio::select! { () = changes.settled() => {}, () = shutdown.cancelled() => return }
        host::accept_in_docker(base.cluster).await;
        if !host::has_table().await {
            tracing::info!("the rules for services are not there; making them");
            dirty.table_lost();
        }
    }
}
