//! From the API server's watches into the state.

use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use skiff_runtime::view::View;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::engine::Dirty;
use crate::state::State;

/// Keeps the state up to date, and marks what changed, until shutdown. Returns early only if a view ends.
pub async fn run(
    services: View<Service>,
    slices: View<EndpointSlice>,
    state: Arc<RwLock<State>>,
    dirty: Arc<Dirty>,
    ready: impl FnOnce(),
    shutdown: CancellationToken,
) {
    // Subscribed before the lists are read, so that nothing falls between the two.
    let (mut service_changes, mut slice_changes) = (services.changes(), slices.changes());
    tokio::select! {
        () = async { tokio::join!(services.synced(), slices.synced()); } => {}
        () = shutdown.cancelled() => return,
    }
    replace(&services, &slices, &state, &dirty);
    ready();
    loop {
        let lagged = tokio::select! {
            change = service_changes.recv() => match change {
                Ok(change) => {
                    let touched = write(&state).service(change.old.as_deref(), change.new.as_ref());
                    dirty.mark(touched);
                    false
                }
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            },
            change = slice_changes.recv() => match change {
                Ok(change) => {
                    let touched = write(&state).slice(change.old.as_deref(), change.new.as_ref());
                    dirty.mark(touched);
                    false
                }
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            },
            () = shutdown.cancelled() => return,
        };
        if lagged {
            replace(&services, &slices, &state, &dirty);
        }
    }
}

/// Takes everything anew, and marks everything: cheap beside what was missed.
fn replace(services: &View<Service>, slices: &View<EndpointSlice>, state: &RwLock<State>, dirty: &Dirty) {
    let mut fresh = State::default();
    for service in services.list() {
        fresh.service(None, Some(&service));
    }
    for slice in slices.list() {
        fresh.slice(None, Some(&slice));
    }
    fresh.completed();
    let stale = std::mem::replace(&mut *write(state), fresh);
    dirty.mark(stale.services().cloned());
    dirty.mark(write(state).services().cloned());
}

fn write(state: &RwLock<State>) -> std::sync::RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(PoisonError::into_inner)
}
