//! What the scheduler knows at this moment: the live snapshot, and the pods that wait.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, Pod};
use skiff_runtime::key::Key;

use super::uid_of;
use crate::pod::Needs;
use crate::preemption::{self, Preemption};
use crate::schedule::{FitError, schedule};
use crate::snapshot::{NodeInfo, Snapshot};

#[derive(Default)]
pub(super) struct State {
    pub(super) snapshot: Snapshot,
    /// Pods on nodes, by uid: where.
    pub(super) places: HashMap<String, String>,
    /// Pods whose node is not known yet as a node.
    pub(super) stray: HashMap<String, HashMap<String, Arc<Needs>>>,
    /// Pods that no node took.
    pub(super) waiting: BTreeSet<Key>,
    /// Attempts that failed, and when the last did.
    pub(super) failed: HashMap<Key, (u32, Instant)>,
    /// Pods that could be tried now, the most important first, then the oldest. The queue only says that a turn
    /// is due; this says whose.
    pub(super) order: BTreeSet<(Reverse<i32>, Option<jiff::Timestamp>, Key)>,
    /// By uid: the node being cleared for a pod, and what it will take there.
    pub(super) nominated: HashMap<String, (String, Arc<Needs>)>,
}

impl State {
    pub(super) fn put_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let mut info = NodeInfo::new(node);
        let known = self.snapshot.nodes.get(&name).map(|old| old.pods.clone()).unwrap_or_default();
        let stray = self.stray.remove(&name).unwrap_or_default();
        for (uid, needs) in known.into_iter().chain(stray) {
            info.add(&uid, needs);
        }
        self.snapshot.nodes.insert(name, Arc::new(info));
    }

    /// The pod waits no more.
    pub(super) fn forget(&mut self, key: &Key, uid: &str) {
        self.waiting.remove(key);
        self.failed.remove(key);
        self.nominated.remove(uid);
    }

    /// The nodes as a pod may take them: what is being cleared for pods that matter as much is taken.
    fn world(&self, uid: &str, priority: i32) -> Snapshot {
        let mut world = self.snapshot.clone();
        for (other, (node, needs)) in &self.nominated {
            if other != uid
                && needs.priority >= priority
                && let Some(info) = world.nodes.get_mut(node)
            {
                Arc::make_mut(info).add(other, needs.clone());
            }
        }
        world
    }

    /// Decides for a pod, and takes note of what was decided.
    pub(super) fn decide(
        &mut self,
        key: &Key,
        pod: &Pod,
        seed: u64,
    ) -> Result<String, Box<(FitError, Option<Preemption>)>> {
        let needs = Arc::new(Needs::of(pod));
        let world = self.world(uid_of(pod), needs.priority);
        let decided = schedule(pod, &needs, &world, seed).map_err(|mut error| {
            let preemption = preemption::plan(pod, &needs, &world, &error);
            let preemption = preemption.map_err(|text| error.preemption = Some(text)).ok();
            Box::new((error, preemption))
        });
        // Given up before the snapshot changes, so that the change copies nothing.
        drop(world);
        match &decided {
            Ok(node) => self.place(uid_of(pod), node, needs),
            Err(refused) => {
                self.waiting.insert(key.clone());
                let failed = self.failed.entry(key.clone()).or_insert((0, Instant::now()));
                *failed = (failed.0.saturating_add(1), Instant::now());
                if let Some(preemption) = &refused.1 {
                    self.nominated.insert(uid_of(pod).to_owned(), (preemption.node.clone(), needs));
                }
            }
        }
        decided
    }

    pub(super) fn drop_node(&mut self, name: &str) {
        if let Some(info) = self.snapshot.nodes.remove(name) {
            self.stray.entry(name.to_owned()).or_default().extend(info.pods.clone());
        }
    }

    pub(super) fn place(&mut self, uid: &str, node: &str, needs: Arc<Needs>) {
        if self.places.get(uid).is_some_and(|place| place != node) {
            self.unplace(uid);
        }
        self.places.insert(uid.to_owned(), node.to_owned());
        match self.snapshot.nodes.get_mut(node) {
            Some(info) => Arc::make_mut(info).add(uid, needs),
            None => {
                self.stray.entry(node.to_owned()).or_default().insert(uid.to_owned(), needs);
            }
        }
    }

    pub(super) fn unplace(&mut self, uid: &str) {
        let Some(node) = self.places.remove(uid) else { return };
        if let Some(info) = self.snapshot.nodes.get_mut(&node) {
            Arc::make_mut(info).remove(uid);
        }
        if let Some(stray) = self.stray.get_mut(&node) {
            stray.remove(uid);
        }
    }
}
