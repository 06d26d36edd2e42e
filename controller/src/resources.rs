//! What kinds the API server has, found by discovery.

use kube::api::{Api, ApiResource, DynamicObject};
use kube::discovery::{Discovery, Scope, verbs};

/// One kind, whatever it is.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub resource: ApiResource,
    pub namespaced: bool,
    /// What one may do with it.
    pub verbs: Vec<String>,
}

impl Kind {
    /// Whether it has a verb.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|other| other == verb)
    }

    /// Group and plural, which name a kind in whatever version.
    pub fn id(&self) -> (String, String) {
        (self.resource.group.clone(), self.resource.plural.clone())
    }

    /// A client for it; `namespace` is not looked at for cluster-scoped kinds.
    pub fn api(&self, client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced && !namespace.is_empty() {
            Api::namespaced_with(client.clone(), namespace, &self.resource)
        } else {
            Api::all_with(client.clone(), &self.resource)
        }
    }
}

/// Every kind that can be listed, each in its most stable version.
///
/// # Errors
/// The API server did not answer for every group. What it did not tell cannot be left out silently: a namespace with
/// unknown things in it is not empty.
pub(crate) async fn discover(client: &kube::Client) -> Result<Vec<Kind>, kube::Error> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut kinds = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.resources_by_stability() {
            if capabilities.supports_operation(verbs::LIST) {
                let namespaced = capabilities.scope == Scope::Namespaced;
                kinds.push(Kind { resource, namespaced, verbs: capabilities.operations });
            }
        }
    }
    Ok(kinds)
}
