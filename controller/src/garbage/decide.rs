//! What becomes of an object, from what is known of its owners and dependents.

use super::graph::{Graph, Item};

/// What is known of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there.
    Solid,
    /// It is being deleted, and waits for this dependent.
    Waiting,
    /// It is gone.
    Absent,
}

/// The first look, at the graph alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Nothing,
    /// Free these, then take the finalizer off.
    Orphan(Vec<String>),
    /// These must go first.
    Await(Vec<String>),
    /// Nothing blocks it any more: take the finalizer off.
    Unblock,
    /// It depends on its owners: ask for those that the graph does not have.
    AskOwners,
}

/// The second look, with the owners known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// Take the references to these owners off; others remain.
    Unreference(Vec<String>),
    /// Delete it as its finalizers say, else in the background.
    Delete,
    /// Delete it so that it waits for its own dependents, as its owner waits for it.
    DeleteForeground,
    /// The same, but let its owners not wait for it: a dependent of its own waits already, which may
    /// be one that owns it in turn, and they would wait for each other for ever.
    DeleteInCircle,
}

pub(super) fn decide(graph: &Graph, uid: &str) -> Plan {
    let Some(item) = graph.get(uid) else { return Plan::Nothing };
    if item.orphans() {
        return Plan::Orphan(graph.dependents(uid));
    }
    if item.waits() {
        let blocking: Vec<_> = graph
            .dependents(uid)
            .into_iter()
            .filter(|dependent| graph.get(dependent).is_some_and(|item| item.blocks(uid)))
            .collect();
        return if blocking.is_empty() { Plan::Unblock } else { Plan::Await(blocking) };
    }
    if item.deleting || item.owners.is_empty() { Plan::Nothing } else { Plan::AskOwners }
}

/// What is known of an item's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependents {
    None,
    Some,
    /// One of them is being deleted and waits for its own.
    Waiting,
}

pub(super) fn dependents(graph: &Graph, uid: &str) -> Dependents {
    let all = graph.dependents(uid);
    if all.iter().any(|dependent| graph.get(dependent).is_some_and(Item::waits)) {
        Dependents::Waiting
    } else if all.is_empty() {
        Dependents::None
    } else {
        Dependents::Some
    }
}

/// `owners` are the item's, in its order.
pub(super) fn judge(item: &Item, owners: &[Owner], dependents: Dependents) -> Verdict {
    let is = |state: Owner| owners.contains(&state);
    if is(Owner::Solid) {
        let off = item.owners.iter().zip(owners).filter(|(_, state)| **state != Owner::Solid);
        let off: Vec<_> = off.map(|(owner, _)| owner.uid.clone()).collect();
        return if off.is_empty() { Verdict::Keep } else { Verdict::Unreference(off) };
    }
    match dependents {
        _ if owners.is_empty() => Verdict::Keep,
        Dependents::Some if is(Owner::Waiting) => Verdict::DeleteForeground,
        Dependents::Waiting if is(Owner::Waiting) => Verdict::DeleteInCircle,
        _ => Verdict::Delete,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
    use kube::api::ApiResource;

    use super::*;
    use crate::garbage::graph::{FOREGROUND, ORPHAN};
    use crate::resources::Kind;

    fn item(owners: &[&str], deleting: bool, finalizers: &[&str]) -> Item {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let kind = Arc::new(Kind { resource, namespaced: true, verbs: vec![] });
        let owner = |uid: &&str| OwnerReference {
            uid: (*uid).to_owned(),
            block_owner_deletion: Some(true),
            ..Default::default()
        };
        let meta = ObjectMeta {
            owner_references: Some(owners.iter().map(owner).collect()),
            deletion_timestamp: deleting.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            finalizers: Some(finalizers.iter().map(|name| (*name).to_owned()).collect()),
            ..Default::default()
        };
        Item::new(kind, &meta)
    }

    #[test]
    fn dependents_are_visited_when_their_owner_goes() {
        let mut graph = Graph::default();
        assert!(graph.insert("set", item(&[], false, &[])).is_empty());
        assert!(graph.insert("pod", item(&["set"], false, &[])).is_empty());
        assert_eq!(graph.insert("stray", item(&["nobody"], false, &[])), ["stray"]);
        assert_eq!(graph.remove("set"), ["pod"]);
        assert_eq!(decide(&graph, "pod"), Plan::AskOwners);
    }

    #[test]
    fn an_owner_in_the_foreground_waits_for_those_that_block_it() {
        let mut graph = Graph::default();
        graph.insert("set", item(&[], false, &[]));
        graph.insert("pod", item(&["set"], false, &[]));
        assert_eq!(graph.insert("set", item(&[], true, &[FOREGROUND])), ["pod", "set"]);
        assert_eq!(decide(&graph, "set"), Plan::Await(vec!["pod".to_owned()]));
        assert_eq!(graph.remove("pod"), ["set"]);
        assert_eq!(decide(&graph, "set"), Plan::Unblock);
    }

    #[test]
    fn a_circle_is_known_by_a_dependent_that_waits() {
        let mut graph = Graph::default();
        graph.insert("a", item(&["c"], false, &[]));
        graph.insert("b", item(&["a"], false, &[]));
        graph.insert("c", item(&["b"], false, &[]));
        assert_eq!(dependents(&graph, "c"), Dependents::Some);
        graph.insert("a", item(&["c"], true, &[FOREGROUND]));
        assert_eq!(dependents(&graph, "b"), Dependents::Some);
        assert_eq!(dependents(&graph, "c"), Dependents::Waiting);
    }

    #[test]
    fn an_owner_that_orphans_frees_its_dependents() {
        let mut graph = Graph::default();
        graph.insert("set", item(&[], false, &[]));
        graph.insert("pod", item(&["set"], false, &[]));
        assert_eq!(graph.insert("set", item(&[], true, &[ORPHAN])), ["set"]);
        assert_eq!(decide(&graph, "set"), Plan::Orphan(vec!["pod".to_owned()]));
    }

    #[test]
    fn owners_decide() {
        use Owner::{Absent, Solid, Waiting};
        let off = |uids: &[&str]| Verdict::Unreference(uids.iter().map(|uid| (*uid).to_owned()).collect());
        let table: [(&[Owner], Dependents, Verdict); 9] = [
            (&[], Dependents::Some, Verdict::Keep),
            (&[Solid], Dependents::None, Verdict::Keep),
            (&[Absent], Dependents::None, Verdict::Delete),
            (&[Solid, Absent], Dependents::None, off(&["b"])),
            (&[Waiting, Solid], Dependents::None, off(&["a"])),
            (&[Waiting], Dependents::None, Verdict::Delete),
            (&[Waiting], Dependents::Some, Verdict::DeleteForeground),
            (&[Waiting, Absent], Dependents::Waiting, Verdict::DeleteInCircle),
            (&[Absent, Absent], Dependents::Waiting, Verdict::Delete),
        ];
        for (owners, dependents, expected) in table {
            let item = item(&["a", "b"][..owners.len()], false, &[]);
            assert_eq!(judge(&item, owners, dependents), expected, "{owners:?}");
        }
    }
}
