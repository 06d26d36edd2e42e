//! Custom kinds: keeps the registry what the CustomResourceDefinitions say.
//!
//! One task follows the definitions. A definition whose names are accepted becomes a [`Kind`] of the registry like any
//! other; only then is it said to be established, so that whoever sees that can use it. One that is deleted first loses
//! its objects. Behaviour as upstream's controllers in `apiextensions-apiserver/pkg/controller`.

mod cleanup;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use skiff_api::custom::{self, names};
use skiff_api::kind::{Kind, Registry};
use skiff_api::{meta, validate};
use skiff_cel::Rules;
use skiff_storage::Revision;

use crate::app::App;
use crate::bootstrap::send;
use crate::cache::KindCache;
use crate::write;

/// How long to wait before a status that the store did not take is written again.
const RETRY: Duration = Duration::from_secs(1);
const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition, and what it is served as.
struct Known {
    revision: Revision,
    definition: Value,
    served: Option<Served>,
    /// The uid of the definition whose objects are being removed; empty if none are.
    cleaning: String,
}

/// A kind, and what tells whether its definition still says the same of it.
#[derive(Clone)]
struct Served {
    uid: String,
    generation: Option<i64>,
    names: Value,
    kind: Arc<Kind>,
}

struct Extension {
    app: Arc<App>,
    /// The kinds that are no custom ones.
    base: Arc<Registry>,
    definitions: Arc<KindCache>,
    known: BTreeMap<String, Known>,
}

/// Serves what is defined now, and follows the definitions until the server stops.
pub async fn follow(app: &Arc<App>) {
    let Some(definitions) = app.cache.find(custom::GROUP, custom::PLURAL) else { return };
    let base = app.registry.load_full();
    let mut extension = Extension { app: app.clone(), base, definitions, known: BTreeMap::new() };
    extension.refresh().await;
    tokio::spawn(async move {
        let mut revisions = extension.definitions.subscribe();
        loop {
            tokio::select! {
                changed = revisions.changed() => if changed.is_err() { return },
                () = extension.app.shutdown.cancelled() => return,
            }
            revisions.borrow_and_update();
            extension.refresh().await;
        }
    });
}

impl Extension {
    /// Makes the registry what the definitions say, and their statuses what the registry is.
    async fn refresh(&mut self) {
        let changed = self.read();
        if changed.is_empty() {
            return;
        }
        let now = write::time(jiff::Timestamp::now());
        let mut settled = Vec::new();
        for name in &changed {
            let Some(known) = self.known.get(name) else { continue };
            if meta::deletion_timestamp(&known.definition).is_some() {
                continue;
            }
            let group = &known.definition["spec"]["group"];
            let others =
                self.known.iter().filter(|(other, _)| *other != name).map(|(_, known)| &known.definition);
            let others = others.filter(|other| other["spec"]["group"] == *group);
            let Some(status) = names::settle(&known.definition, others, &now) else { continue };
            // At once: the next of this round must not be given the same name.
            if let Some(known) = self.known.get_mut(name) {
                known.definition["status"] = status;
                settled.push(name.clone());
            }
        }
        for name in &changed {
            if let Some(known) = self.known.get_mut(name) {
                known.served = serving(&known.definition, known.served.take());
            }
        }
        self.serve().await;
        for name in settled {
            self.say(&name).await;
        }
        for name in changed {
            if let Some(known) = self.known.get_mut(&name)
                && meta::finalizers(&known.definition).contains(&custom::CLEANUP)
                && meta::deletion_timestamp(&known.definition).is_some()
                && known.cleaning != meta::uid(&known.definition)
            {
                known.cleaning = meta::uid(&known.definition).to_owned();
                let kind = known.served.as_ref().map(|served| served.kind.clone());
                cleanup::start(&self.app, &known.definition, kind);
            }
        }
    }

    /// Takes in the definitions as they are now; answers with the names of those that changed. When one goes, its names
    /// come free, and all of its group are looked at again.
    fn read(&mut self) -> Vec<String> {
        let snapshot = self.definitions.snapshot();
        let kind = self.definitions.kind().clone();
        let mut changed = Vec::new();
        let gone: Vec<String> =
            self.known.keys().filter(|name| !snapshot.items.contains_key(name.as_str())).cloned().collect();
        for name in gone {
            if let Some(known) = self.known.remove(&name) {
                let group = &known.definition["spec"]["group"];
                let same = self.known.iter().filter(|(_, other)| other.definition["spec"]["group"] == *group);
                changed.extend(same.map(|(name, _)| name.clone()));
                changed.push(name);
            }
        }
        for (name, item) in &snapshot.items {
            let old = self.known.get(&**name);
            if old.is_none_or(|known| known.revision < item.revision) {
                let (kept, cleaning) =
                    old.map(|known| (known.served.clone(), known.cleaning.clone())).unwrap_or_default();
                let definition = item.object(&kind, "v1");
                let known = Known { revision: item.revision, definition, served: kept, cleaning };
                self.known.insert(name.to_string(), known);
                changed.push(name.to_string());
            }
        }
        changed
    }

    /// Swaps the registry.
    async fn serve(&self) {
        let mut registry = Registry::clone(&self.base);
        for served in self.known.values().filter_map(|known| known.served.as_ref()) {
            registry.share(served.kind.clone());
        }
        self.app.cache.adopt(&registry).await;
        self.app.registry.store(Arc::new(registry));
        self.app.served.send_replace(());
    }

    /// Writes a definition's status. Another server may have been faster, which is as good.
    async fn say(&self, name: &str) {
        let Some(known) = self.known.get(name) else { return };
        while !self.app.shutdown.is_cancelled() {
            match send(&self.app, Method::PUT, &format!("{PATH}/{name}/status"), &known.definition).await {
                Ok((code, _)) if code < 300 || code == 404 || code == 409 => return,
                Ok((code, answer)) if code < 500 => {
                    tracing::warn!(name, message = %answer["message"], "a definition's status is refused");
                    return;
                }
                Ok((_, answer)) => {
                    tracing::warn!(name, message = %answer["message"], "a definition's status cannot be written");
                }
                Err(error) => tracing::warn!(name, %error, "a definition's status cannot be written"),
            }
            // Nothing else would bring it up again.
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// What a definition is served as. It stays the same value as long as the definition says the same of it.
fn serving(definition: &Value, old: Option<Served>) -> Option<Served> {
    let accepted = names::is_true(definition, "NamesAccepted") || names::is_true(definition, "Established");
    if !accepted {
        return None;
    }
    let uid = meta::uid(definition);
    let generation = definition["metadata"]["generation"].as_i64();
    let names = &definition["status"]["acceptedNames"];
    // A delete counts as a generation of its own, but what goes is served as it was.
    let going = meta::deletion_timestamp(definition).is_some();
    let same = |old: &Served| going || (generation.is_some() && old.generation == generation);
    if let Some(old) = old.filter(|old| old.uid == uid && old.names == *names && same(old)) {
        return Some(old);
    }
    let mut kind = custom::kind(definition)?;
    for version in &mut kind.versions {
        let rules = version.validator.as_ref().and_then(|validator| Rules::compile(validator.schema()));
        version.rules = rules.map(|rules| Arc::new(rules) as Arc<dyn validate::Rules>);
    }
    let kind = Arc::new(kind);
    Some(Served { uid: uid.to_owned(), generation, names: names.clone(), kind })
}
