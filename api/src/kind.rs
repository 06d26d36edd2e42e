//! Kinds as values, and the registry that holds them all.
//!
//! A built-in kind and a user's custom resource are the same thing here: names, versions, a
//! schema per version, columns, subresources.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::custom::Validator;
use crate::schema::Schema;
use crate::validate::Rules;

/// A group with a resource, such as `apps`/`deployments`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// Empty for the core group.
    pub group: String,
    /// The plural.
    pub resource: String,
}

/// A kind of object.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Empty for the core group.
    pub group: String,
    /// CamelCase, such as `Deployment`.
    pub kind: String,
    /// Such as `deployments`.
    pub plural: String,
    /// Such as `deployment`.
    pub singular: String,
    /// Such as `DeploymentList`.
    pub list_kind: String,
    /// Such as `deploy`.
    pub short_names: Vec<String>,
    /// Such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Where objects are stored, without slashes at the ends: `registry/deployments`.
    pub prefix: String,
    /// The verbs in discovery.
    pub verbs: Vec<String>,
    /// The versions, most preferred first.
    pub versions: Vec<Version>,
    /// Index into `versions` of the one that is stored.
    pub storage: usize,
    /// The fields that field selectors know beside `metadata.name` and `metadata.namespace`,
    /// as paths such as `spec.nodeName`.
    pub selectable: Vec<String>,
    /// Where a selectable field is not what it is called: the paths of which the first that is not
    /// empty counts.
    pub selected_from: BTreeMap<String, Vec<String>>,
    /// How names are checked: `dns1123-subdomain`, `dns1123-label`, `dns1035-label`, `path-segment`, `ip`.
    pub name_rule: String,
    /// Seconds until an object is deleted by the store, if it is (events).
    pub ttl_s: Option<u64>,
    /// Whether `metadata.generation` counts changes outside `metadata` and `status`.
    pub generation: bool,
    /// Whether a delete waits for a grace period (pods).
    pub graceful: bool,
    /// Whether nothing acts on this kind yet; a warning says so.
    pub inert: bool,
    /// The kind whose objects this one shows in words of its own, if it keeps none itself.
    pub presents: Option<Presents>,
    /// Who is asked for objects in another version, if versions differ in more than their names.
    pub conversion: Option<Conversion>,
}

/// A webhook that brings objects from one version to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// Where it is: a `clientConfig`.
    pub client: crate::Object,
    /// The reviews that it reads, as it prefers them.
    pub reviews: Vec<String>,
}

/// How a kind shows the objects of another: two presentations of one storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presents {
    /// The group of the kind that is stored.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its plural.
    pub plural: String,
    /// Fields by their name in what is stored, and in what is shown.
    pub renames: Vec<(String, String)>,
}

impl Presents {
    /// What is stored, as it is shown.
    pub fn show(&self, object: &mut crate::Object) {
        rename(object, self.renames.iter().map(|(stored, shown)| (stored, shown)));
    }

    /// What was shown, as it is stored.
    pub fn store(&self, object: &mut crate::Object) {
        rename(object, self.renames.iter().map(|(stored, shown)| (shown, stored)));
    }
}

fn rename<'a>(object: &mut crate::Object, pairs: impl Iterator<Item = (&'a String, &'a String)>) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in pairs {
        if let Some(value) = map.remove(from) {
            map.insert(to.clone(), value);
        }
    }
}

/// One version of a kind.
#[derive(Debug, Clone)]
pub struct Version {
    /// Such as `v1`.
    pub name: String,
    /// Whether clients may ask for it; a version that is only stored cannot be asked for.
    pub served: bool,
    /// What whoever asks for it is warned of, if it is about to go.
    pub deprecated: Option<String>,
    /// Its structure.
    pub schema: Schema,
    /// What its objects are held to beyond their structure, if a schema says it and not code.
    pub validator: Option<Arc<Validator>>,
    /// The rules that its definition writes in the expression language, compiled.
    pub rules: Option<Arc<dyn Rules>>,
    /// Its subresources: name to what it is.
    pub subresources: BTreeMap<String, Subresource>,
    /// Columns of the table that people see.
    pub columns: Vec<Column>,
}

/// A view of an object, or a thing one does to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// What it does.
    pub action: Action,
    /// The kind that requests carry, with group and version if not the object's own.
    pub kind: String,
    /// Empty for the object's own.
    pub group: String,
    /// Empty for the object's own.
    pub version: String,
    /// The verbs in discovery.
    pub verbs: Vec<String>,
}

/// What a subresource does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Shows the whole object; a write changes only these top-level fields (and what metadata
    /// a status write may change).
    View(Vec<String>),
    /// The same, but a write changes only these paths and no metadata; `list[key].field` is the field
    /// of each item that both sides know by `key`.
    Part(Vec<String>),
    /// `autoscaling/v1` Scale, read from these paths.
    Scale {
        /// Such as `.spec.replicas`.
        spec_replicas: String,
        /// Such as `.status.replicas`.
        status_replicas: String,
        /// Such as `.status.selector`; empty if there is none.
        selector: String,
    },
    /// Code of its own: `binding`, `eviction`, `log`, `exec`, `token`, `finalize`…
    Custom,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading, such as `Ready`.
    pub name: String,
    /// `string`, `integer`, `date`…
    pub r#type: String,
    /// `name` for the first, else empty.
    pub format: String,
    /// What it means.
    pub description: String,
    /// 0 is always shown, greater with `-o wide`.
    pub priority: i32,
    /// A JSON path (`.spec.replicas`), or `=name` for a computed cell of [`crate::kind`]'s kinds.
    pub source: String,
}

impl Kind {
    /// `deployments.apps`, or `pods`.
    pub fn qualified(&self) -> String {
        crate::status::qualified(&self.plural, &self.group)
    }

    /// `apps/v1`, or `v1`.
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The served version of that name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.served && version.name == name)
    }

    /// The version that is stored.
    pub fn stored(&self) -> &Version {
        &self.versions[self.storage]
    }

    /// A version that clients can ask for: the stored one if it is served.
    pub fn stored_or_served(&self) -> &str {
        let served = || self.versions.iter().find(|version| version.served);
        let stored = Some(self.stored()).filter(|version| version.served);
        stored.or_else(served).map_or("", |version| &version.name)
    }

    /// The key of an object in the store; `namespace` is ignored for cluster-wide kinds.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("/{}/{namespace}/{name}", self.prefix)
        } else {
            format!("/{}/{name}", self.prefix)
        }
    }
}

/// All kinds that are served, as one value that is swapped whole.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<GroupResource, Arc<Kind>>,
}

impl Registry {
    /// A registry of these kinds.
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let mut registry = Self::default();
        for kind in kinds {
            registry.insert(kind);
        }
        registry
    }

    /// Adds a kind, or replaces the one with its group and plural.
    pub fn insert(&mut self, kind: Kind) {
        let key = GroupResource { group: kind.group.clone(), resource: kind.plural.clone() };
        self.kinds.insert(key, Arc::new(kind));
    }

    /// Adds a kind that others hold too, unless one with its group and plural is there.
    pub fn share(&mut self, kind: Arc<Kind>) {
        let key = GroupResource { group: kind.group.clone(), resource: kind.plural.clone() };
        self.kinds.entry(key).or_insert(kind);
    }

    /// The kind with that plural, in that group, if it has that version.
    pub fn resource(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Kind>> {
        let key = GroupResource { group: group.into(), resource: resource.into() };
        self.kinds.get(&key).filter(|kind| kind.version(version).is_some())
    }

    /// The kind of that name.
    pub fn kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.values().find(|known| known.group == group && known.kind == kind)
    }

    /// Every kind, by group and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }
}
