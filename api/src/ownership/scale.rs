//! Ownership of `replicas` between an object and its Scale. Upstream: `managedfields/scalehandler.go`.

use serde_json::Value;

use super::element::Element;
use super::managed::{Managed, Manager, Operation, Owned};
use super::set::Set;

/// The version of a Scale.
const SCALE: &str = "autoscaling/v1";

/// Where the object keeps what a Scale calls `spec.replicas`.
pub struct Replicas<'a> {
    /// Its path in every version of the object.
    pub path: &'a [Element],
    /// Whether the object has that version.
    pub known: &'a (dyn Fn(&str) -> bool + Sync),
}

fn in_scale() -> Vec<Element> {
    vec![Element::field("spec"), Element::field("replicas")]
}

fn one(path: &[Element]) -> Set {
    let mut set = Set::default();
    set.insert(path);
    set
}

fn shown_version(operation: Operation) -> String {
    match operation {
        Operation::Apply => String::new(),
        Operation::Update => SCALE.into(),
    }
}

impl Replicas<'_> {
    /// The managers of the Scale: those that own the object's replicas.
    ///
    /// # Errors
    /// What is wrong with the object's list.
    pub fn to_scale(&self, parent: &Value) -> Result<Value, String> {
        let parent = Managed::read(parent)?;
        let mut scale = Managed::default();
        for (manager, owned) in &parent.fields {
            if (self.known)(&owned.api_version) && owned.set.has(self.path) {
                let owned = Owned { set: one(&in_scale()), api_version: SCALE.into() };
                scale.fields.insert(manager.clone(), owned);
                if let Some(time) = parent.times.get(manager) {
                    scale.times.insert(manager.clone(), time.clone());
                }
            }
        }
        Ok(scale.write())
    }

    /// The managers of the object after a write of its Scale, in the object's version.
    ///
    /// # Errors
    /// What is wrong with one of the lists.
    pub fn to_parent(&self, parent: &Value, scale: &Value, api_version: &str) -> Result<Value, String> {
        let parent = Managed::read(parent)?;
        let mut scale = Managed::read(scale)?;
        let mut out = Managed { times: parent.times.clone(), ..Managed::default() };
        for (manager, owned) in parent.fields {
            if !(self.known)(&owned.api_version) {
                continue;
            }
            // A Scale names its updaters in its own version.
            let shown = Manager { api_version: shown_version(manager.operation), ..manager.clone() };
            // Who is no longer in the Scale lost the replicas to someone who is.
            let lost = owned.set.has(self.path) && scale.fields.remove(&shown).is_none();
            let set = if lost { owned.set.difference(&one(self.path)) } else { owned.set };
            if !set.is_empty() {
                out.fields.insert(manager, Owned { set, ..owned });
            }
        }
        for (mut manager, owned) in scale.fields {
            if owned.set.has(&in_scale()) {
                if manager.operation == Operation::Update {
                    api_version.clone_into(&mut manager.api_version);
                }
                out.fields.insert(manager, Owned { set: one(self.path), api_version: api_version.into() });
            }
        }
        Ok(out.write())
    }
}
