//! Strategic merge patch: a merge patch that knows, by the schema, which lists are merged by key.
//! Matched to upstream's `util/strategicpatch`.

use serde_json::{Map, Value};

use super::go_text;
use crate::Object;
use crate::schema::{Field, Merge, Schema, Shape};
use crate::status::Status;

const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";
const RETAIN: &str = "$retainKeys";
const PATCH: &str = "$patch";

/// Applies a strategic merge patch.
pub fn strategic(schema: &Schema, live: &Object, patch: &[u8]) -> Result<Object, Status> {
    merge(schema, live, &super::read(patch).map_err(Status::bad_request)?)
}

/// The same with a patch that is decoded already.
pub fn merge(schema: &Schema, live: &Object, patch: &Value) -> Result<Object, Status> {
    let empty = Map::new();
    let Some(patch) = patch.as_object() else {
        return Err(Status::bad_request("error decoding patch: the patch must be an object"));
    };
    let mut object = live.as_object().unwrap_or(&empty).clone();
    objects(schema, &mut object, patch)?;
    Ok(object.into())
}

fn field<'a>(schema: &'a Schema, name: &str) -> Option<&'a Field> {
    match &schema.shape {
        Shape::Object(fields) => fields.known.get(name),
        _ => None,
    }
}

/// The schema of a value by that key, if it is known.
fn child<'a>(schema: &'a Schema, name: &str) -> Option<&'a Schema> {
    match &schema.shape {
        Shape::Map(values) => Some(values),
        _ => field(schema, name).map(|field| &field.schema),
    }
}

fn objects(
    schema: &Schema,
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), Status> {
    match patch.get(PATCH).map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => {
            *target =
                patch.iter().filter(|(key, _)| *key != PATCH).map(|(k, v)| (k.clone(), v.clone())).collect();
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(unknown(other, patch)),
    }
    if let Some(kept) = patch.get(RETAIN).and_then(Value::as_array) {
        target.retain(|key, _| kept.iter().any(|kept| kept.as_str() == Some(key)));
    }
    for (key, items) in patch {
        if let Some(name) = key.strip_prefix(DELETE)
            && let (Some(list), Some(gone)) =
                (target.get_mut(name).and_then(Value::as_array_mut), items.as_array())
        {
            list.retain(|item| !gone.contains(item));
        }
    }
    let any = Schema::default();
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        if value.is_null() {
            target.remove(key);
            continue;
        }
        let schema_of = child(schema, key).unwrap_or(&any);
        match value {
            Value::Object(part) => {
                if part.get(PATCH).and_then(Value::as_str) == Some("delete") {
                    target.remove(key);
                    continue;
                }
                let slot = target.entry(key.clone()).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(slot) = slot {
                    objects(schema_of, slot, part)?;
                }
            }
            Value::Array(part) => {
                let how = field(schema, key).map(|field| field.merge.clone()).unwrap_or_default();
                let order = patch.get(&format!("{ORDER}{key}"));
                let old = target.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
                let merged = lists(schema_of, &how, old, part, order.and_then(Value::as_array))?;
                target.insert(key.clone(), merged.into());
            }
            scalar => {
                target.insert(key.clone(), scalar.clone());
            }
        }
    }
    // An order may come without a change to the list itself.
    for (key, order) in patch {
        if let Some(name) = key.strip_prefix(ORDER)
            && !patch.contains_key(name)
            && let (Some(list), Some(order)) =
                (target.get_mut(name).and_then(Value::as_array_mut), order.as_array())
        {
            let merge_key = field(schema, name).map(|field| field.merge.key.clone()).unwrap_or_default();
            let old = std::mem::take(list);
            *list = sorted(old.clone(), &old, order, &merge_key);
        }
    }
    Ok(())
}

fn lists(
    schema: &Schema,
    how: &Merge,
    old: Vec<Value>,
    patch: &[Value],
    order: Option<&Vec<Value>>,
) -> Result<Vec<Value>, Status> {
    let replace = |item: &Value| item.get(PATCH).and_then(Value::as_str) == Some("replace");
    if !how.merge || patch.iter().any(replace) {
        return Ok(patch.iter().filter(|item| !replace(item)).cloned().collect());
    }
    let mut list = old.clone();
    if how.key.is_empty() {
        for item in patch {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
        return Ok(sorted(list, &old, order.map_or(patch, Vec::as_slice), ""));
    }
    let any = Schema::default();
    let items = match &schema.shape {
        Shape::List { items, .. } => items,
        _ => &any,
    };
    for item in patch {
        let Some(part) = item.as_object() else {
            return Err(Status::bad_request("cannot apply a patch of scalars to a list of objects"));
        };
        let Some(key) = part.get(&how.key) else {
            // As upstream, with neither a reason nor a better code.
            let shown = go_text(&Value::Object(part.clone()));
            let why = format!("map: {shown} does not contain declared merge key: {}", how.key);
            return Err(Status::new(500, "", why));
        };
        let at = list.iter().position(|known| known.get(&how.key) == Some(key));
        match (part.get(PATCH).and_then(Value::as_str), at) {
            (Some("delete"), _) => list.retain(|known| known.get(&how.key) != Some(key)),
            (None | Some("merge"), Some(at)) => {
                if let Value::Object(known) = &mut list[at] {
                    objects(items, known, part)?;
                }
            }
            (None | Some("merge"), None) => {
                let mut fresh = Map::new();
                objects(items, &mut fresh, part)?;
                list.push(fresh.into());
            }
            (Some(other), _) => return Err(unknown(other, part)),
        }
    }
    // Where no order is given the patch's own is kept, and what is new comes before what follows it.
    let given: Vec<Value> = patch.iter().filter(|item| item.get(PATCH).is_none()).cloned().collect();
    Ok(sorted(list, &old, order.unwrap_or(&given), &how.key))
}

/// Puts what `order` names in that order; what only the server has stays before what followed it.
fn sorted(list: Vec<Value>, old: &[Value], order: &[Value], key: &str) -> Vec<Value> {
    let id =
        |item: &Value| if key.is_empty() { item.clone() } else { item.get(key).cloned().unwrap_or_default() };
    let wanted: Vec<Value> = order.iter().map(id).collect();
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|item| wanted.contains(&id(item)));
    named.sort_by_key(|item| wanted.iter().position(|wanted| *wanted == id(item)));
    // Merge both sequences; an item of the server's comes before a named one that it preceded.
    let place = |item: &Value| old.iter().position(|known| id(known) == id(item));
    let mut result = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        while let (Some(other), Some(at)) = (others.peek(), place(&item)) {
            if place(other).is_none_or(|other| other > at) {
                break;
            }
            result.extend(others.next());
        }
        result.push(item);
    }
    result.extend(others);
    result
}

fn unknown(directive: &str, patch: &Map<String, Value>) -> Status {
    let shown = go_text(&Value::Object(patch.clone()));
    Status::new(500, "", format!("unknown patch type: {directive} in map: {shown}"))
}
