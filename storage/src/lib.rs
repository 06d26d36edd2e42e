//! Revisions and watch over bytes.
//!
//! What it is: the one contract between the API server and whatever keeps its data, with two
//! implementations, [`embedded`] and [`etcd`]. It never looks inside a value, and knows no objects.
//!
//! Invariants, which the contract suite holds every implementation to:
//! - every successful write gets a revision greater than all before it, one per write;
//! - a write is acknowledged only after it is durable;
//! - a watch delivers every event after its starting revision once, in revision order, or ends
//!   with [`Error::Compacted`];
//! - a list at a revision shows exactly the state after that revision, or [`Error::Compacted`].

use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;

pub mod embedded;
pub mod etcd;
pub mod lock;

/// A point in the store's history; 0 is before the first write.
pub type Revision = u64;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole key, such as `/registry/pods/default/web`.
    pub key: String,
    /// What was written.
    pub value: Bytes,
    /// The revision of the write that made this value.
    pub revision: Revision,
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The revision that the page shows.
    pub revision: Revision,
    /// In key order.
    pub entries: Vec<Entry>,
    /// Whether keys remain behind the last entry.
    pub more: bool,
    /// How many keys of the prefix remain behind the last entry, where the store can tell.
    pub remaining: Option<u64>,
}

/// Which part of a prefix to list.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// Keys must be greater than this one; all of the prefix if `None`.
    pub after: Option<String>,
    /// At most so many entries; 0 is no limit.
    pub limit: usize,
    /// The revision to show; the newest if `None`.
    pub at: Option<Revision>,
}

/// What must be true of a key for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// The key does not exist.
    Absent,
    /// The key's newest value has this revision.
    Revision(Revision),
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Stores a value, for `ttl_s` seconds if given.
    Put {
        /// The value.
        value: Bytes,
        /// Seconds after which the store deletes the key by itself.
        ttl_s: Option<u64>,
    },
    /// Removes the key. Deleting an absent key under [`Expect::Any`] is a [`Error::Mismatch`].
    Delete,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key that changed.
    pub key: String,
    /// The revision of the change.
    pub revision: Revision,
    /// The new value; `None` when the key was deleted.
    pub value: Option<Bytes>,
    /// The value before, with its revision; `None` when the key was created.
    pub previous: Option<(Bytes, Revision)>,
}

/// What a watch delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Changes, in revision order; never empty.
    Events(Vec<Event>),
    /// No event at or below this revision is still to come.
    Progress(Revision),
}

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The expectation of a write did not hold; what is there instead.
    #[error("the key is not as expected")]
    Mismatch(Option<Entry>),
    /// The revision asked for has been compacted away.
    #[error("revision {asked} is compacted; the oldest is {oldest}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest revision that can be had.
        oldest: Revision,
    },
    /// The revision asked for has not happened yet.
    #[error("revision {asked} has not happened; the newest is {newest}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The newest there is.
        newest: Revision,
    },
    /// The store cannot be reached or failed; trying again later may help. Whether a write
    /// happened is not known.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The value is larger than the store takes; nothing was changed.
    #[error("the value is too large for the store: {0}")]
    TooLarge(String),
    /// Another process has the directory.
    #[error("another skiff{} uses {}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that has it, if it said so.
        pid: Option<u32>,
    },
    /// There is no room to write; reads go on. Nothing was written.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The value cannot be brought into the form in which it is kept; nothing was changed.
    #[error("{0}")]
    Transform(String),
    /// What is on disk is not what was written; the message names the file. Nothing was changed.
    #[error("{0}")]
    Corrupt(String),
}

/// The answer of every call.
pub type Result<T> = std::result::Result<T, Error>;

/// The stream of a watch; it ends after its first error.
pub type Watch = Pin<Box<dyn futures::Stream<Item = Result<Notice>> + Send>>;

/// What the API server needs of a store.
#[async_trait::async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The newest value of a key (a linearizable read), and the store's revision.
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision)>;
    /// The entries whose keys begin with `prefix`, in key order.
    async fn list(&self, prefix: &str, range: Range) -> Result<Page>;
    /// Changes one key if `expect` holds; answers with the revision of the change when it is
    /// durable. No key has [`Expect::Revision`] of 0, and an absent key cannot be deleted.
    async fn write(&self, key: &str, expect: Expect, op: Op) -> Result<Revision>;
    /// All changes below `prefix` with a revision greater than `after`. That they are compacted may
    /// be told by the call, or by the stream in place of the first event that cannot be had.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch>;
    /// The store's newest revision, by a linearizable read.
    async fn revision(&self) -> Result<Revision>;
    /// Asks every open watch to tell soon that it has reached the revision that the store has now, by
    /// events or by a [`Notice::Progress`], once more if it has told before. A watch that is still
    /// catching up may miss the question: ask again while waiting.
    async fn request_progress(&self) -> Result<()>;
    /// Forgets values that were overwritten or deleted at or before `revision`. What is forgotten
    /// already may be forgotten again.
    async fn compact(&self, revision: Revision) -> Result<()>;
    /// Whether the newest value of a key is kept in another form than it would be written in now: a write that changes
    /// nothing else is then worth its while. A store that keeps values as they are has none.
    async fn is_stale(&self, _key: &str) -> Result<bool> {
        Ok(false)
    }
}
