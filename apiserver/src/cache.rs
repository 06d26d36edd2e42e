//! One cache of everything stored, fed by one watch of the store.
//!
//! The watch covers all of `/registry/` and is split by prefix, so that any event advances every
//! kind's revision: a quiet kind is never stale. A change costs its own kind alone, however many there
//! are. Taking a snapshot is one atomic load; readers never block the writer.

mod adopt;
mod derived;
mod item;
mod kind;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use skiff_api::kind::{GroupResource, Kind, Registry};
use skiff_api::status::Status;
use skiff_storage::{Error, Event, Notice, Range, Revision, Storage};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use derived::Derived;
pub use item::{Item, shows_otherwise};
pub use kind::{Change, KindCache, Missed, Snapshot};

/// How long a read waits for the cache to reach the revision it needs.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a read that waits asks for the store's progress.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How long the first pause is after the store's watch failed; each further one is twice as long.
const BACKOFF: Duration = Duration::from_millis(50);
/// How long a pause is at most.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The caches of all kinds.
pub struct Cache {
    kinds: ArcSwap<Kinds>,
    storage: Arc<dyn Storage>,
    revision: Arc<watch::Sender<Revision>>,
    /// Who follows the store also changes which kinds there are, so that no event falls between.
    wishes: mpsc::Sender<adopt::Wish>,
}

/// The kinds' caches, by what each is looked for with.
#[derive(Default)]
struct Kinds {
    by_name: BTreeMap<GroupResource, Arc<KindCache>>,
    by_prefix: HashMap<String, Arc<KindCache>>,
}

impl Kinds {
    fn insert(&mut self, cache: Arc<KindCache>) {
        let kind = cache.kind();
        let name = GroupResource { group: kind.group.clone(), resource: kind.plural.clone() };
        self.by_prefix.insert(cache.prefix().to_owned(), cache.clone());
        self.by_name.insert(name, cache);
    }

    /// The kind that a key of the store belongs to: no scan, the key says it by one of its folders.
    fn owner(&self, key: &str) -> Option<&Arc<KindCache>> {
        key.match_indices('/').find_map(|(at, _)| self.by_prefix.get(&key[..=at]))
    }
}

impl Cache {
    /// Reads the whole store and follows it until `shutdown`.
    pub async fn start(
        storage: Arc<dyn Storage>,
        registry: &Registry,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let revision = Arc::new(watch::Sender::new(0));
        let mut kinds = Kinds::default();
        for kind in registry.iter().filter(|kind| kind.presents.is_none()) {
            kinds.insert(Arc::new(KindCache::new(kind.clone(), revision.clone())));
        }
        let (wishes, mut wished) = mpsc::channel(1);
        let cache = Arc::new(Self { kinds: ArcSwap::from_pointee(kinds), storage, revision, wishes });
        cache.fill().await?;
        tokio::spawn({
            let cache = cache.clone();
            async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = cache.follow(&mut wished) => {}
                }
            }
        });
        Ok(cache)
    }

    /// The cache of a kind.
    pub fn of(&self, kind: &Kind) -> Result<Arc<KindCache>, Status> {
        let (group, plural) = match &kind.presents {
            Some(other) => (&other.group, &other.plural),
            None => (&kind.group, &kind.plural),
        };
        self.find(group, plural).ok_or_else(Status::no_such_path)
    }

    /// The cache of a resource by name.
    pub fn find(&self, group: &str, resource: &str) -> Option<Arc<KindCache>> {
        let key = GroupResource { group: group.into(), resource: resource.into() };
        self.kinds.load().by_name.get(&key).cloned()
    }

    /// The newest revision that every kind's cache has reached.
    pub fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// Waits until the cache holds everything up to `revision`.
    pub async fn reach(&self, revision: Revision) -> Result<(), Status> {
        if self.revision() >= revision {
            return Ok(());
        }
        let mut seen = self.revision.subscribe();
        match tokio::time::timeout(PATIENCE, seen.wait_for(|at| *at >= revision)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Status::too_large_version(revision, self.revision())),
        }
    }

    /// Waits until the cache holds everything that was acknowledged before this call.
    pub async fn catch_up(&self) -> Result<(), Status> {
        let newest = self.storage.revision().await.map_err(unavailable)?;
        let mut asking = tokio::time::interval(ASK_AGAIN);
        let reached = self.reach(newest);
        tokio::pin!(reached);
        // A watch that is still catching up does not answer.
        loop {
            tokio::select! {
                biased;
                reached = &mut reached => return reached,
                _ = asking.tick() => self.storage.request_progress().await.map_err(unavailable)?,
            }
        }
    }

    /// Takes each kind's objects from the store, all at one revision.
    async fn fill(&self) -> Result<(), Error> {
        let revision = self.storage.revision().await?;
        for cache in self.kinds.load().by_name.values() {
            let range = Range { at: (revision > 0).then_some(revision), ..Range::default() };
            let page = self.storage.list(cache.prefix(), range).await?;
            cache.reset(page.entries, revision);
        }
        self.revision.send_replace(revision);
        Ok(())
    }

    async fn follow(&self, wished: &mut mpsc::Receiver<adopt::Wish>) {
        let mut backoff = BACKOFF;
        loop {
            let before = self.revision();
            match self.follow_once(wished).await {
                Ok(()) => {}
                Err(Error::Compacted { .. }) => {
                    if let Err(error) = self.fill().await {
                        tracing::warn!(%error, "cannot reread the store");
                    }
                }
                Err(error) => tracing::warn!(%error, "the store's watch failed"),
            }
            // The watch broke off: go on from the last revision seen.
            if self.revision() > before {
                backoff = BACKOFF;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn follow_once(&self, wished: &mut mpsc::Receiver<adopt::Wish>) -> Result<(), Error> {
        let mut watch = self.storage.watch("/registry/", self.revision()).await?;
        loop {
            let notice = tokio::select! {
                notice = watch.next() => notice,
                Some(wish) = wished.recv() => {
                    self.grant(wish).await?;
                    continue;
                }
            };
            let Some(notice) = notice else { return Ok(()) };
            let revision = match notice? {
                Notice::Events(events) => {
                    let newest = events.last().map_or(0, |event| event.revision);
                    self.apply(events);
                    newest
                }
                Notice::Progress(revision) => revision,
            };
            self.revision.send_if_modified(|at| {
                let newer = *at < revision;
                *at = revision.max(*at);
                newer
            });
        }
    }

    fn apply(&self, events: Vec<Event>) {
        let kinds = self.kinds.load();
        let mut by_kind: HashMap<&str, (&Arc<KindCache>, Vec<Event>)> = HashMap::new();
        for event in events {
            if let Some(cache) = kinds.owner(&event.key) {
                by_kind.entry(cache.prefix()).or_insert_with(|| (cache, Vec::new())).1.push(event);
            }
        }
        for (cache, events) in by_kind.into_values() {
            cache.apply(events);
        }
    }
}

/// What a client is told when the store does not answer; the cause is logged.
pub fn unavailable(error: Error) -> Status {
    tracing::warn!(%error, "the store failed");
    match error {
        Error::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        Error::Unavailable(_) => {
            let mut status = Status::new(503, "ServiceUnavailable", "the store is not available");
            status.details = Some(skiff_api::status::Details {
                retry_after_s: 1,
                ..skiff_api::status::Details::default()
            });
            status
        }
        Error::Transform(why) => Status::internal(why),
        // As kube-apiserver passes it on.
        Error::TooLarge(_) => Status::new(500, "", "etcdserver: request is too large"),
        Error::Full(_) => Status::internal(
            "the disk that holds the cluster's data is full: nothing was written; free some space and try again",
        ),
        _ => Status::internal("the store failed"),
    }
}
