//! From watches to the graph.

use std::sync::Arc;

use kube::Resource;
use kube::api::{Api, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use skiff_runtime::view::{Change, View};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Collector;
use super::graph::Item;
use crate::resources::Kind;

/// Keeps the graph up to date with one kind until `stop`; the answer comes when all there is has been taken in. Views
/// that other controllers have are used, so that there is one watch a kind.
pub(super) fn start(
    collector: Arc<Collector>,
    kind: Arc<Kind>,
    stop: CancellationToken,
) -> oneshot::Receiver<()> {
    let (ready, is_ready) = oneshot::channel();
    let context = collector.context.clone();
    match (kind.resource.group.as_str(), kind.resource.plural.as_str()) {
        ("", "pods") => spawn(collector, kind, context.pods.clone(), stop, ready),
        ("", "services") => spawn(collector, kind, context.services.clone(), stop, ready),
        ("", "endpoints") => spawn(collector, kind, context.endpoints.clone(), stop, ready),
        ("", "namespaces") => spawn(collector, kind, context.namespaces.clone(), stop, ready),
        ("", "nodes") => spawn(collector, kind, context.nodes.clone(), stop, ready),
        ("", "persistentvolumeclaims") => spawn(collector, kind, context.claims.clone(), stop, ready),
        ("", "persistentvolumes") => spawn(collector, kind, context.volumes.clone(), stop, ready),
        ("storage.k8s.io", "volumeattributesclasses") => {
            spawn(collector, kind, context.attribute_classes.clone(), stop, ready)
        }
        ("", "resourcequotas") => spawn(collector, kind, context.quotas.clone(), stop, ready),
        ("", "serviceaccounts") => spawn(collector, kind, context.service_accounts.clone(), stop, ready),
        ("apps", "replicasets") => spawn(collector, kind, context.replica_sets.clone(), stop, ready),
        ("apps", "deployments") => spawn(collector, kind, context.deployments.clone(), stop, ready),
        ("discovery.k8s.io", "endpointslices") => {
            spawn(collector, kind, context.endpoint_slices.clone(), stop, ready)
        }
        _ => {
            let api: Api<PartialObjectMeta<DynamicObject>> =
                Api::all_with(context.client.clone(), &kind.resource);
            let view = View::spawn(api, watcher::Config::default(), stop.clone());
            spawn(collector, kind, view, stop, ready);
        }
    }
    is_ready
}

fn spawn<K: Resource + Send + Sync + 'static>(
    collector: Arc<Collector>,
    kind: Arc<Kind>,
    view: View<K>,
    stop: CancellationToken,
    ready: oneshot::Sender<()>,
) {
    tokio::spawn(async move {
        tokio::select! {
            () = track(&collector, &kind, &view, ready) => {}
            () = stop.cancelled() => {}
        }
        // If the kind is gone, so are its objects.
        if !collector.context.shutdown.is_cancelled() {
            let uids = collector.graph().of_kind(&kind);
            for uid in uids {
                let visits = collector.graph().remove(&uid);
                collector.visit(visits);
            }
        }
    });
}

async fn track<K: Resource + Send + Sync + 'static>(
    collector: &Collector,
    kind: &Arc<Kind>,
    view: &View<K>,
    ready: oneshot::Sender<()>,
) {
    let mut changes = view.changes();
    view.synced().await;
    take_all(collector, kind, view);
    // Nobody waits later than at the start.
    let _ = ready.send(());
    loop {
        match changes.recv().await {
            Ok(change) => take(collector, kind, &change),
            Err(RecvError::Lagged(_)) => take_all(collector, kind, view),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Everything, including what is no longer there.
fn take_all<K: Resource + Send + Sync + 'static>(collector: &Collector, kind: &Arc<Kind>, view: &View<K>) {
    let objects = view.list();
    let mut gone: std::collections::HashSet<_> = collector.graph().of_kind(kind).into_iter().collect();
    for object in &objects {
        if let Some(uid) = &object.meta().uid {
            gone.remove(uid);
            let visits = collector.graph().insert(uid, Item::new(kind.clone(), object.meta()));
            collector.visit(visits);
        }
    }
    for uid in gone {
        let visits = collector.graph().remove(&uid);
        collector.visit(visits);
    }
}

fn take<K: Resource>(collector: &Collector, kind: &Arc<Kind>, change: &Change<K>) {
    let uid = |object: &Arc<K>| object.meta().uid.clone();
    let (old, new) = (change.old.as_ref().and_then(uid), change.new.as_ref().and_then(uid));
    if let Some(uid) = old.filter(|old| new.as_ref() != Some(old)) {
        let visits = collector.graph().remove(&uid);
        collector.visit(visits);
    }
    if let (Some(uid), Some(object)) = (&new, &change.new) {
        let visits = collector.graph().insert(uid, Item::new(kind.clone(), object.meta()));
        collector.visit(visits);
    }
    if matches!(kind.resource.plural.as_str(), "customresourcedefinitions" | "apiservices") {
        collector.kinds_changed.notify_one();
    }
}
