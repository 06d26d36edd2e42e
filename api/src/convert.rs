//! Built-in kinds of several versions: what is stored, as each version shows it, and back.

mod autoscaling;
mod definition;

use crate::kind::Kind;
use crate::{Object, walk};

type Step = fn(&mut Object);

/// From what is stored to what a version shows, and the other way, where the two differ.
fn steps(kind: &Kind, version: &str) -> Option<(Step, Step)> {
    match (kind.group.as_str(), kind.kind.as_str(), version) {
        ("autoscaling", "HorizontalPodAutoscaler", "v1") => Some((autoscaling::show, autoscaling::store)),
        _ => None,
    }
}

/// Whether a version shows objects otherwise than they are stored.
pub fn differs(kind: &Kind, version: &str) -> bool {
    steps(kind, version).is_some()
}

/// Makes of a stored object what a version shows.
pub fn show(kind: &Kind, version: &str, object: &mut Object) {
    if let (Some((show, _)), Some(shown)) = (steps(kind, version), kind.version(version)) {
        show(object);
        object["apiVersion"] = kind.api_version(version).into();
        walk::normalise(&shown.schema, object);
    }
}

/// Makes of an object that Kubernetes stored in a version before ours what it is in ours.
pub fn upgrade(object: &mut Object) {
    if object["apiVersion"] == "apiextensions.k8s.io/v1beta1" && object["kind"] == "CustomResourceDefinition"
    {
        definition::upgrade(object);
    }
}

/// Makes of an object of a version what is stored.
pub fn store(kind: &Kind, version: &str, object: &mut Object) {
    if let Some((_, store)) = steps(kind, version) {
        let stored = kind.stored();
        store(object);
        object["apiVersion"] = kind.api_version(&stored.name).into();
        walk::default(&stored.schema, object);
        walk::normalise(&stored.schema, object);
    }
}
