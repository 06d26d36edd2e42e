//! Security's windows on the cache: stored objects by name, and the authorizers kept up to date.

use std::sync::{Arc, RwLock};

use imbl::OrdMap;
use serde_json::Value;
use skiff_api::kind::Kind;

use crate::app::App;
use crate::cache::{Cache, Item, KindCache};
use crate::security::{Attributes, Authority, Authorizer, Decision, KnownRules, User};

/// Stored objects of the core group, from the cache.
pub struct Objects(pub Arc<Cache>);

impl crate::security::Objects for Objects {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let cache = self.0.find("", resource)?;
        let item = cache.get(namespace, name)?;
        Some(Arc::new(item.object(cache.kind(), &cache.kind().stored().name)))
    }

    fn stamp(&self, resource: &str, namespace: &str, name: &str) -> Option<u64> {
        Some(self.0.find("", resource)?.get(namespace, name)?.revision)
    }
}

/// The authorizers, behind one lock: decisions read, changes of roles and pods write.
#[derive(Default)]
pub struct Live(RwLock<Authority>);

impl Authorizer for Live {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        self.read(|authority| authority.authorize(attributes))
    }

    fn rules(&self, user: &User, namespace: &str) -> KnownRules {
        self.read(|authority| authority.rules(user, namespace))
    }
}

impl Live {
    /// Reads the authorizers.
    pub fn read<T>(&self, look: impl FnOnce(&Authority) -> T) -> T {
        look(&self.0.read().expect("no holder of this lock panics"))
    }

    fn change(&self, kind: &str, old: Option<&Value>, new: Option<&Value>) {
        let mut authority = self.0.write().expect("no holder of this lock panics");
        authority.update(kind, old, new);
    }
}

/// What the authorizers are made of: group and resource, and the field without which an object of it says nothing.
const SOURCES: &[(&str, &str, Option<&str>)] = &[
    ("rbac.authorization.k8s.io", "clusterroles", None),
    ("rbac.authorization.k8s.io", "clusterrolebindings", None),
    ("rbac.authorization.k8s.io", "roles", None),
    ("rbac.authorization.k8s.io", "rolebindings", None),
    ("", "pods", Some("spec.nodeName")),
    ("", "persistentvolumes", None),
    ("storage.k8s.io", "volumeattachments", None),
];

/// Feeds the authorizers from the cache until the server stops.
pub fn follow(app: &Arc<App>) {
    for (group, resource, needed) in SOURCES {
        if let Some(cache) = app.cache.find(group, resource) {
            let needed = needed.and_then(|path| field(cache.kind(), path));
            let mut source = Source { needed, cache, seen: OrdMap::new() };
            let after = source.fill(app);
            tokio::spawn(follow_one(app.clone(), source, after));
        }
    }
}

fn field(kind: &Kind, path: &str) -> Option<usize> {
    kind.selectable.iter().position(|one| one == path)
}

/// A kind that authorizers are made of.
struct Source {
    cache: Arc<KindCache>,
    /// The place of the selectable field without which an object says nothing and is not decoded.
    needed: Option<usize>,
    /// What the authorizers have been told of.
    seen: OrdMap<Arc<str>, Arc<Item>>,
}

impl Source {
    /// The object, if it says something.
    fn object(&self, item: &Item) -> Option<Value> {
        let kind = self.cache.kind();
        let says = self.needed.is_none_or(|at| !item.fields[at].is_empty());
        says.then(|| item.object(kind, &kind.stored().name))
    }

    /// Tells the authorizers how an object is now.
    fn tell(&mut self, app: &App, key: &Arc<str>, new: Option<&Arc<Item>>) {
        let old = match new {
            Some(item) => self.seen.insert(key.clone(), item.clone()),
            None => self.seen.remove(key),
        };
        let (old, new) = (old.and_then(|old| self.object(&old)), new.and_then(|new| self.object(new)));
        if old.is_some() || new.is_some() {
            app.authorizer.change(&self.cache.kind().kind, old.as_ref(), new.as_ref());
        }
    }

    /// Takes in all that is there, and takes back what no longer is; answers with the revision that it is of.
    fn fill(&mut self, app: &App) -> u64 {
        let snapshot = self.cache.snapshot();
        let seen = self.seen.clone();
        for key in seen.keys().filter(|key| !snapshot.items.contains_key(*key)) {
            self.tell(app, key, None);
        }
        for (key, item) in &snapshot.items {
            if seen.get(key).is_none_or(|seen| seen.revision != item.revision) {
                self.tell(app, key, Some(item));
            }
        }
        snapshot.revision
    }
}

async fn follow_one(app: Arc<App>, mut source: Source, mut after: u64) {
    let mut revisions = source.cache.subscribe();
    loop {
        revisions.borrow_and_update();
        match source.cache.changes(after) {
            Ok((changes, revision)) => {
                for change in changes {
                    if let Some(item) = change.new.as_ref().or(change.old.as_ref()) {
                        source.tell(&app, &item.key, change.new.as_ref());
                    }
                }
                after = revision;
            }
            // Too far behind.
            Err(_) => after = source.fill(&app),
        }
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { return },
            () = app.shutdown.cancelled() => return,
        }
    }
}
