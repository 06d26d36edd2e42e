//! The nodes with what runs on them, as a value that is cheap to clone.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use k8s_openapi::api::core::v1::Node;

use crate::pod::{Amounts, HostPort, Needs, allocatable};

/// A node.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// The object.
    pub node: Arc<Node>,
    /// What it has.
    pub allocatable: Amounts,
    /// What its pods request.
    pub requested: Amounts,
    /// What its pods likely use: CPU in thousandths, memory in bytes.
    pub likely: (i128, i128),
    /// Its pods by uid, with what they need.
    pub pods: BTreeMap<String, Arc<Needs>>,
    /// How many of its pods care beside which pods they are; mostly none, and then nobody needs to look.
    pub choosy: usize,
    /// How many of its pods each controller has, by its uid; not counted are those on their way out.
    owned: BTreeMap<String, usize>,
}

/// All nodes by name.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Each shared with older snapshots until it changes.
    pub nodes: OrdMap<String, Arc<NodeInfo>>,
    /// Labels of the namespaces, for terms that select by them.
    pub namespaces: OrdMap<String, BTreeMap<String, String>>,
}

impl NodeInfo {
    /// A node without pods.
    pub fn new(node: Arc<Node>) -> Self {
        let allocatable = allocatable(&node);
        Self {
            node,
            allocatable,
            requested: Amounts::new(),
            likely: (0, 0),
            pods: BTreeMap::new(),
            choosy: 0,
            owned: BTreeMap::new(),
        }
    }

    /// Puts a pod on it.
    pub fn add(&mut self, uid: &str, needs: Arc<Needs>) {
        self.remove(uid);
        for (name, amount) in &needs.requests {
            *self.requested.entry(name.clone()).or_default() += amount;
        }
        self.likely.0 += needs.likely.0;
        self.likely.1 += needs.likely.1;
        self.choosy += usize::from(!needs.company.is_empty());
        if let Some(owner) = counted(&needs) {
            *self.owned.entry(owner.clone()).or_default() += 1;
        }
        self.pods.insert(uid.to_owned(), needs);
    }

    /// Takes a pod off it.
    pub fn remove(&mut self, uid: &str) {
        let Some(needs) = self.pods.remove(uid) else { return };
        for (name, amount) in &needs.requests {
            *self.requested.entry(name.clone()).or_default() -= amount;
        }
        self.likely.0 -= needs.likely.0;
        self.likely.1 -= needs.likely.1;
        self.choosy -= usize::from(!needs.company.is_empty());
        if let Some(owner) = counted(&needs)
            && let Some(count) = self.owned.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(owner);
            }
        }
    }

    /// How many of its pods a controller has.
    pub fn owned_by(&self, owner: &str) -> usize {
        self.owned.get(owner).copied().unwrap_or(0)
    }

    /// The ports of the host that its pods hold.
    pub fn ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.values().flat_map(|needs| &needs.ports)
    }

    /// The node's labels.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }
}

/// The controller that a pod counts for.
fn counted(needs: &Needs) -> Option<&String> {
    needs.owner.as_ref().filter(|_| !needs.leaving)
}
