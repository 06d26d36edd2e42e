//! Endpoint slices.

use super::{Strategy, list, text};
use crate::Object;
use crate::status::{FieldError, Problem};

/// The strategy of endpoint slices.
pub struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if text(new, "addressType").is_empty() {
            errors.push(FieldError::required("addressType", ""));
        }
        if let Some(old) = old
            && old["addressType"] != new["addressType"]
        {
            errors.push(FieldError::invalid("addressType", new["addressType"].clone(), super::IMMUTABLE));
        }
        for (field, most) in [("endpoints", 1000), ("ports", 20_000)] {
            let count = list(new, field).len();
            if count > most {
                let detail = format!("must have at most {most} items");
                errors.push(FieldError::new(Problem::TooMany, field, count.into(), detail));
            }
        }
        for (index, endpoint) in list(new, "endpoints").iter().enumerate() {
            let path = format!("endpoints[{index}].addresses");
            if list(endpoint, "addresses").is_empty() {
                errors.push(FieldError::required(path, "must contain at least 1 address"));
            }
        }
        errors
    }
}
