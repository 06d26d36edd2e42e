//! The one thread that writes.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::Options;
use super::log::{Batch, Log, LogOp};
use super::state::{Shared, State};
use crate::{Error, Event, Expect, Op, Result, Revision};

/// Proposals that share one record at most.
const BATCH_MAX: usize = 512;
/// Bytes that share one record, about.
const BATCH_BYTES: usize = 8 << 20;
/// How often ended values are looked for when nothing is written.
const IDLE: Duration = Duration::from_secs(1);

/// A write on its way.
pub struct Proposal {
    pub key: Arc<str>,
    pub expect: Expect,
    pub op: Op,
    pub answer: oneshot::Sender<Result<Revision>>,
}

struct Writer {
    shared: Arc<Shared>,
    log: Log,
    options: Options,
    /// When values end.
    endings: BTreeMap<u64, Vec<(Arc<str>, Revision)>>,
    /// The log's bytes below which rewriting is not tried again after it failed.
    rewrite_at: u64,
}

/// Starts the thread; it ends when the last sender of `queue` does.
pub fn spawn(
    shared: Arc<Shared>,
    log: Log,
    mut queue: mpsc::Receiver<Proposal>,
    options: Options,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let endings = shared.endings();
    let mut writer = Writer { shared, log, options, endings, rewrite_at: 0 };
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("store".into()).spawn(move || {
        let mut waiting = Vec::with_capacity(BATCH_MAX);
        loop {
            waiting.clear();
            let received = clock.block_on(async {
                tokio::time::timeout(IDLE, queue.recv_many(&mut waiting, BATCH_MAX)).await
            });
            if received == Ok(0) {
                if let Err(error) = writer.log.close() {
                    tracing::warn!(%error, "the log could not be marked as whole");
                }
                return;
            }
            writer.end_values(&mut waiting);
            if waiting.is_empty() {
                if let Err(error) = writer.log.mark() {
                    tracing::warn!(%error, "the log could not be marked as whole");
                }
            } else {
                writer.write(&mut waiting);
            }
            writer.rewrite_if_due();
        }
    })
}

impl Writer {
    /// Turns values whose time is over into deletes.
    fn end_values(&mut self, waiting: &mut Vec<Proposal>) {
        let now = now_s();
        while let Some(entry) = self.endings.first_entry().filter(|entry| *entry.key() <= now) {
            for (key, revision) in entry.remove() {
                // Who reads the answer? Nobody: the value may have been written anew, and then stays.
                let (answer, _) = oneshot::channel();
                waiting.push(Proposal { key, expect: Expect::Revision(revision), op: Op::Delete, answer });
            }
        }
    }

    /// Values whose end could not be written end later.
    fn end_again(&mut self, refused: &[Event]) {
        let state = self.shared.newest();
        for event in refused {
            if let Some((key, stored)) = state.map.get_key_value(event.key.as_str())
                && let Some(ends_s) = stored.ends_s
            {
                self.endings.entry(ends_s).or_default().push((key.clone(), stored.revision));
            }
        }
    }

    fn write(&mut self, waiting: &mut Vec<Proposal>) {
        let mut waiting = waiting.drain(..).peekable();
        while waiting.peek().is_some() {
            let mut state = self.shared.newest();
            let mut batch = Batch::default();
            let mut changes = Vec::new();
            let mut answers = Vec::new();
            while batch.len() < BATCH_BYTES
                && let Some(proposal) = waiting.next()
            {
                match step(&mut state, &proposal, &mut batch) {
                    Ok(change) => {
                        answers.push((proposal.answer, Ok(change.revision)));
                        changes.push(change);
                    }
                    Err(error) => answers.push((proposal.answer, Err(error))),
                }
            }
            // Refusals wait too: whoever is told of a change before it can be read would try again from what
            // was there before it, and be refused again.
            if !batch.is_empty()
                && let Err(error) = self.log.append(&batch)
            {
                tracing::error!(%error, "the store cannot write; what was proposed is refused");
                self.end_again(&changes);
                for (answer, _) in answers {
                    let _ = answer.send(Err(refusal(&error)));
                }
                continue;
            }
            for event in &changes {
                if let Some(ends_s) = state.map.get(event.key.as_str()).and_then(|stored| stored.ends_s) {
                    let key: Arc<str> = event.key.as_str().into();
                    self.endings.entry(ends_s).or_default().push((key, event.revision));
                }
            }
            if !batch.is_empty() {
                self.shared.publish(state, changes);
            }
            for (answer, outcome) in answers {
                let _ = answer.send(outcome);
            }
        }
    }

    fn rewrite_if_due(&mut self) {
        let needed = self.shared.newest().live_bytes + self.shared.history_bytes();
        let large = self.log.len() >= self.options.rewrite_bytes.max(self.rewrite_at);
        let due = large && self.log.len() >= 2 * needed;
        if !due && !self.shared.take_scrub() {
            return;
        }
        let (oldest, past, newest) = self.shared.history();
        if let Err(error) = self.log.rewrite(snapshot(&oldest, &past, &newest)) {
            self.rewrite_at = self.log.len() + self.options.rewrite_bytes;
            tracing::warn!(%error, "the log could not be rewritten; it goes on growing");
        }
    }
}

/// A log that says the same in as few operations as can be: the oldest state that is remembered, and
/// what has changed since.
fn snapshot<'a>(
    oldest: &'a State,
    past: &'a VecDeque<Arc<Event>>,
    newest: &'a State,
) -> impl Iterator<Item = Batch> + 'a {
    let begin = LogOp { revision: oldest.revision, key: "", value: None, ends_s: None };
    // When a value ends is known of those that are still there; the others have been replaced since.
    let ends_s = |key: &str, revision: Revision| {
        newest.map.get(key).filter(|stored| stored.revision == revision).and_then(|stored| stored.ends_s)
    };
    let entries = oldest.map.iter().map(move |(key, stored)| LogOp {
        revision: stored.revision,
        key,
        value: Some(&stored.value),
        ends_s: ends_s(key, stored.revision),
    });
    let changes = past.iter().map(move |event| LogOp {
        revision: event.revision,
        key: &event.key,
        value: event.value.as_deref(),
        ends_s: ends_s(&event.key, event.revision),
    });
    let mut ops = std::iter::once(begin).chain(entries).chain(changes).peekable();
    std::iter::from_fn(move || {
        ops.peek()?;
        let mut batch = Batch::default();
        while batch.len() < BATCH_BYTES
            && let Some(op) = ops.next()
        {
            batch.push(op);
        }
        Some(batch)
    })
}

/// What the proposer of a write is told that could not be appended.
fn refusal(error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full(error.to_string()),
        _ => Error::Unavailable(format!("the store cannot write: {error}")),
    }
}

/// Decides one proposal on the state so far; adds it to the batch.
fn step(state: &mut State, proposal: &Proposal, batch: &mut Batch) -> Result<Event> {
    let key = &*proposal.key;
    let live = state.map.get(key);
    let holds = match proposal.expect {
        Expect::Any => true,
        Expect::Absent => live.is_none(),
        Expect::Revision(revision) => live.is_some_and(|stored| stored.revision == revision),
    };
    if !holds || (proposal.op == Op::Delete && live.is_none()) {
        return Err(Error::Mismatch(state.entry(key)));
    }
    let revision = state.revision + 1;
    let value: Option<(Bytes, Option<u64>)> = match &proposal.op {
        Op::Put { value, ttl_s } => Some((value.clone(), ttl_s.map(ends_s))),
        Op::Delete => None,
    };
    batch.push(LogOp {
        revision,
        key,
        value: value.as_ref().map(|(value, _)| &**value),
        ends_s: value.as_ref().and_then(|(_, ends_s)| *ends_s),
    });
    Ok(state.change(&proposal.key, value, revision))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A value lives its seconds in full: the one that has begun does not count.
fn ends_s(ttl_s: u64) -> u64 {
    now_s() + 1 + ttl_s
}
