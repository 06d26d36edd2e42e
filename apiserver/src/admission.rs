//! What is let in: a chain of plugins, each of upstream's name, that may change what is written and may
//! refuse it.
//!
//! A request meets the chain twice: [`Admission::mutate`] before the server fills in what is its own to
//! decide, [`Admission::validate`] when the object is as it would be stored. Plugins run in the order of
//! `table`, which is upstream's (`pkg/kubeapiserver/options/plugins.go`).

mod always;
mod always_pull_images;
mod anti_affinity;
mod certificate_approval;
mod certificate_signing;
mod certificate_subject;
mod configuration;
mod constraint;
mod default_class;
mod default_tolerations;
mod event_rate_limit;
pub mod expression;
mod extended_resource_toleration;
mod external_ips;
mod limit_ranger;
mod namespace_exists;
mod namespace_lifecycle;
mod node_restriction;
mod objects;
mod owner_references;
mod pod_node_selector;
mod pod_resize;
mod pod_security;
mod pod_toleration_restriction;
mod pod_topology_labels;
pub mod policy;
mod priority;
mod reinvocation;
mod request;
mod resource_quota;
mod runtime_class;
mod service_account;
mod signers;
mod storage;
mod table;
mod taint_nodes;
mod toleration;
mod trust_bundle_attest;
pub mod webhook;

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use crate::app::Call;

pub use configuration::Configuration;
pub use reinvocation::Reinvocation;
use table::{ALL, Make};

/// What a request does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is made, or something is made of it: a binding, an eviction, a token.
    Create,
    /// It is changed, or a part of it is.
    Update,
    /// It is removed.
    Delete,
    /// A stream to it is opened: exec, attach, port-forward, proxy.
    Connect,
}

impl Operation {
    /// As reviews and rules name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What a plugin judges, but for the new object, which it may change.
pub struct Review<'a> {
    /// The request: who, when, which kind and version, which subresource.
    pub call: &'a Call,
    /// What it does.
    pub operation: Operation,
    /// What is there now, in the request's version; nothing when it is made, or a stream opened.
    pub old: Option<&'a Value>,
    /// The options of the request, such as `DeleteOptions`; null if it has none of interest.
    pub options: &'a Value,
    /// What mutating plugins remember until they run a second time.
    pub reinvocation: Reinvocation,
}

impl<'a> Review<'a> {
    /// Before any plugin has run.
    pub fn new(call: &'a Call, operation: Operation, old: Option<&'a Value>, options: &'a Value) -> Self {
        Self { call, operation, old, options, reinvocation: Reinvocation::default() }
    }

    /// Whether this is that operation on that resource; an empty subresource is the object itself.
    pub fn is(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        self.operation == operation && self.of(group, resource, subresource)
    }

    /// Whether this is about that resource.
    pub fn of(&self, group: &str, resource: &str, subresource: &str) -> bool {
        let kind = &self.call.kind;
        kind.group == group && kind.plural == resource && self.call.info.subresource == subresource
    }

    /// Whether that resource is made or changed; an empty subresource is the object itself.
    pub fn writes(&self, group: &str, resource: &str, subresource: &str) -> bool {
        matches!(self.operation, Operation::Create | Operation::Update)
            && self.of(group, resource, subresource)
    }

    /// 403 about what is written, in upstream's frame.
    pub fn forbidden(&self, object: &Value, why: &str) -> Status {
        let kind = &self.call.kind;
        let name = if self.call.name().is_empty() { meta::name(object) } else { self.call.name() };
        Status::forbidden(&kind.group, &kind.plural, name, why)
    }
}

/// One of the chain. What it needs of other objects it finds through the call's caches.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Upstream's name of it, which flags use.
    fn name(&self) -> &'static str;

    /// Whether [`Plugin::mutate`] has anything to do here; cheap.
    fn mutates(&self, _review: &Review<'_>) -> bool {
        false
    }

    /// Whether [`Plugin::validate`] has anything to do here; cheap.
    fn validates(&self, _review: &Review<'_>) -> bool {
        false
    }

    /// Changes what is written, or refuses it. The object is null when one is deleted.
    async fn mutate(&self, _review: &Review<'_>, _object: &mut Value) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses what may not be written. The object is null when one is deleted.
    async fn validate(&self, _review: &Review<'_>, _object: &Value) -> Result<(), Status> {
        Ok(())
    }
}

/// Which plugins are switched on and off, beyond the defaults.
#[derive(Debug, Clone, Default)]
pub struct Switches {
    /// `--enable-admission-plugins`.
    pub enable: Vec<String>,
    /// `--disable-admission-plugins`.
    pub disable: Vec<String>,
    /// What `--admission-control-config-file` says.
    pub configuration: Configuration,
}

/// The plugins that are on.
pub struct Admission {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Admission {
    /// The default plugins, with these switched on and off.
    ///
    /// # Errors
    /// A name that no plugin has, or that is switched both ways; a plugin that is not there, or whose configuration it
    /// does not understand.
    pub fn new(switches: &Switches) -> Result<Self, String> {
        let known = |name: &str| ALL.iter().any(|(known, ..)| *known == name);
        let all_names = || ALL.iter().map(|(name, ..)| *name).collect::<BTreeSet<_>>();
        let listed = switches.enable.iter().chain(&switches.disable).map(String::as_str);
        if let Some(name) = listed.chain(switches.configuration.names()).find(|name| !known(name)) {
            let known: Vec<&str> = all_names().into_iter().collect();
            return Err(format!("there is no admission plugin {name:?}; there are {}", known.join(", ")));
        }
        if let Some(both) = switches.enable.iter().find(|name| switches.disable.contains(name)) {
            return Err(format!("the admission plugin {both:?} is both enabled and disabled"));
        }
        let has = |list: &[String], name: &str| list.iter().any(|listed| listed == name);
        let mut plugins = Vec::new();
        for (name, by_default, make) in ALL {
            if has(&switches.disable, name) || !(*by_default || has(&switches.enable, name)) {
                continue;
            }
            plugins.push(match make {
                Make::Plain(make) => make(),
                Make::Told(make) => make(switches.configuration.of(name))
                    .map_err(|why| format!("the configuration of the admission plugin {name}: {why}"))?,
                Make::Missing => return Err(format!("the admission plugin {name} is not implemented")),
            });
        }
        Ok(Self { plugins })
    }

    /// Lets each plugin change what is written; a second time if webhooks or policies changed something, so that
    /// those before them see it.
    pub async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        self.run(review, object).await?;
        if review.reinvocation.begin_again() {
            self.run(review, object).await?;
        }
        Ok(())
    }

    async fn run(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.mutates(review)) {
            plugin.mutate(review, object).await?;
        }
        Ok(())
    }

    /// Lets each plugin refuse what is written.
    pub async fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), Status> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.validates(review)) {
            plugin.validate(review, object).await?;
        }
        Ok(())
    }

    /// Both at once, for what is not stored itself: a deletion, a binding, a stream.
    pub async fn admit(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        self.mutate(review, object).await?;
        self.validate(review, object).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(enable: &[&str], disable: &[&str]) -> Result<Vec<&'static str>, String> {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let configuration = Configuration::default();
        let admission =
            Admission::new(&Switches { enable: list(enable), disable: list(disable), configuration })?;
        Ok(admission.plugins.iter().map(|plugin| plugin.name()).collect())
    }

    #[test]
    fn plugins_are_switched_by_upstreams_names() {
        let default = names(&[], &[]).unwrap();
        assert_eq!(default.first(), Some(&"NamespaceLifecycle"));
        let without = names(&[], &["Priority"]).unwrap();
        assert_eq!(without.len() + 1, default.len());
        assert!(!without.contains(&"Priority"));
        assert!(
            names(&["Prioritty"], &[]).unwrap_err().contains("there is no admission plugin \"Prioritty\"")
        );
        assert!(names(&["Priority"], &["Priority"]).unwrap_err().contains("both enabled and disabled"));
        let missing = "the admission plugin ImagePolicyWebhook is not implemented";
        assert_eq!(names(&["ImagePolicyWebhook"], &[]).unwrap_err(), missing);
        assert_eq!(names(&[], &["ImagePolicyWebhook"]).unwrap(), default);
    }

    #[test]
    fn every_plugin_has_the_name_that_it_is_switched_by() {
        let wanted: Vec<&str> =
            ALL.iter().filter(|(.., make)| !matches!(make, Make::Missing)).map(|(name, ..)| *name).collect();
        // This one cannot do without being told.
        let wanted: Vec<&str> = wanted.into_iter().filter(|name| *name != "EventRateLimit").collect();
        assert_eq!(names(&wanted, &[]).unwrap(), wanted);
    }
}
