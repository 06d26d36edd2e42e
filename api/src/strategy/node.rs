//! Nodes.

use serde_json::Value;

use super::{Strategy, list, text};
use crate::Object;
use crate::status::FieldError;

/// The strategy of nodes.
pub struct Node;

impl Strategy for Node {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, taint) in list(&new["spec"], "taints").iter().enumerate() {
            let path = format!("spec.taints[{index}]");
            if text(taint, "key").is_empty() {
                errors.push(FieldError::required(format!("{path}.key"), ""));
            }
            if text(taint, "effect").is_empty() {
                errors.push(FieldError::required(format!("{path}.effect"), ""));
            }
        }
        if let Some(old) = old {
            let (before, now) = (&old["spec"], &new["spec"]);
            if before["podCIDR"].is_string() && before["podCIDRs"] != now["podCIDRs"] {
                let why = "node updates may not change podCIDR except from \"\" to valid";
                errors.push(FieldError::forbidden("spec.podCIDRs", why));
            }
            if before["providerID"].is_string() && before["providerID"] != now["providerID"] {
                let why = "node updates may not change providerID except from \"\" to valid";
                errors.push(FieldError::forbidden("spec.providerID", why));
            }
        }
        errors
    }

    fn prepare(&self, new: &mut Object, _old: Option<&Object>) {
        // `podCIDR` and the first of `podCIDRs` are the same fact.
        let spec = &mut new["spec"];
        match (spec.get("podCIDR").and_then(Value::as_str).map(str::to_owned), spec.get("podCIDRs").cloned())
        {
            (Some(one), None) => spec["podCIDRs"] = vec![one].into(),
            (None, Some(Value::Array(many))) if !many.is_empty() => spec["podCIDR"] = many[0].clone(),
            _ => {}
        }
    }
}
