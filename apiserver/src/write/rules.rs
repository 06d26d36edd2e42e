//! What writes of single kinds do otherwise than the rest: upstream's answers of its strategies, as a table.

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_api::custom;
use skiff_api::kind::Kind;

/// An update makes what is missing.
const UPSERT: u8 = 1;
/// An update must name the version that it was made from.
const VERSIONED: u8 = 2;
/// A delete answers with the object, not with a `Status`.
const SHOWN: u8 = 4;
/// What it owned stays, unless the client says otherwise.
const ORPHANS: u8 = 8;

const ADMISSION: &str = "admissionregistration.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const RESOURCE: &str = "resource.k8s.io";

const RULES: &[(&str, &str, u8)] = &[
    ("", "endpoints", UPSERT),
    ("", "events", UPSERT),
    ("", "limitranges", UPSERT),
    ("", "namespaces", SHOWN),
    ("", "persistentvolumeclaims", SHOWN),
    ("", "persistentvolumes", SHOWN),
    ("", "pods", SHOWN),
    ("", "podtemplates", SHOWN),
    ("", "replicationcontrollers", ORPHANS),
    ("", "resourcequotas", SHOWN),
    ("", "serviceaccounts", SHOWN),
    ("", "services", UPSERT | SHOWN),
    (ADMISSION, "mutatingadmissionpolicies", VERSIONED),
    (ADMISSION, "mutatingadmissionpolicybindings", VERSIONED),
    (ADMISSION, "mutatingwebhookconfigurations", VERSIONED),
    (ADMISSION, "validatingadmissionpolicies", VERSIONED),
    (ADMISSION, "validatingadmissionpolicybindings", VERSIONED),
    (ADMISSION, "validatingwebhookconfigurations", VERSIONED),
    (RBAC, "clusterrolebindings", UPSERT),
    (RBAC, "clusterroles", UPSERT),
    (RBAC, "rolebindings", UPSERT),
    (RBAC, "roles", UPSERT),
    (RESOURCE, "deviceclasses", SHOWN),
    (RESOURCE, "resourceclaims", SHOWN),
    (RESOURCE, "resourceclaimtemplates", SHOWN),
    (RESOURCE, "resourceslices", SHOWN),
    (STORAGE, "csidrivers", VERSIONED | SHOWN),
    (STORAGE, "csinodes", VERSIONED | SHOWN),
    (STORAGE, "csistoragecapacities", VERSIONED),
    (STORAGE, "storageclasses", SHOWN),
    (STORAGE, "volumeattachments", VERSIONED | SHOWN),
    (STORAGE, "volumeattributesclasses", SHOWN),
    ("batch", "jobs", ORPHANS),
    ("coordination.k8s.io", "leases", UPSERT | VERSIONED),
    ("node.k8s.io", "runtimeclasses", UPSERT | VERSIONED),
    ("policy", "poddisruptionbudgets", VERSIONED),
];

/// Fields of metadata whose changes a generation counts too: group, plural, fields.
const COUNTED: &[(&str, &str, &[&str])] =
    &[("apps", "deployments", &["annotations"]), ("discovery.k8s.io", "endpointslices", &["labels"])];

/// The fields of metadata that a generation of this kind counts.
pub fn counts(kind: &Kind) -> &'static [&'static str] {
    let found = COUNTED.iter().find(|(group, plural, _)| *group == kind.group && *plural == kind.plural);
    found.map_or(&[], |(_, _, fields)| fields)
}

/// The status that a new object has whatever its maker says, where it is not none.
pub fn first_status(kind: &Kind, now: Timestamp) -> Option<Value> {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "persistentvolumes") => {
            Some(json!({"phase": "Pending", "lastPhaseTransitionTime": super::time(now)}))
        }
        ("", "persistentvolumeclaims") => Some(json!({"phase": "Pending"})),
        _ => None,
    }
}

/// Whether a new object keeps the status that its maker gives it: a node registers itself with all it knows.
pub fn keeps_status(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "nodes"
}

/// What a delete puts on an object, for a controller to take off again: group, plural, finalizer.
const KEEPERS: &[(&str, &str, &str)] = &[(custom::GROUP, custom::PLURAL, custom::CLEANUP)];

/// The finalizer that a delete puts on objects of this kind.
pub fn keeper(kind: &Kind) -> Option<&'static str> {
    let found = KEEPERS.iter().find(|(group, plural, _)| *group == kind.group && *plural == kind.plural);
    found.map(|(_, _, finalizer)| *finalizer)
}

fn has(kind: &Kind, rule: u8) -> bool {
    let found = RULES.iter().find(|(group, plural, _)| *group == kind.group && *plural == kind.plural);
    found.is_some_and(|(_, _, rules)| rules & rule != 0)
}

/// Whether an update makes what is missing.
pub fn makes_on_update(kind: &Kind) -> bool {
    has(kind, UPSERT)
}

/// Whether an update must name the version that it was made from.
pub fn needs_version(kind: &Kind) -> bool {
    has(kind, VERSIONED)
}

/// Whether a delete answers with the object.
pub fn shows_deleted(kind: &Kind) -> bool {
    has(kind, SHOWN)
}

/// Whether what an object owned stays when it goes and the client says nothing.
pub fn orphans(kind: &Kind) -> bool {
    has(kind, ORPHANS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_of_one_kind() {
        let mut names: Vec<_> = RULES.iter().map(|(group, plural, _)| (group, plural)).collect();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
        let registry = skiff_api::builtin::registry();
        let kind = |group: &str, plural: &str| registry.resource(group, "v1", plural).unwrap().clone();
        assert!(makes_on_update(&kind("", "services")) && !makes_on_update(&kind("", "pods")));
        assert!(needs_version(&kind("coordination.k8s.io", "leases")));
        assert!(shows_deleted(&kind("", "pods")) && orphans(&kind("batch", "jobs")));
    }
}
