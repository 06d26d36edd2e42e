//! Whose turn it is, and when a pod that failed is tried again.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use skiff_runtime::key::Key;

use super::state::State;
use super::{Shell, node_of, uid_of};

/// How soon after a failed attempt the next may follow: doubling from the first to the last.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LAST_BACK_OFF: Duration = Duration::from_secs(10);

impl Shell {
    pub(super) fn is_ours(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let name = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or("default-scheduler");
        let gated =
            spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
        name == self.config.scheduler_name
            && !gated
            && node_of(pod).is_none()
            && pod.metadata.deletion_timestamp.is_none()
    }

    /// Something may fit now that did not before; each pod is tried again when its back-off is over.
    pub(super) fn wake(&self, state: &mut State) {
        for key in std::mem::take(&mut state.waiting) {
            match state
                .failed
                .get(&key)
                .map_or(Duration::ZERO, |(attempts, last)| back_off(*attempts, last.elapsed()))
            {
                Duration::ZERO => drop(self.queue.add(key)),
                delay => drop(self.queue.add_after(key, delay)),
            }
        }
    }

    /// Whose turn it is, now that `key` is due: the first in order.
    pub(super) fn first(&self, state: &mut State, key: &Key) -> Option<Arc<Pod>> {
        if let Some(pod) = self.pods.by_key(key) {
            let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
            let since = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            state.order.insert((Reverse(priority), since, key.clone()));
        }
        while let Some((_, _, key)) = state.order.pop_first() {
            let pod = self.pods.by_key(&key).filter(|pod| self.is_ours(pod));
            // One that has a place is bound already; the view has not heard of it yet.
            if let Some(pod) = pod.filter(|pod| !state.places.contains_key(uid_of(pod))) {
                return Some(pod);
            }
        }
        None
    }
}

/// What is left of a pod's back-off.
fn back_off(attempts: u32, elapsed: Duration) -> Duration {
    let whole = FIRST_BACK_OFF.saturating_mul(1 << attempts.saturating_sub(1).min(4)).min(LAST_BACK_OFF);
    whole.saturating_sub(elapsed)
}
