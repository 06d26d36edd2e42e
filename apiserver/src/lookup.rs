//! Security's windows on the cache: stored objects by name, and the authorizers kept up to date.

use std::sync::{Arc, RwLock};

use serde_json::Value;

use crate::app::App;
use crate::cache::{Cache, KindCache};
use crate::security::rbac::rule::Rule;
use crate::security::{Attributes, Authority, Authorizer, Decision, User};

/// Stored objects of the core group, from the cache.
pub struct Objects(pub Arc<Cache>);

impl crate::security::Objects for Objects {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let cache = self.0.find("", resource)?;
        let item = cache.get(namespace, name)?;
        Some(Arc::new(item.object(cache.kind(), &cache.kind().stored().name)))
    }
}

/// The authorizers, behind one lock: decisions read, changes of roles and pods write.
#[derive(Default)]
pub struct Live(RwLock<Authority>);

impl Authorizer for Live {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        self.read(|authority| authority.authorize(attributes))
    }

    fn rules(&self, user: &User, namespace: &str) -> (Vec<Rule>, bool) {
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

/// What the authorizers are made of: group and resource.
const SOURCES: &[(&str, &str)] = &[
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("", "pods"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "volumeattachments"),
];

/// Feeds the authorizers from the cache until the server stops.
pub fn follow(app: &Arc<App>) {
    for (group, resource) in SOURCES {
        if let Some(cache) = app.cache.find(group, resource) {
            let after = fill(app, &cache);
            tokio::spawn(follow_one(app.clone(), cache, after));
        }
    }
}

fn fill(app: &App, cache: &KindCache) -> u64 {
    let (kind, snapshot) = (cache.kind(), cache.snapshot());
    for item in snapshot.items.values() {
        app.authorizer.change(&kind.kind, None, Some(&item.object(kind, &kind.stored().name)));
    }
    snapshot.revision
}

async fn follow_one(app: Arc<App>, cache: Arc<KindCache>, mut after: u64) {
    let kind = cache.kind().clone();
    let version = kind.stored().name.clone();
    let mut revisions = cache.subscribe();
    loop {
        revisions.borrow_and_update();
        match cache.changes(after) {
            Ok((changes, revision)) => {
                for change in changes {
                    let object = |item: &Option<Arc<crate::cache::Item>>| {
                        item.as_ref().map(|item| item.object(&kind, &version))
                    };
                    let (old, new) = (object(&change.old), object(&change.new));
                    app.authorizer.change(&kind.kind, old.as_ref(), new.as_ref());
                }
                after = revision;
            }
            // Too far behind: what is there now is put in again; what went meanwhile is found by
            // the revision that no longer has it.
            Err(_) => after = fill(&app, &cache),
        }
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { return },
            () = app.shutdown.cancelled() => return,
        }
    }
}
