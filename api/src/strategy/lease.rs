//! Leases.

use super::Strategy;
use crate::Object;
use crate::status::FieldError;

/// The strategy of leases.
pub struct Lease;

impl Strategy for Lease {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
            let bad = spec["leaseDurationSeconds"].clone();
            errors.push(FieldError::invalid("spec.leaseDurationSeconds", bad, "must be greater than 0"));
        }
        if spec["leaseTransitions"].as_i64().is_some_and(|count| count < 0) {
            let bad = spec["leaseTransitions"].clone();
            errors.push(FieldError::invalid(
                "spec.leaseTransitions",
                bad,
                "must be greater than or equal to 0",
            ));
        }
        errors
    }
}
