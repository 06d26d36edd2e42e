//! The authorizers, in the order that the flags or an AuthorizationConfiguration say.
//!
//! The privileged group is let through before any is asked. Each may allow, deny or have no opinion; the first that decides ends it, and
//! where none decides, the answer is no. As upstream's `pkg/kubeapiserver/authorizer`.

pub mod config;
pub mod webhook;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::authenticate::Errors;
use super::{Attributes, Authorization, Decision, KnownRules, MASTERS, User};
use crate::cache::Cache;
use crate::lookup::Live;
use crate::reload;
use crate::security::rbac::{Rule, escalation};
pub use config::{Authorizer, Kind};
use webhook::Webhook;

/// What the flags say about authorization.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--authorization-mode`: names in order.
    pub modes: Vec<String>,
    /// The webhook of the mode `Webhook` (`--authorization-webhook-*`).
    pub webhook: Option<webhook::Options>,
    /// `--authorization-config`, instead of the others.
    pub config_file: Option<PathBuf>,
    /// How often that file is looked at.
    pub reload: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            modes: vec!["Node".into(), "RBAC".into()],
            webhook: None,
            config_file: None,
            reload: Duration::from_secs(60),
        }
    }
}

/// One authorizer.
enum Mode {
    AlwaysAllow,
    AlwaysDeny,
    Node,
    Rbac,
    Webhook(Box<Webhook>),
}

/// The authorizers in their order.
pub struct Chain {
    live: Arc<Live>,
    modes: ArcSwap<Vec<Mode>>,
}

impl Chain {
    /// As the options say.
    ///
    /// # Errors
    /// A mode that there is not, a file that cannot be read or says what it may not.
    pub fn new(options: &Options, live: Arc<Live>, cache: &Arc<Cache>) -> anyhow::Result<Self> {
        let wanted = match &options.config_file {
            Some(path) => config::read(path)?,
            None => config::of_flags(&options.modes, options.webhook.as_ref())?,
        };
        Ok(Self { live, modes: ArcSwap::from_pointee(build(wanted, cache)?) })
    }

    /// Takes the file in again whenever it changes; one that cannot be used leaves what was.
    pub fn follow(
        self: &Arc<Self>,
        path: PathBuf,
        every: Duration,
        count: reload::Count,
        cache: Arc<Cache>,
        shutdown: CancellationToken,
    ) {
        let chain = self.clone();
        let file = reload::Followed { path, every, what: "authorizers", count };
        reload::follow(file, shutdown, move |path| chain.reload(path, &cache));
    }

    fn reload(&self, path: &Path, cache: &Arc<Cache>) -> anyhow::Result<()> {
        let modes = build(config::read(path)?, cache)?;
        self.modes.store(Arc::new(modes));
        Ok(())
    }
}

fn build(wanted: Vec<Authorizer>, cache: &Arc<Cache>) -> anyhow::Result<Vec<Mode>> {
    let mut modes = Vec::new();
    for one in wanted {
        modes.push(match one.kind {
            Kind::AlwaysAllow => Mode::AlwaysAllow,
            Kind::AlwaysDeny => Mode::AlwaysDeny,
            Kind::Node => Mode::Node,
            Kind::Rbac => Mode::Rbac,
            Kind::Webhook(options) => Mode::Webhook(Box::new(Webhook::new(&options, cache)?)),
        });
    }
    Ok(modes)
}

#[async_trait::async_trait]
impl Authorization for Chain {
    async fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        for mode in self.modes.load_full().iter() {
            let decision = match mode {
                Mode::AlwaysAllow => Decision::Allow(String::new()),
                Mode::AlwaysDeny => Decision::NoOpinion("Everything is forbidden.".into()),
                Mode::Node => self.live.read(|authority| authority.node(attributes)),
                Mode::Rbac => self.live.read(|authority| authority.rbac(attributes)),
                Mode::Webhook(webhook) => webhook.decide(attributes).await,
            };
            match decision {
                Decision::NoOpinion(why) if why.is_empty() => {}
                Decision::NoOpinion(why) => reasons.push(why),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    fn rules_for(&self, user: &User, namespace: &str) -> KnownRules {
        let (mut known, mut errors) = (KnownRules::default(), Errors::default());
        let all = |known: &mut KnownRules| known.rules.extend(escalation::everything());
        if user.is_in(MASTERS) {
            all(&mut known);
        }
        for mode in self.modes.load().iter() {
            let found = match mode {
                Mode::AlwaysAllow => {
                    KnownRules { rules: escalation::everything().to_vec(), ..KnownRules::default() }
                }
                Mode::AlwaysDeny => KnownRules::default(),
                Mode::Node => self.live.read(|authority| authority.node_rules(user, namespace)),
                Mode::Rbac => self.live.read(|authority| authority.rbac_rules(user, namespace)),
                Mode::Webhook(_) => KnownRules {
                    incomplete: true,
                    error: "webhook authorizer does not support user rule resolution".into(),
                    rules: Vec::<Rule>::new(),
                },
            };
            known.rules.extend(found.rules);
            known.incomplete |= found.incomplete;
            if !found.error.is_empty() {
                errors.add(found.error);
            }
        }
        KnownRules { error: errors.text(), ..known }
    }
}

#[cfg(test)]
mod questions;
