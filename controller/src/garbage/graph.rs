//! Who owns whom, by uid.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use skiff_runtime::Key;

use crate::resources::Kind;

/// The finalizer of an owner that waits for its dependents to go first.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner that lets its dependents go free.
pub(super) const ORPHAN: &str = "orphan";

/// An object as the collector sees it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub kind: Arc<Kind>,
    pub key: Key,
    pub owners: Vec<OwnerReference>,
    pub deleting: bool,
    pub finalizers: Vec<String>,
}

impl Item {
    pub fn new(kind: Arc<Kind>, meta: &ObjectMeta) -> Self {
        Self {
            kind,
            key: Key::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
        }
    }

    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|other| other == finalizer)
    }

    /// It is being deleted, and waits for its dependents.
    pub fn waits(&self) -> bool {
        self.deleting && self.has(FOREGROUND)
    }

    /// It is being deleted, and lets its dependents go free.
    pub fn orphans(&self) -> bool {
        self.deleting && self.has(ORPHAN)
    }

    /// Whether its owner must wait for it.
    pub fn blocks(&self, owner: &str) -> bool {
        self.owners
            .iter()
            .any(|reference| reference.uid == owner && reference.block_owner_deletion == Some(true))
    }
}

/// All objects, and the dependents of each owner, also of owners that are not there.
#[derive(Default)]
pub(super) struct Graph {
    items: HashMap<String, Item>,
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    pub fn dependents(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// The uids of all objects of a kind.
    pub fn of_kind(&self, kind: &Kind) -> Vec<String> {
        self.items
            .iter()
            .filter(|(_, item)| item.kind.id() == kind.id())
            .map(|(uid, _)| uid.clone())
            .collect()
    }

    /// An object came or changed. Answers with those that must be judged because of it.
    pub fn insert(&mut self, uid: &str, item: Item) -> Vec<String> {
        let mut visits = Vec::new();
        let old = self.items.insert(uid.to_owned(), item.clone());
        let had = |uid: &str| old.iter().flat_map(|old| &old.owners).any(|owner| owner.uid == uid);
        for owner in item.owners.iter().filter(|owner| !had(&owner.uid)) {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
            if self.items.get(&owner.uid).is_none_or(Item::waits) {
                visits.push(uid.to_owned());
            }
        }
        for owner in old.iter().flat_map(|old| &old.owners) {
            if !item.owners.iter().any(|kept| kept.uid == owner.uid) {
                self.detach(&owner.uid, uid, &mut visits);
            } else if old.as_ref().is_some_and(|old| old.blocks(&owner.uid)) && !item.blocks(&owner.uid) {
                visits.push(owner.uid.clone());
            }
        }
        if item.waits() && !old.as_ref().is_some_and(Item::waits) {
            visits.extend(self.dependents(uid));
            visits.push(uid.to_owned());
        }
        if item.orphans() && !old.as_ref().is_some_and(Item::orphans) {
            visits.push(uid.to_owned());
        }
        visits
    }

    /// An object is gone. Answers with those that must be judged because of it.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        let mut visits = self.dependents(uid);
        if let Some(old) = self.items.remove(uid) {
            for owner in &old.owners {
                self.detach(&owner.uid, uid, &mut visits);
            }
        }
        visits
    }

    fn detach(&mut self, owner: &str, dependent: &str, visits: &mut Vec<String>) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
        if self.items.get(owner).is_some_and(Item::waits) {
            visits.push(owner.to_owned());
        }
    }
}
