//! Kinds in groups of the Kubernetes project need a word of who approved them. Matched to `pkg/apihelpers`.

use serde_json::Value;

use super::text;

/// The annotation that has the word.
pub const ANNOTATION: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// What an annotation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// Nothing.
    Missing,
    /// Where it was approved.
    Given,
    /// That it was not, and why that is so.
    Bypassed,
    /// Something else.
    Invalid,
}

/// Whether a group is the project's.
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|of| group == *of || group.ends_with(&format!(".{of}")))
}

/// What a definition says of its approval, and that in words.
pub fn of(definition: &Value) -> (Approval, String) {
    let given = text(&definition["metadata"]["annotations"], ANNOTATION);
    let needed = format!("protected groups must have approval annotation {ANNOTATION:?}");
    if given.is_empty() {
        return (Approval::Missing, format!("{needed}, {SEE}"));
    }
    if given.starts_with("unapproved") {
        return (Approval::Bypassed, format!("not approved: {given:?}"));
    }
    match given.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/') => {
            (Approval::Given, format!("approved in {given}"))
        }
        _ => {
            let why = format!("{needed} with either a URL or a reason starting with \"unapproved\", {SEE}");
            (Approval::Invalid, why)
        }
    }
}

impl Approval {
    /// The reason of the condition `KubernetesAPIApprovalPolicyConformant`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "MissingAnnotation",
            Self::Given => "ApprovedAnnotation",
            Self::Bypassed => "UnapprovedAnnotation",
            Self::Invalid => "InvalidAnnotation",
        }
    }
}
