//! What a write does to `metadata.managedFields`, whole: the managers of an update, and apply.
//! Upstream: `apimachinery/pkg/util/managedfields/internal`.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::check::check;
use super::compare::{Comparison, compare};
use super::element;
use super::last_applied;
use super::managed::{Managed, Manager, Operation, Owned, is_reset};
use super::reset::Reset;
use super::set::Set;
use super::updater::{Conflict, Refusal, Updater, Versions};
use crate::kind::Kind;
use crate::schema::Schema;
use crate::status::{Cause, Details, Status};
use crate::{Object, convert, meta, walk};

/// What no one owns: it is the server's, or what an object is found by.
static NO_ONES: LazyLock<Set> = LazyLock::new(|| {
    Set::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// Who owns what was there before anyone applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Who owns what the oldest updaters owned.
const ANCIENT: &str = "ancient-changes";
/// The most updaters that are told apart.
const UPDATERS: usize = 10;

/// A write of one kind in one version.
pub struct Tracker<'a> {
    /// Of the kind.
    pub versions: &'a dyn Versions,
    /// Such as `apps/v1`.
    pub api_version: &'a str,
    /// Such as `Deployment`.
    pub kind: &'a str,
    /// The subresource it goes through, or empty.
    pub subresource: &'a str,
    /// What it leaves alone.
    pub reset: &'a Reset,
    /// The time, RFC 3339 in UTC, in seconds.
    pub now: &'a str,
}

impl Versions for Kind {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        let (group, name) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.version(name).filter(|_| self.group == group).map(|version| &version.schema)
    }

    fn convert<'a>(&self, object: &'a Object, api_version: &str) -> Option<Cow<'a, Object>> {
        if object["apiVersion"] == api_version {
            return Some(Cow::Borrowed(object));
        }
        self.schema(api_version)?;
        let name = |api_version: &str| api_version.rsplit('/').next().unwrap_or_default().to_owned();
        let given = name(object["apiVersion"].as_str().unwrap_or_default());
        let mut object = object.clone();
        convert::store(self, &given, &mut object);
        convert::show(self, &name(api_version), &mut object);
        object["apiVersion"] = api_version.into();
        Some(Cow::Owned(object))
    }
}

/// An object of which nothing has been set, as the server shows it: what a create starts from.
pub fn empty(schema: &Schema, api_version: &str, kind: &str) -> Object {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {}});
    walk::normalise(schema, &mut object);
    object
}

impl Tracker<'_> {
    fn updater(&self) -> Updater<'_> {
        Updater { versions: self.versions, api_version: self.api_version, reset: self.reset }
    }

    /// Sets the managers of an object that is created or updated by `manager`. `live` has no uid
    /// when it is [`empty`]. A client's own list of managers counts where it can be read and the
    /// write is to the object itself; `asks_reset` where it asked for a new start.
    pub fn update(&self, live: &Object, new: &mut Object, manager: &str, asks_reset: bool) {
        let given = take_entries(new);
        let kept = entries(live);
        let direct = self.subresource.is_empty();
        let Some(schema) = self.versions.schema(self.api_version) else { return };
        let change = self.change(schema, live, new);
        let asked = direct && (asks_reset || !(given.is_null() || given == *kept));
        if change.is_same() && !asked {
            put_entries(new, kept.clone());
            return;
        }
        let read = |entries: &Value| Managed::read(entries).unwrap_or_default();
        let managed = match asked {
            _ if !asked => read(kept),
            _ if asks_reset || is_reset(&given) => Managed::default(),
            _ => match Managed::read(&given) {
                Ok(managed) if !managed.fields.is_empty() => managed,
                _ => read(kept),
            },
        };
        // Who has no managers until now keeps none, unless it is new.
        if managed.fields.is_empty() && !meta::uid(live).is_empty() {
            return;
        }
        let managed = self.updated(change, live, new, managed, manager);
        put_entries(new, managed.write());
    }

    fn change(&self, schema: &Schema, old: &Object, new: &Object) -> Comparison {
        self.reset.narrow(compare(schema, old, new)).map(|set| set.difference(&NO_ONES))
    }

    /// The managers after a change by `manager`.
    fn updated(
        &self,
        change: Comparison,
        old: &Object,
        new: &Object,
        mut managed: Managed,
        manager: &str,
    ) -> Managed {
        let updater = self.updater();
        updater.reconcile(&mut managed.fields);
        let change = match updater.take_changed(change, old, new, &mut managed.fields, None, true) {
            Ok(change) => change,
            // A change that is forced meets no conflict.
            Err(_) => return managed,
        };
        let set = change.added.union(&change.modified);
        if !set.is_empty() {
            let manager = Manager::new(manager, Operation::Update, self.api_version, self.subresource);
            managed.times.insert(manager.clone(), self.now.into());
            let before = managed.fields.get(&manager);
            let set = before.map_or_else(|| set.clone(), |before| before.set.union(&set));
            managed.fields.insert(manager, Owned { set, api_version: self.api_version.into() });
        }
        cap(&mut managed);
        managed
    }

    /// The object after `manager` applied a configuration, with its managers set; nothing has been
    /// defaulted. `live` has no uid when it is [`empty`].
    ///
    /// # Errors
    /// What the configuration lacks or has too much, and 409 for conflicts that are not forced.
    pub fn apply(
        &self,
        live: &Object,
        applied: &Object,
        manager: &str,
        force: bool,
    ) -> Result<Object, Status> {
        let managed = Managed::read(entries(live))
            .map_err(|why| internal(format!("failed to decode managed fields: {why}")))?;
        let text = |key: &str| applied.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("apiVersion") != self.api_version || text("kind") != self.kind {
            let given = qualified_kind(text("apiVersion"), text("kind"));
            return Err(Status::bad_request(format!("invalid object type: {given}")));
        }
        if applied
            .get("metadata")
            .and_then(|metadata| metadata.get("managedFields"))
            .is_some_and(|v| !v.is_null())
        {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let schema = self.versions.schema(self.api_version).ok_or_else(Status::no_such_path)?;
        check(schema, applied).map_err(|why| {
            let (namespace, name) = (meta::namespace(applied), meta::name(applied));
            let of = qualified_kind(self.api_version, self.kind);
            internal(format!("failed to create typed patch object ({namespace}/{name}; {of}): {why}"))
        })?;
        let mut live = live.clone();
        take_entries(&mut live);
        let live = live;

        let managed = if managed.fields.is_empty() {
            let nothing = empty(schema, self.api_version, self.kind);
            let change = self.change(schema, &nothing, &live);
            self.updated(change, &nothing, &live, managed, BEFORE_FIRST_APPLY)
        } else {
            managed
        };
        let (mut object, managed) = match self.applied(&live, applied, managed.clone(), manager, force) {
            Err(Refusal::Conflicts(conflicts)) if manager == last_applied::MANAGER => {
                let allowed =
                    last_applied::applied_before(schema, self.api_version, &live).unwrap_or_default();
                let left: Vec<Conflict> =
                    conflicts.into_iter().filter(|conflict| !allowed.has(&conflict.path)).collect();
                if left.is_empty() {
                    self.applied(&live, applied, managed, manager, true)
                } else {
                    Err(Refusal::Conflicts(left))
                }
            }
            outcome => outcome,
        }
        .map_err(refused)?;
        if manager == last_applied::MANAGER {
            last_applied::keep_in_step(&mut object, applied);
        }
        put_entries(&mut object, managed.write());
        Ok(object)
    }

    fn applied(
        &self,
        live: &Object,
        applied: &Object,
        mut managed: Managed,
        manager: &str,
        force: bool,
    ) -> Result<(Object, Managed), Refusal> {
        let manager = Manager::new(manager, Operation::Apply, "", self.subresource);
        let new = self.updater().apply(live, applied, &mut managed.fields, &manager, force)?;
        if let Some(owned) = managed.fields.get_mut(&manager) {
            owned.set = owned.set.difference(&NO_ONES);
        }
        managed.fields.retain(|_, owned| !owned.set.is_empty());
        if new.is_some() {
            managed.times.insert(manager, self.now.into());
        }
        Ok((new.unwrap_or_else(|| live.clone()), managed))
    }
}

/// Joins the oldest updaters of each version until few enough are left.
fn cap(managed: &mut Managed) {
    let mut updaters: Vec<Manager> =
        managed.fields.keys().filter(|manager| manager.operation == Operation::Update).cloned().collect();
    let mut count = updaters.len();
    if count <= UPDATERS {
        return;
    }
    let time = |manager: &Manager| managed.times.get(manager).cloned().unwrap_or_default();
    updaters.sort_by_cached_key(|manager| (time(manager), manager.clone()));
    let mut firsts: Vec<(String, Manager)> = Vec::new();
    for manager in updaters {
        if count <= UPDATERS {
            break;
        }
        let Some(owned) = managed.fields.get(&manager).cloned() else { continue };
        let Some((_, first)) = firsts.iter().find(|(version, _)| *version == owned.api_version) else {
            firsts.push((owned.api_version, manager));
            continue;
        };
        let bucket = Manager::new(ANCIENT, Operation::Update, &owned.api_version, "");
        if !managed.fields.contains_key(&bucket)
            && let Some(first) = managed.fields.remove(first)
        {
            managed.fields.insert(bucket.clone(), first);
        }
        if let Some(joined) = managed.fields.get_mut(&bucket) {
            joined.set = joined.set.union(&owned.set);
        }
        managed.fields.remove(&manager);
        count -= 1;
        if let Some(time) = managed.times.get(&manager).cloned() {
            managed.times.insert(bucket, time);
        }
    }
}

/// `metadata.managedFields`, or null.
fn entries(object: &Object) -> &Value {
    object.get("metadata").and_then(|metadata| metadata.get("managedFields")).unwrap_or(&Value::Null)
}

fn take_entries(object: &mut Object) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|metadata| metadata.remove("managedFields")).unwrap_or(Value::Null)
}

fn put_entries(object: &mut Object, entries: Value) {
    if entries.as_array().is_none_or(Vec::is_empty) {
        return;
    }
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    object["metadata"]["managedFields"] = entries;
}

/// `apps/v1, Kind=Deployment`, as upstream prints a kind.
fn qualified_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// What upstream answers for a plain error.
fn internal(message: String) -> Status {
    Status::new(500, "", message)
}

fn refused(refusal: Refusal) -> Status {
    let conflicts = match refusal {
        Refusal::Failed(why) => return internal(why),
        Refusal::Conflicts(conflicts) => conflicts,
    };
    let causes = conflicts.iter().map(|conflict| Cause {
        reason: "FieldManagerConflict",
        message: format!("conflict with {}", named(&conflict.manager)),
        field: element::text(&conflict.path),
    });
    let message = match &conflicts[..] {
        [one] => {
            let path = element::text(&one.path);
            format!("Apply failed with 1 conflict: conflict with {}: {path}", named(&one.manager))
        }
        many => {
            let mut lines: Vec<String> = Vec::new();
            let mut last = None;
            // They come manager by manager.
            for conflict in many {
                if last != Some(&conflict.manager) {
                    lines.push(format!("conflicts with {}:", named(&conflict.manager)));
                    last = Some(&conflict.manager);
                }
                lines.push(format!("- {}", element::text(&conflict.path)));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let details = Details { causes: causes.collect(), ..Details::default() };
    Status { details: Some(details), ..Status::new(409, "Conflict", message) }
}

fn named(manager: &Manager) -> String {
    let mut text = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", manager.subresource));
    }
    if manager.operation == Operation::Update {
        text.push_str(&format!(" using {}", manager.api_version));
    }
    text
}
