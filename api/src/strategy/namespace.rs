//! Namespaces: what a new one begins with. Matched to `pkg/registry/core/namespace/strategy.go`.

use serde_json::json;

use super::{Strategy, list};
use crate::Object;

/// The finalizer that holds a namespace until all in it is gone.
const KUBERNETES: &str = "kubernetes";

/// The strategy of namespaces.
pub struct Namespace;

impl Strategy for Namespace {
    fn prepare(&self, new: &mut Object, old: Option<&Object>) {
        if old.is_some() {
            return;
        }
        new["status"] = json!({"phase": "Active"});
        let mut finalizers = list(&new["spec"], "finalizers").to_vec();
        if !finalizers.iter().any(|name| name == KUBERNETES) {
            finalizers.push(KUBERNETES.into());
        }
        new["spec"]["finalizers"] = finalizers.into();
    }
}
