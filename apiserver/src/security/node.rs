//! What a node agent may touch: the Node authorizer, derived from the pods that are bound to each node.
//!
//! A node reads its own pods and what these refer to (Secrets, ConfigMaps, claims and their volumes, service accounts),
//! its own Node, Lease and CSINode. Behaviour as upstream's `plugin/pkg/auth/authorizer/node`; dynamic resource
//! allocation and pod certificates are not there yet and get no opinion.

mod references;
pub use super::restriction::{may_evict, may_request_token, node_restriction};

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::rbac::Rule;
use super::{Attributes, Authorizer, Decision, KnownRules, User, bootstrap, text};

/// Something that a pod refers to: its plural, namespace and name.
type Key = (&'static str, String, String);

/// The graph. It is fed by [`NodeGraph::pod`], [`NodeGraph::volume`] and [`NodeGraph::attachment`].
#[derive(Debug)]
pub struct NodeGraph {
    /// For each thing, the nodes that may read it, each with how many pods say so.
    readers: HashMap<Key, BTreeMap<String, usize>>,
    /// The claim of each volume, and the Secrets that the volume needs.
    volumes: HashMap<String, (Key, Vec<Key>)>,
    /// The volumes behind a Secret.
    behind: HashMap<Key, BTreeMap<String, usize>>,
    /// For what is not told apart by object: the rules of `system:node`.
    rules: Vec<Rule>,
}

impl Default for NodeGraph {
    fn default() -> Self {
        let objects = bootstrap::objects();
        let node = objects
            .iter()
            .find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "system:node");
        let rules = node.map_or(&[][..], |role| super::items(role, "/rules")).iter().map(Rule::of).collect();
        Self { readers: HashMap::new(), volumes: HashMap::new(), behind: HashMap::new(), rules }
    }
}

impl NodeGraph {
    /// Takes a change of a pod in.
    pub fn pod(&mut self, old: Option<&Value>, new: Option<&Value>) {
        // First add, then remove: what stays must not vanish for a moment.
        for (pod, add) in [(new, true), (old, false)] {
            let Some(pod) = pod else { continue };
            let node = text(pod, "/spec/nodeName");
            if !node.is_empty() {
                for key in references::of_pod(pod) {
                    count(&mut self.readers, key, node, add);
                }
            }
        }
    }

    /// Takes a change of a PersistentVolume in.
    pub fn volume(&mut self, old: Option<&Value>, new: Option<&Value>) {
        for (volume, add) in [(new, true), (old, false)] {
            let Some(volume) = volume else { continue };
            let name = text(volume, "/metadata/name");
            let claim = text(volume, "/spec/claimRef/name");
            let secrets = references::of_volume(volume);
            for secret in &secrets {
                count(&mut self.behind, secret.clone(), name, add);
            }
            if add && !claim.is_empty() {
                let namespace = text(volume, "/spec/claimRef/namespace");
                let claim = ("persistentvolumeclaims", namespace.to_owned(), claim.to_owned());
                self.volumes.insert(name.to_owned(), (claim, secrets));
            } else if add || new.is_none() {
                self.volumes.remove(name);
            }
        }
    }

    /// Takes a change of a VolumeAttachment in.
    pub fn attachment(&mut self, old: Option<&Value>, new: Option<&Value>) {
        for (attachment, add) in [(new, true), (old, false)] {
            let Some(attachment) = attachment else { continue };
            let key = ("volumeattachments", String::new(), text(attachment, "/metadata/name").to_owned());
            count(&mut self.readers, key, text(attachment, "/spec/nodeName"), add);
        }
    }

    /// Whether a node's pods lead to an object.
    fn leads(&self, node: &str, resource: &'static str, namespace: &str, name: &str) -> bool {
        let reads = |key: &Key| self.readers.get(key).is_some_and(|nodes| nodes.contains_key(node));
        let through = |volume: &str| self.volumes.get(volume).is_some_and(|(claim, _)| reads(claim));
        if resource == "persistentvolumes" {
            return through(name);
        }
        let key = (resource, namespace.to_owned(), name.to_owned());
        reads(&key)
            || (resource == "secrets"
                && self.behind.get(&key).is_some_and(|volumes| volumes.keys().any(|volume| through(volume))))
    }

    fn related(&self, node: &str, resource: &'static str, asked: &Attributes<'_>) -> Decision {
        if asked.name.is_empty() {
            return no("No Object name found");
        }
        if self.leads(node, resource, asked.namespace, asked.name) {
            return yes();
        }
        no(&format!("no relationship found between node '{node}' and this object"))
    }

    fn read(&self, node: &str, resource: &'static str, asked: &Attributes<'_>) -> Decision {
        if !matches!(asked.verb, "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !asked.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if asked.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(node, resource, asked)
    }

    fn get(&self, node: &str, resource: &'static str, asked: &Attributes<'_>) -> Decision {
        if asked.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !asked.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.related(node, resource, asked)
    }

    fn pods(&self, node: &str, asked: &Attributes<'_>) -> Decision {
        match (asked.subresource, asked.verb) {
            ("", "get") => self.get(node, "pods", asked),
            ("", "list" | "watch") if asked.selected_field("spec.nodeName") == Some(node) => yes(),
            ("", "list" | "watch") if !asked.name.is_empty() => self.related(node, "pods", asked),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            // Which pods, is for admission to say: it sees the object.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => yes(),
            _ => no(""),
        }
    }

    fn accounts(&self, node: &str, asked: &Attributes<'_>) -> Decision {
        match (asked.subresource, asked.verb) {
            ("", "get") => self.read(node, "serviceaccounts", asked),
            ("token", "create") if !asked.name.is_empty() => self.related(node, "serviceaccounts", asked),
            (_, "create") => no("can only create token subresource of serviceaccount"),
            _ => no("can only create tokens for individual service accounts"),
        }
    }
}

impl Authorizer for NodeGraph {
    fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        let Some(node) = asked.user.node() else { return no("") };
        if !asked.resource_request {
            return self.by_rules(asked);
        }
        match (asked.group, asked.resource) {
            ("", "secrets") => self.read(node, "secrets", asked),
            ("", "configmaps") => self.read(node, "configmaps", asked),
            ("", "persistentvolumeclaims") if asked.subresource == "status" => match asked.verb {
                "update" | "patch" => self.related(node, "persistentvolumeclaims", asked),
                _ => no("can only get/update/patch this type"),
            },
            ("", "persistentvolumeclaims") => self.get(node, "persistentvolumeclaims", asked),
            ("", "persistentvolumes") => self.get(node, "persistentvolumes", asked),
            ("", "serviceaccounts") => self.accounts(node, asked),
            ("", "nodes") => own_node(node, asked),
            ("", "pods") => self.pods(node, asked),
            ("storage.k8s.io", "volumeattachments") => self.get(node, "volumeattachments", asked),
            ("storage.k8s.io", "csinodes") => own_named(node, asked, "CSINode"),
            ("coordination.k8s.io", "leases") if asked.namespace != "kube-node-lease" => {
                no("can only access leases in the \"kube-node-lease\" system namespace")
            }
            ("coordination.k8s.io", "leases") => own_named(node, asked, "node lease"),
            ("resource.k8s.io", "resourceclaims" | "resourceslices")
            | ("certificates.k8s.io", "podcertificaterequests") => no(""),
            _ => self.by_rules(asked),
        }
    }

    fn rules(&self, user: &User, _: &str) -> KnownRules {
        let incomplete = user.node().is_some();
        let error = if incomplete { "node authorizer does not support user rule resolution" } else { "" };
        KnownRules { rules: Vec::new(), incomplete, error: error.into() }
    }
}

impl NodeGraph {
    fn by_rules(&self, asked: &Attributes<'_>) -> Decision {
        if self.rules.iter().any(|rule| rule.allows(asked)) { yes() } else { no("") }
    }
}

fn own_node(node: &str, asked: &Attributes<'_>) -> Decision {
    match (asked.subresource, asked.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
        ("", "get" | "list" | "watch") => match asked.name {
            name if name == node => yes(),
            // A list of one, by its name: what `watch` of a single object sends.
            "" if asked.selected_field("metadata.name") == Some(node) => yes(),
            "" => no(&format!("node '{node}' cannot read all nodes, only its own Node object")),
            name => no(&format!("node '{node}' cannot read '{name}', only its own Node object")),
        },
        _ => no(""),
    }
}

fn own_named(node: &str, asked: &Attributes<'_>, what: &str) -> Decision {
    match asked.verb {
        // The name is not known yet; admission looks at the object.
        "create" => yes(),
        "get" | "update" | "patch" | "delete" if !asked.subresource.is_empty() => {
            no("cannot authorize subresources")
        }
        "get" | "update" | "patch" | "delete" if asked.name == node => yes(),
        "get" | "update" | "patch" | "delete" => {
            no(&format!("can only access {what} with the same name as the requesting node"))
        }
        _ => no(&format!("can only get, create, update, patch, or delete a {what}")),
    }
}

/// The pod and what it refers to, be it a mirror pod or not.
pub(super) fn references_of(pod: &Value) -> BTreeSet<Key> {
    // Seen without the mark of a mirror pod, whose references are not followed otherwise.
    let mut pod = pod.clone();
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    references::of_pod(&pod)
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

fn no(reason: &str) -> Decision {
    Decision::NoOpinion(reason.to_owned())
}

fn count(index: &mut HashMap<Key, BTreeMap<String, usize>>, key: Key, who: &str, add: bool) {
    if add {
        *index.entry(key).or_default().entry(who.to_owned()).or_default() += 1;
        return;
    }
    let Some(counts) = index.get_mut(&key) else { return };
    if let Some(count) = counts.get_mut(who) {
        *count -= 1;
        if *count == 0 {
            counts.remove(who);
        }
    }
    if counts.is_empty() {
        index.remove(&key);
    }
}

#[cfg(test)]
mod tests;
