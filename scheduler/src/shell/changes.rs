//! From what the views tell into the state, and which pods may be tried again for it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use skiff_runtime::key::Key;
use skiff_runtime::view::Change;

use super::{Shell, node_of, uid_of};
use crate::pod::Needs;

impl Shell {
    pub(super) fn namespace_changed(&self, change: &Change<Namespace>) {
        let mut state = self.state();
        if let Some(gone) = &change.old {
            state.snapshot.namespaces.remove(gone.metadata.name.as_deref().unwrap_or_default());
        }
        if let Some(new) = &change.new {
            let name = new.metadata.name.clone().unwrap_or_default();
            state.snapshot.namespaces.insert(name, new.metadata.labels.clone().unwrap_or_default());
        }
    }

    pub(super) fn node_changed(&self, change: &Change<Node>) {
        let mut state = self.state();
        match &change.new {
            Some(node) => state.put_node(node.clone()),
            None => {
                if let Some(old) = &change.old {
                    state.drop_node(old.metadata.name.as_deref().unwrap_or_default());
                }
            }
        }
        if may_help(change) {
            self.wake(&mut state);
        }
    }

    pub(super) fn pod_changed(&self, change: &Change<Pod>) {
        let mut state = self.state();
        match (&change.old, &change.new) {
            (_, Some(pod)) if node_of(pod).is_some() && !ended(pod) => {
                state.place(uid_of(pod), node_of(pod).unwrap_or_default(), Arc::new(Needs::of(pod)));
                state.forget(&Key::of(&**pod), uid_of(pod));
                // Others may want to be beside it.
                let choosy =
                    |key: &Key| self.pods.by_key(key).is_some_and(|pod| !Needs::of(&pod).company.is_empty());
                if change.old.as_ref().is_none_or(|old| node_of(old).is_none())
                    && state.waiting.iter().any(choosy)
                {
                    self.wake(&mut state);
                }
            }
            (_, Some(pod)) if node_of(pod).is_some() => {
                state.unplace(uid_of(pod));
                self.wake(&mut state);
            }
            (_, Some(pod)) => {
                // What the scheduler itself wrote into the status is no reason to try again.
                let news = change.old.as_ref().is_none_or(|old| {
                    old.spec != pod.spec
                        || old.metadata.labels != pod.metadata.labels
                        || uid_of(old) != uid_of(pod)
                });
                if self.is_ours(pod) && news {
                    self.queue.add(Key::of(&**pod));
                }
            }
            (Some(old), None) => {
                state.unplace(uid_of(old));
                state.forget(&Key::of(&**old), uid_of(old));
                self.wake(&mut state);
            }
            (None, None) => {}
        }
    }
}

fn ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a change of a node can make a pod fit; heartbeats cannot.
fn may_help(change: &Change<Node>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return change.new.is_some() };
    let room = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    old.spec != new.spec || old.metadata.labels != new.metadata.labels || room(old) != room(new)
}
