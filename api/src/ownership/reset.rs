//! Which fields a write cannot change, and so cannot come to own: `status` through the object
//! itself, `spec` through `status`, and what else a kind's views leave alone.

use super::compare::Comparison;
use super::set::{Pattern, Set};
use crate::kind::{Action, Kind};

/// What a write leaves alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// These, and all below them.
    Fields(Set),
    /// All but these.
    AllBut(Pattern),
}

impl Reset {
    /// Nothing is left alone.
    pub const NOTHING: Self = Self::Fields(Set::EMPTY);

    /// A set without what is left alone.
    pub fn narrow_set(&self, set: &Set) -> Set {
        match self {
            Self::Fields(fields) if fields.is_empty() => set.clone(),
            Self::Fields(fields) => set.without(fields),
            Self::AllBut(pattern) => set.matching(pattern),
        }
    }

    /// A change without what is left alone.
    pub fn narrow(&self, change: Comparison) -> Comparison {
        match self {
            Self::Fields(fields) if fields.is_empty() => change,
            _ => change.map(|set| self.narrow_set(set)),
        }
    }
}

/// Where a kind differs from the rule: group, kind, subresource, and the fields left alone; dots
/// part their steps.
#[rustfmt::skip]
const EXCEPTIONS: [(&str, &str, &str, &[&str]); 14] = [
    ("", "Pod", "status", &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"]),
    ("", "Namespace", "finalize", &["status"]),
    ("apps", "Deployment", "status", &["spec", "metadata.labels"]),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "status", &["spec", "metadata"]),
    ("apiregistration.k8s.io", "APIService", "status", &["spec", "metadata"]),
    ("certificates.k8s.io", "CertificateSigningRequest", "", &["spec", "status"]),
    ("certificates.k8s.io", "CertificateSigningRequest", "status", &["spec", "status.conditions"]),
    ("certificates.k8s.io", "CertificateSigningRequest", "approval", &["spec", "status.certificate"]),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", "status", &["spec", "metadata"]),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "status", &["spec", "metadata"]),
    ("networking.k8s.io", "ServiceCIDR", "status", &["spec", "metadata"]),
    ("resource.k8s.io", "ResourceClaim", "status", &["spec", "metadata"]),
    ("storage.k8s.io", "VolumeAttachment", "status", &["spec", "metadata"]),
    ("storagemigration.k8s.io", "StorageVersionMigration", "status", &["spec", "metadata"]),
];

/// What a write of a pod's resources may change.
const RESIZE: [&[&str]; 4] = [
    &["spec", "containers", "*", "resources"],
    &["spec", "containers", "*", "resizePolicy"],
    &["spec", "initContainers", "*", "resources"],
    &["spec", "initContainers", "*", "resizePolicy"],
];

/// The paths that a write to a subresource of a kind (or, if empty, to the object) leaves alone.
pub fn left_alone(kind: &Kind, version: &str, subresource: &str) -> &'static [&'static str] {
    let known = kind.version(version).map(|version| &version.subresources);
    // The structure of a custom kind is its own and has no name.
    let custom = kind.version(version).is_some_and(|version| version.schema.definition.is_empty());
    let asked = (&*kind.group, &*kind.kind, subresource);
    match EXCEPTIONS.iter().find(|row| (row.0, row.1, row.2) == asked) {
        Some(row) => row.3,
        None if subresource.is_empty() && known.is_some_and(|known| known.contains_key("status")) => {
            &["status"]
        }
        None if subresource == "status" && custom => &["spec", "metadata"],
        None if subresource == "status" => &["spec"],
        None => &[],
    }
}

/// What a write to a subresource of a kind (or, if empty, to the object) leaves alone.
pub fn of(kind: &Kind, version: &str, subresource: &str) -> Reset {
    match (kind.kind.as_str(), subresource) {
        ("Pod", "ephemeralcontainers") if kind.group.is_empty() => {
            return Reset::AllBut(Pattern::of_fields(&[&["spec", "ephemeralContainers"]]));
        }
        ("Pod", "resize") if kind.group.is_empty() => return Reset::AllBut(Pattern::of_fields(&RESIZE)),
        _ => {}
    }
    let fields = left_alone(kind, version, subresource);
    let paths: Vec<Vec<&str>> = fields.iter().map(|path| path.split('.').collect()).collect();
    Reset::Fields(Set::of_fields(&paths.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

/// Whether that subresource is a view of the object, whose writes are tracked.
pub fn is_tracked(kind: &Kind, version: &str, subresource: &str) -> bool {
    let known = kind.version(version).and_then(|version| version.subresources.get(subresource));
    subresource.is_empty() || known.is_some_and(|known| matches!(known.action, Action::View(_)))
}
