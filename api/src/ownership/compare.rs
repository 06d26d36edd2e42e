//! What differs between two versions of an object, field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::atom::{self, Atom, List};
use super::element::{Element, same};
use super::set::Set;
use crate::Object;
use crate::schema::Schema;

/// What one write changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only in the new object.
    pub added: Set,
    /// In both, with other values.
    pub modified: Set,
    /// Only in the old object.
    pub removed: Set,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// The same with every set changed.
    pub fn map(self, change: impl Fn(&Set) -> Set) -> Self {
        let change = |set: Set| if set.is_empty() { set } else { change(&set) };
        Self { added: change(self.added), modified: change(self.modified), removed: change(self.removed) }
    }

    fn add(&mut self, element: impl Fn() -> Element, mark: Option<Mark>, below: Self) {
        for (set, below, own) in [
            (&mut self.added, below.added, Mark::Added),
            (&mut self.modified, below.modified, Mark::Modified),
            (&mut self.removed, below.removed, Mark::Removed),
        ] {
            let member = mark == Some(own);
            if member || !below.is_empty() {
                set.add(element(), member, below);
            }
        }
    }
}

/// What happened to one field itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Added,
    Modified,
    Removed,
}

/// Compares two versions of an object.
pub fn compare(schema: &Schema, old: &Object, new: &Object) -> Comparison {
    let mut out = Comparison::default();
    visit(schema, Some(old), Some(new), &mut out);
    out
}

fn visit(schema: &Schema, old: Option<&Value>, new: Option<&Value>, out: &mut Comparison) -> Option<Mark> {
    if let (Some(old_value), Some(new_value)) = (old, new)
        && !atom::alike(schema, old_value, new_value)
    {
        let first = within(&atom::of(schema, old_value), old, new, out);
        return first.or(within(&atom::of(schema, new_value), old, new, out));
    }
    let value = new.or(old)?;
    let mark = within(&atom::of(schema, value), old, new, out);
    mark.or(match (old, new) {
        (None, _) => Some(Mark::Added),
        (_, None) => Some(Mark::Removed),
        _ => None,
    })
}

/// Compares two values as what `atom` says they are; what is not of that sort counts as empty.
fn within(atom: &Atom<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Comparison) -> Option<Mark> {
    match atom {
        Atom::Scalar(_) => whole(old, new),
        Atom::List(list) => {
            let (before, after) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            let empty = |list: Option<&Vec<Value>>| list.is_none_or(Vec::is_empty);
            if list.atomic() || (empty(before) && empty(after)) {
                return whole(old, new);
            }
            if before != after {
                items(list, before, after, out);
            }
            None
        }
        Atom::Map(map) => {
            let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let empty = |map: Option<&Map<String, Value>>| map.is_none_or(Map::is_empty);
            if map.atomic || (empty(before) && empty(after)) {
                return whole(old, new);
            }
            for (name, old) in before.into_iter().flatten() {
                let new = after.and_then(|after| after.get(name));
                field(map, name, Some(old), new, out);
            }
            for (name, new) in after.into_iter().flatten() {
                if before.is_none_or(|before| !before.contains_key(name)) {
                    field(map, name, None, Some(new), out);
                }
            }
            None
        }
    }
}

fn field(map: &atom::Map<'_>, name: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Comparison) {
    let mut below = Comparison::default();
    let mark = visit(map.value(name).0, old, new, &mut below);
    out.add(|| Element::field(name), mark, below);
}

fn whole(old: Option<&Value>, new: Option<&Value>) -> Option<Mark> {
    match (old, new) {
        (None, _) => Some(Mark::Added),
        (_, None) => Some(Mark::Removed),
        (Some(old), Some(new)) => (!same(old, new)).then_some(Mark::Modified),
    }
}

fn items(list: &List<'_>, old: Option<&Vec<Value>>, new: Option<&Vec<Value>>, out: &mut Comparison) {
    let mut both: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    // An item that cannot be told apart cannot be owned.
    for item in old.into_iter().flatten() {
        if let Ok(element) = list.element(item) {
            both.entry(element).or_default().0.push(item);
        }
    }
    for item in new.into_iter().flatten() {
        if let Ok(element) = list.element(item) {
            both.entry(element).or_default().1.push(item);
        }
    }
    for (element, (old, new)) in both {
        let mut below = Comparison::default();
        let mut compare = |old: Option<&Value>, new: Option<&Value>| visit(list.items, old, new, &mut below);
        // Several items of one key are taken as one thing.
        let marks = match (&old[..], &new[..]) {
            ([] | [_], [] | [_]) => [compare(old.first().copied(), new.first().copied()), None],
            ([_, _, ..], [_, _, ..]) => {
                let equal = old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| same(old, new));
                [(!equal).then_some(Mark::Modified), None]
            }
            ([_, _, ..], _) => {
                let mark = if new.is_empty() { None } else { compare(None, new.first().copied()) };
                [mark, Some(Mark::Removed)]
            }
            _ => {
                let mark = if old.is_empty() { None } else { compare(old.first().copied(), None) };
                [mark, Some(Mark::Added)]
            }
        };
        out.add(|| element.clone(), marks[0], below);
        out.add(|| element.clone(), marks[1], Comparison::default());
    }
}
