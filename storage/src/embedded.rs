//! The store in this process: an append-only log on disk, and everything in memory.
//!
//! One thread writes. It gathers all waiting proposals into one record, appends it, calls
//! `fdatasync` once, and only then shows and acknowledges what it wrote. Readers take a snapshot
//! of a persistent map and never wait for it. Recent changes are kept, bounded in number and bytes, over
//! restarts too; a past state is made by undoing them. A watch or a list that asks for more gets
//! [`Error::Compacted`].

pub mod disk;
mod log;
mod state;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::lock::DirLock;
use crate::{Entry, Error, Event, Expect, Notice, Op, Page, Range, Result, Revision, Storage, Watch};
use disk::{Disk, Folder};
use state::{Replay, Shared, Signals};
use writer::Proposal;

/// Bounds of the store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Changes kept for watches and for lists at past revisions.
    pub history_events: usize,
    /// Bytes of values kept for the same.
    pub history_bytes: usize,
    /// The log is rewritten when it has this many bytes and more than twice what is live.
    pub rewrite_bytes: u64,
    /// Proposals that may wait for the disk; further ones wait to be accepted.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { history_events: 50_000, history_bytes: 64 << 20, rewrite_bytes: 64 << 20, queue: 4096 }
    }
}

/// A thread that is waited for when this is dropped.
struct Joined(Option<std::thread::JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

/// A store in a directory of its own.
pub struct Embedded {
    shared: Arc<Shared>,
    proposals: mpsc::Sender<Proposal>,
    // Fields are dropped in this order: the queue closes, the writer ends, and only then may
    // somebody else have the directory.
    _writer: Joined,
    _lock: Option<DirLock>,
}

impl Embedded {
    /// Opens the store in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has the directory, [`Error::Unavailable`] if it cannot be
    /// used, [`Error::Corrupt`] if what is there was not written by this store or has been damaged.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let lock = DirLock::take(dir)?;
        let folder =
            Folder::new(dir).map_err(|error| Error::Unavailable(format!("{}: {error}", dir.display())))?;
        let mut store = Self::open_on(Arc::new(folder), options)?;
        store._lock = Some(lock);
        Ok(store)
    }

    /// Opens the store on a disk that nobody else uses.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self> {
        let (log, contents) = log::Log::open(disk)?;
        let mut replay = Replay::new(&options);
        contents.ops().for_each(|op| replay.take(op));
        drop(contents);
        let shared = Arc::new(Shared::new(replay));
        let (proposals, queue) = mpsc::channel(options.queue);
        let thread = writer::spawn(shared.clone(), log, queue, options)
            .map_err(|error| Error::Unavailable(format!("no thread for the store: {error}")))?;
        Ok(Self { shared, proposals, _writer: Joined(Some(thread)), _lock: None })
    }
}

impl Embedded {
    /// Forgets all of the past, on disk too: what values said before they were overwritten is in the log no more
    /// a moment later.
    ///
    /// # Errors
    /// As [`Storage::compact`].
    pub fn scrub(&self) -> Result<()> {
        self.shared.compact(self.shared.newest().revision)?;
        self.shared.ask_scrub();
        Ok(())
    }

    /// Forgets what is older than `interval`, every `interval`, as kube-apiserver has etcd do: clients that read a list
    /// in pages count on being told when its moment has passed. Never ends.
    pub async fn keep_compacted(self: Arc<Self>, interval: Duration) {
        loop {
            let seen = self.shared.newest().revision;
            tokio::time::sleep(interval).await;
            if let Err(error) = self.shared.compact(seen) {
                tracing::warn!(%error, "the store could not be compacted");
            }
        }
    }
}

#[async_trait::async_trait]
impl Storage for Embedded {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision)> {
        let state = self.shared.newest();
        Ok((state.entry(key), state.revision))
    }

    async fn list(&self, prefix: &str, range: Range) -> Result<Page> {
        let state = match range.at {
            Some(at) => self.shared.at(at)?,
            None => self.shared.newest(),
        };
        Ok(state.page(prefix, &range))
    }

    async fn write(&self, key: &str, expect: Expect, op: Op) -> Result<Revision> {
        let (answer, answered) = oneshot::channel();
        let proposal = Proposal { key: key.into(), expect, op, answer };
        let gone = || Error::Unavailable("the store has stopped".into());
        self.proposals.send(proposal).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch> {
        let newest = self.shared.newest().revision;
        if after > newest {
            return Err(Error::Future { asked: after, newest });
        }
        self.shared.events(after)?;
        let signals = self.shared.subscribe();
        let answered = signals.borrow().nudges;
        let shared = self.shared.clone();
        let watcher = Watcher { shared, signals, answered, prefix: prefix.to_owned(), after, ended: false };
        Ok(Box::pin(stream::unfold(watcher, |mut watcher| async move {
            let notice = watcher.next().await?;
            Some((notice, watcher))
        })))
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(self.shared.newest().revision)
    }

    async fn request_progress(&self) -> Result<()> {
        self.shared.nudge();
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.shared.compact(revision)
    }
}

struct Watcher {
    shared: Arc<Shared>,
    signals: watch::Receiver<Signals>,
    /// The nudges that were answered: one that comes between two polls is not lost.
    answered: u64,
    prefix: String,
    after: Revision,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Notice>> {
        if self.ended {
            return None;
        }
        loop {
            let nudges = self.signals.borrow_and_update().nudges;
            let (events, revision) = match self.shared.events(self.after) {
                Ok(found) => found,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            let progressed = revision > self.after;
            self.after = revision;
            let own: Vec<Event> = events
                .iter()
                .filter(|event| event.key.starts_with(&self.prefix))
                .map(|event| (**event).clone())
                .collect();
            if !own.is_empty() {
                return Some(Ok(Notice::Events(own)));
            }
            if progressed || nudges > self.answered {
                self.answered = nudges;
                return Some(Ok(Notice::Progress(revision)));
            }
            if self.signals.changed().await.is_err() {
                self.ended = true;
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn put(value: &'static [u8]) -> Op {
        Op::Put { value: value.into(), ttl_s: None }
    }

    #[tokio::test]
    async fn a_second_open_is_refused_until_the_first_has_ended_its_writes() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let store = Embedded::open(dir.path(), Options::default()).unwrap();
            assert!(matches!(
                Embedded::open(dir.path(), Options::default()),
                Err(Error::InUse { pid: Some(pid), .. }) if pid == std::process::id()
            ));
            // Proposed, but the caller hangs up before the answer.
            let mut write = Box::pin(store.write("/a", Expect::Any, put(b"x")));
            let _ = futures::poll!(&mut write);
            drop(write);
            drop(store);
            let store = Embedded::open(dir.path(), Options::default()).unwrap();
            assert_eq!(store.revision().await.unwrap(), round + 1);
        }
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_rewrites_and_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { rewrite_bytes: 256, ..Options::default() };
        let store = Embedded::open(dir.path(), options.clone()).unwrap();
        for _ in 0..50 {
            store.write("/a", Expect::Any, put(b"some value")).await.unwrap();
        }
        store.write("/b", Expect::Absent, put(b"other")).await.unwrap();
        store.write("/b", Expect::Any, Op::Delete).await.unwrap();
        drop(store);
        let store = Embedded::open(dir.path(), options).unwrap();
        let page = store.list("/", Range::default()).await.unwrap();
        assert_eq!((page.revision, page.entries.len(), page.entries[0].revision), (52, 1, 50));
        // The past is there too: whoever followed goes on.
        let past = store.list("/", Range { at: Some(51), ..Range::default() }).await.unwrap();
        assert_eq!(past.entries.len(), 2);
        let mut watch = store.watch("/b", 50).await.unwrap();
        let Some(Ok(Notice::Events(events))) = watch.next().await else { panic!("no events") };
        assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), [51, 52]);
    }

    #[tokio::test]
    async fn what_was_overwritten_can_be_wiped_from_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        store.write("/a", Expect::Any, put(b"hush-hush")).await.unwrap();
        store.write("/a", Expect::Any, put(b"other")).await.unwrap();
        let on_disk = || {
            let files = std::fs::read_dir(dir.path()).unwrap();
            let mut all = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap_or_default());
            let all: Vec<u8> = all.by_ref().collect();
            all.windows(9).any(|part| part == b"hush-hush")
        };
        assert!(on_disk(), "the log remembers");
        store.scrub().unwrap();
        tokio::time::timeout(Duration::from_secs(20), async {
            while on_disk() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("it is wiped");
        drop(store);
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        let page = store.list("/", Range::default()).await.unwrap();
        assert_eq!((page.revision, &page.entries[0].value[..]), (2, &b"other"[..]));
    }

    #[tokio::test]
    async fn what_is_older_than_an_interval_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
        let put = |value: &str| Op::Put { value: value.to_owned().into(), ttl_s: None };
        let first = store.write("/a", Expect::Any, put("1")).await.unwrap();
        let newest = store.write("/a", Expect::Any, put("2")).await.unwrap();
        let at = |revision| store.list("/", Range { at: Some(revision), ..Range::default() });
        assert_eq!(at(first).await.unwrap().entries[0].value, "1");
        let compacting = tokio::spawn(store.clone().keep_compacted(Duration::from_millis(1)));
        while at(first).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(at(first).await, Err(Error::Compacted { .. })));
        assert_eq!(at(newest).await.unwrap().entries[0].value, "2");
        compacting.abort();
    }
}
