//! Garbage collection: what has no owner left goes, and owners wait or let go as they were told to.
//!
//! Behaviour: upstream's `pkg/controller/garbagecollector`. A graph of all objects, by uid, is kept from watches: those
//! that other controllers have anyway, and metadata only for all other kinds. The graph may be late, so nothing is deleted
//! before the API server itself has said that the owner is gone, and every write has a precondition.

mod act;
mod decide;
mod graph;
mod track;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skiff_runtime::client::retry;
use skiff_runtime::queue::{self, Queue};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::resources::{Kind, discover};
use graph::Graph;

/// How long the first lists may take before work begins without the missing ones. That is safe: an owner that is not in
/// the graph is asked for.
const MAX_FIRST_SYNC: Duration = Duration::from_secs(30);
/// New kinds come in groups; they are looked for once, this long after the first.
const SETTLE: Duration = Duration::from_millis(500);

/// Shared by the trackers and the workers.
pub(crate) struct Collector {
    context: Arc<Context>,
    graph: Mutex<Graph>,
    /// Uids to be judged.
    queue: Queue<String>,
    kinds: Mutex<Vec<Arc<Kind>>>,
    /// Kinds may have come or gone.
    kinds_changed: Notify,
}

impl Collector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kind(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().find(|other| other.resource.group == group && other.resource.kind == kind).cloned()
    }

    fn visit(&self, uids: impl IntoIterator<Item = String>) {
        for uid in uids {
            self.queue.add(uid);
        }
    }
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let stop = context.shutdown.clone();
    let collector = Arc::new(Collector {
        queue: Queue::new("garbage-collector"),
        graph: Mutex::default(),
        kinds: Mutex::default(),
        kinds_changed: Notify::new(),
        context,
    });
    let mut tracked = HashMap::new();
    if follow_kinds(&collector, &mut tracked, true).await.is_err() {
        return;
    }
    let workers = collector.context.config.workers;
    let work = queue::run(collector.queue.clone(), workers, |uid| act::visit(&collector, uid), stop.clone());
    let kinds = async {
        loop {
            tokio::select! { () = collector.kinds_changed.notified() => {}, () = stop.cancelled() => return }
            tokio::time::sleep(SETTLE).await;
            if follow_kinds(&collector, &mut tracked, false).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(work, kinds);
}

/// Tracks the kinds that there are, and no longer those that there are not.
async fn follow_kinds(
    collector: &Arc<Collector>,
    tracked: &mut HashMap<(String, String), CancellationToken>,
    wait: bool,
) -> Result<(), skiff_runtime::Error> {
    let client = &collector.context.client;
    let kinds = retry(&collector.context.shutdown, "discovery", || discover(client)).await?;
    // Events own nothing and expire by themselves.
    let wanted = |kind: &Kind| kind.can("watch") && kind.can("delete") && kind.resource.plural != "events";
    let kinds: Vec<_> = kinds.into_iter().filter(wanted).map(Arc::new).collect();
    tracked.retain(|id, stop| {
        let stays = kinds.iter().any(|kind| kind.id() == *id);
        if !stays {
            stop.cancel();
        }
        stays
    });
    *collector.kinds.lock().unwrap_or_else(PoisonError::into_inner) = kinds.clone();
    let mut started = Vec::new();
    for kind in kinds {
        if let std::collections::hash_map::Entry::Vacant(place) = tracked.entry(kind.id()) {
            let stop = place.insert(collector.context.shutdown.child_token()).clone();
            started.push(track::start(collector.clone(), kind, stop));
        }
    }
    if wait {
        let all = futures::future::join_all(started);
        if tokio::time::timeout(MAX_FIRST_SYNC, all).await.is_err() {
            tracing::warn!("some kinds are not listed yet; collecting garbage without them");
        }
    }
    Ok(())
}
