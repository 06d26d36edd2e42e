//! What a write does to the sets of all managers. Upstream: structured-merge-diff `merge/update.go`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::compare::{Comparison, compare};
use super::element::Element;
use super::managed::{Manager, Owned};
use super::members::{members, reconcile, with_named};
use super::merge::merge;
use super::remove::remove;
use super::reset::Reset;
use super::set::Set;
use crate::Object;
use crate::schema::Schema;

/// The versions that an object can be shown in.
pub trait Versions: Sync {
    /// The schema of a version such as `apps/v1`.
    fn schema(&self, api_version: &str) -> Option<&Schema>;

    /// The object in that version; `None` if it has no such version.
    fn convert<'a>(&self, object: &'a Object, api_version: &str) -> Option<Cow<'a, Object>>;
}

/// All managers with what they own.
pub type Owners = BTreeMap<Manager, Owned>;

/// A field that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it.
    pub manager: Manager,
    /// The field.
    pub path: Vec<Element>,
}

/// Why an apply is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Others own what it would change.
    Conflicts(Vec<Conflict>),
    /// The configuration cannot be merged.
    Failed(String),
}

/// One kind in one version, as a write sees it.
pub struct Updater<'a> {
    /// Of the kind.
    pub versions: &'a dyn Versions,
    /// Of the write.
    pub api_version: &'a str,
    /// The fields that the write cannot change.
    pub reset: &'a Reset,
}

impl Updater<'_> {
    fn schema(&self) -> Result<&Schema, Refusal> {
        self.versions
            .schema(self.api_version)
            .ok_or_else(|| Refusal::Failed(format!("no corresponding type for {}", self.api_version)))
    }

    /// Takes from the managers what a change of the object takes, and answers with that change.
    /// `own` is not asked.
    fn take(
        &self,
        old: &Object,
        new: &Object,
        owners: &mut Owners,
        own: Option<&Manager>,
        force: bool,
    ) -> Result<Comparison, Refusal> {
        let change = self.reset.narrow(compare(self.schema()?, old, new));
        self.take_changed(change, old, new, owners, own, force)
    }

    /// The same, of a change that has been found.
    pub fn take_changed(
        &self,
        change: Comparison,
        old: &Object,
        new: &Object,
        owners: &mut Owners,
        own: Option<&Manager>,
        force: bool,
    ) -> Result<Comparison, Refusal> {
        let mut others: BTreeMap<String, Comparison> = BTreeMap::new();
        let mut lost: BTreeMap<Manager, Set> = BTreeMap::new();
        let mut conflicts: Vec<(Manager, Set)> = Vec::new();
        let mut obsolete = Vec::new();
        for (manager, owned) in owners.iter() {
            if Some(manager) == own {
                continue;
            }
            if owned.api_version != self.api_version && !others.contains_key(&owned.api_version) {
                let version = owned.api_version.as_str();
                let (Some(schema), Some(old), Some(new)) = (
                    self.versions.schema(version),
                    self.versions.convert(old, version),
                    self.versions.convert(new, version),
                ) else {
                    obsolete.push(manager.clone());
                    continue;
                };
                others.insert(version.into(), self.reset.narrow(compare(schema, &old, &new)));
            }
            let change = others.get(&owned.api_version).unwrap_or(&change);
            let mut taken = owned.set.intersection(&change.modified);
            if !change.added.is_empty() {
                taken = taken.union(&owned.set.intersection(&change.added));
            }
            if !taken.is_empty() {
                conflicts.push((manager.clone(), taken.clone()));
            }
            if !change.removed.is_empty() || !taken.is_empty() {
                lost.insert(manager.clone(), taken.union(&change.removed));
            }
        }
        if !force && !conflicts.is_empty() {
            let each = conflicts.into_iter().flat_map(|(manager, set)| {
                set.paths().into_iter().map(move |path| Conflict { manager: manager.clone(), path })
            });
            return Err(Refusal::Conflicts(each.collect()));
        }
        for manager in obsolete {
            owners.remove(&manager);
        }
        for (manager, lost) in lost {
            if let Some(owned) = owners.get_mut(&manager) {
                owned.set = owned.set.difference(&lost);
            }
        }
        owners.retain(|_, owned| !owned.set.is_empty());
        Ok(change)
    }

    /// Brings the sets to today's schema: what has become a whole since is owned as a whole.
    pub fn reconcile(&self, owners: &mut Owners) {
        owners.retain(|_, owned| {
            let schema = self.versions.schema(&owned.api_version);
            if let Some(schema) = schema {
                reconcile(&mut owned.set, schema);
            }
            schema.is_some()
        });
    }

    /// Applies a configuration: the new object, or `None` if it is as the live one.
    ///
    /// # Errors
    /// Conflicts unless forced; configurations that cannot be merged.
    pub fn apply(
        &self,
        live: &Object,
        applied: &Object,
        owners: &mut Owners,
        manager: &Manager,
        force: bool,
    ) -> Result<Option<Object>, Refusal> {
        let schema = self.schema()?;
        self.reconcile(owners);
        let merged = merge(schema, live, applied)
            .map_err(|why| Refusal::Failed(format!("failed to merge config: {why}")))?;
        let set = self.reset.narrow_set(&members(schema, applied));
        let owned = Owned { set, api_version: self.api_version.into() };
        let last = owners.insert(manager.clone(), owned);
        let new = match last {
            Some(last) => self.prune(merged, owners, manager, &last),
            None => merged,
        };
        self.take(live, &new, owners, Some(manager), force)?;
        Ok((!super::element::same(live, &new)).then_some(new))
    }

    /// Removes what the manager applied last time, does not now, and no one else owns.
    fn prune(&self, merged: Object, owners: &Owners, manager: &Manager, last: &Owned) -> Object {
        // What it still owns is not pruned, so there is nothing to do if it still owns all.
        let kept = owners.get(manager).is_some_and(|now| {
            now.api_version == last.api_version && last.set.difference(&now.set).is_empty()
        });
        let version = last.api_version.as_str();
        let (false, Some(schema)) = (kept || last.set.is_empty(), self.versions.schema(version)) else {
            return merged;
        };
        let Some(merged_then) = self.versions.convert(&merged, version).map(Cow::into_owned) else {
            return merged;
        };
        let last_named = with_named(&last.set, schema);
        let mut pruned = merged_then.clone();
        remove(schema, &mut pruned, &last_named);

        let mut managed: BTreeMap<&str, Set> = BTreeMap::new();
        for owned in owners.values() {
            let set = managed.entry(owned.api_version.as_str()).or_default();
            *set = set.union(&owned.set);
        }
        // First at the version that was pruned, so that the object can be converted again.
        let first = managed.remove_entry(version);
        for (version, managed) in first.into_iter().chain(managed) {
            let Some(schema) = self.versions.schema(version) else { continue };
            let (Some(merged), Some(before)) =
                (self.versions.convert(&merged_then, version), self.versions.convert(&pruned, version))
            else {
                continue;
            };
            let named = |object: &Object| with_named(&members(schema, object), schema);
            let kept = named(&before).union(&with_named(&managed, schema));
            let gone = named(&merged).difference(&kept);
            let mut after = merged.into_owned();
            remove(schema, &mut after, &gone);
            pruned = after;
        }

        // What no one owns comes back with the item it hung on, unless it was this manager's.
        let Some(pruned) = self.versions.convert(&pruned, version) else { return merged };
        let named = |object: &Object| with_named(&members(schema, object), schema);
        let gone = named(&merged_then).difference(&named(&pruned)).intersection(&last_named);
        let mut result = merged_then;
        remove(schema, &mut result, &gone);
        match self.versions.convert(&result, self.api_version) {
            Some(result) => result.into_owned(),
            None => merged,
        }
    }
}
