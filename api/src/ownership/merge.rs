//! Merging an applied configuration into a live object.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::atom::{self, Atom, List};
use super::element::Element;
use crate::Object;
use crate::schema::Schema;

/// The live object with everything that `applied` sets.
///
/// # Errors
/// Items of lists that cannot be told apart.
pub fn merge(schema: &Schema, live: &Object, applied: &Object) -> Result<Object, String> {
    let mut path = String::new();
    let merged = visit(schema, Some(live), Some(applied), &mut path);
    merged.map(|merged| merged.unwrap_or(Value::Null)).map_err(|what| match path.as_str() {
        "" => what,
        path => format!("{path}: {what}"),
    })
}

/// `path` is left at what went wrong.
fn visit(
    schema: &Schema,
    live: Option<&Value>,
    applied: Option<&Value>,
    path: &mut String,
) -> Result<Option<Value>, String> {
    let (Some(live), Some(applied)) = (live, applied) else {
        return Ok(applied.or(live).cloned());
    };
    match atom::of(schema, applied) {
        Atom::Scalar(_) => Ok(Some(applied.clone())),
        Atom::List(list) => {
            let (before, after) = (live.as_array(), applied.as_array());
            let empty = |list: Option<&Vec<Value>>| list.is_none_or(Vec::is_empty);
            if list.atomic() || (empty(before) && empty(after)) {
                return Ok(Some(applied.clone()));
            }
            let none = Vec::new();
            items(&list, before.unwrap_or(&none), after.unwrap_or(&none), path)
        }
        Atom::Map(map) => {
            let (before, after) = (live.as_object(), applied.as_object());
            let empty = |map: Option<&Map<String, Value>>| map.is_none_or(Map::is_empty);
            if map.atomic || (empty(before) && empty(after)) {
                return Ok(Some(applied.clone()));
            }
            let mut out = Map::new();
            for (name, live) in before.into_iter().flatten() {
                let Some(applied) = after.and_then(|after| after.get(name)) else {
                    out.insert(name.clone(), live.clone());
                    continue;
                };
                let length = path.len();
                path.push('.');
                path.push_str(name);
                if let Some(value) = visit(map.value(name).0, Some(live), Some(applied), path)? {
                    out.insert(name.clone(), value);
                }
                path.truncate(length);
            }
            for (name, applied) in after.into_iter().flatten() {
                if before.is_none_or(|before| !before.contains_key(name)) {
                    out.insert(name.clone(), applied.clone());
                }
            }
            Ok((!out.is_empty()).then_some(Value::Object(out)))
        }
    }
}

/// The items of a list in order, and each by what tells it apart; `None` where several share that.
type Indexed<'a> = (Vec<(Element, &'a Value)>, BTreeMap<Element, Option<&'a Value>>);

fn index<'a>(list: &List<'_>, items: &'a [Value], duplicates: bool) -> Result<Indexed<'a>, String> {
    let mut order = Vec::with_capacity(items.len());
    let mut found: BTreeMap<Element, Option<&Value>> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        let element = list.element(item).map_err(|why| format!("element {place}: {why}"))?;
        let known = found.contains_key(&element);
        if known && !duplicates {
            return Err(format!("duplicate entries for key {element}"));
        }
        found.insert(element.clone(), (!known).then_some(item));
        order.push((element, item));
    }
    Ok((order, found))
}

/// Applied items stand in the order of the configuration, the others keep their place among the
/// live ones.
fn items(
    list: &List<'_>,
    live: &[Value],
    applied: &[Value],
    path: &mut String,
) -> Result<Option<Value>, String> {
    let (right, found_right) = index(list, applied, false)?;
    let (left, found_left) = index(list, live, true)?;
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let mut shared: VecDeque<&Element> =
        right.iter().map(|(element, _)| element).filter(|element| found_left.contains_key(element)).collect();
    let mut next = shared.pop_front();
    let mut merged: BTreeSet<&Element> = BTreeSet::new();
    let null = Value::Null;
    let mut take = |element: &Element, out: &mut Vec<Value>| -> Result<(), String> {
        let live = found_left.get(element).map(|live| live.unwrap_or(&null));
        let applied = found_right.get(element).copied().flatten();
        let length = path.len();
        path.push_str(&element.to_string());
        out.extend(visit(list.items, live, applied, path)?);
        path.truncate(length);
        Ok(())
    };
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            let element = &left[l].0;
            if *element == right[r].0 {
                merged.insert(element);
                take(element, &mut out)?;
                l += 1;
                r += 1;
                next = shared.pop_front();
                continue;
            }
            if found_right.contains_key(element) && next.is_some_and(|next| next != element) {
                // Shared, but its turn comes later.
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            let (element, item) = &left[l];
            if !found_right.contains_key(element) {
                out.push((*item).clone());
                l += 1;
                continue;
            } else if merged.contains(element) {
                l += 1;
            }
        }
        if r < right.len() {
            let element = &right[r].0;
            merged.insert(element);
            take(element, &mut out)?;
            r += 1;
            if next == Some(element) {
                next = shared.pop_front();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}
