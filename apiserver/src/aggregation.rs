//! Extension API servers: groups and versions that others serve, behind this server's door.
//!
//! An APIService names a group and version and the Service that serves it. `keep` looks after them: whether
//! each is available stands in its status, which all API servers on a store share, and what it publishes is
//! remembered, so that it is shown while it is away. `proxy` sends requests on, with the caller's identity in
//! headers and the front proxy's certificate to vouch for them. What this server serves itself has APIServices
//! too, which `local` writes. Matched to `k8s.io/kube-aggregator`.

mod availability;
mod keep;
mod local;
mod proxy;
mod publish;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use skiff_api::kind::Registry;

use crate::app::App;
use crate::cache::{Cache, Derived};

pub use keep::keep;
pub use proxy::forward;
pub use publish::{Published, merge_v2};
pub use service::ApiService;

/// The group of APIServices.
pub const GROUP: &str = "apiregistration.k8s.io";
/// Their plural.
pub const PLURAL: &str = "apiservices";

/// How this server proves to extension API servers who it is.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The CA that they must believe, as PEM.
    pub ca_pem: String,
    /// The certificate and key that are shown, as PEM; none proves nothing.
    pub client_pem: Option<(String, String)>,
}

/// What is known of extension API servers.
pub struct Aggregation {
    services: Derived<ApiService>,
    /// What each publishes, by the name of its APIService.
    published: ArcSwap<BTreeMap<String, Arc<Published>>>,
}

impl Default for Aggregation {
    fn default() -> Self {
        Self { services: Derived::new(GROUP, PLURAL, ApiService::read), published: ArcSwap::default() }
    }
}

impl Aggregation {
    /// All APIServices, those of this server's own groups too.
    pub fn services(&self, cache: &Cache) -> Arc<Vec<Arc<ApiService>>> {
        self.services.get(cache)
    }

    /// Those that others serve.
    pub fn remote(&self, cache: &Cache) -> Vec<Arc<ApiService>> {
        self.services(cache).iter().filter(|service| service.backend.is_some()).cloned().collect()
    }

    /// Who else serves a path; nobody if this server does.
    pub fn find(&self, cache: &Cache, path: &str) -> Option<Arc<ApiService>> {
        let rest = path.strip_prefix("/apis/")?;
        let mut parts = rest.split('/');
        let (group, version) = (parts.next()?, parts.next()?);
        let services = self.services(cache);
        let found = services.iter().find(|service| service.group == group && service.version == version)?;
        found.backend.is_some().then(|| found.clone())
    }

    /// What an extension API server publishes, as far as it has been seen.
    pub fn published(&self, name: &str) -> Option<Arc<Published>> {
        self.published.load().get(name).cloned()
    }
}

/// Every group with its versions, in the order in which clients prefer them: this server's and those of others.
pub fn groups(app: &App, registry: &Registry) -> Vec<(String, Vec<String>)> {
    let services = app.aggregation.services(&app.cache);
    let mut all = crate::discovery::groups(registry);
    for service in services.iter().filter(|service| service.backend.is_some()) {
        let versions = all.entry(service.group.clone()).or_default();
        if !versions.contains(&service.version) {
            versions.push(service.version.clone());
        }
    }
    let known = |group: &str, version: &str| {
        services.iter().find(|service| service.group == group && service.version == version)
    };
    let mut all: Vec<(i64, String, Vec<String>)> = all
        .into_iter()
        .map(|(group, mut versions)| {
            let own = local::priority(&group, "").0;
            let of = |version: &String| known(&group, version).map(|service| service.group_priority);
            let priority = versions.iter().filter_map(of).max().unwrap_or(own);
            if versions.iter().any(|version| known(&group, version).is_some_and(|one| one.backend.is_some()))
            {
                let order = |version: &String| {
                    let given = known(&group, version).map(|service| service.version_priority);
                    (given.unwrap_or(0), crate::discovery::rank(version))
                };
                versions.sort_by_key(|version| std::cmp::Reverse(order(version)));
            }
            (priority, group, versions)
        })
        .collect();
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    all.into_iter().map(|(_, group, versions)| (group, versions)).collect()
}
