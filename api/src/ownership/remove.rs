//! Taking fields out of an object by a set of them.

use serde_json::{Map, Value};

use super::atom::{self, Atom};
use super::element::Element;
use super::set::Set;
use crate::Object;
use crate::schema::Schema;

/// Removes every field of a set, with all below it. A container that becomes empty stays, empty.
pub fn remove(schema: &Schema, value: &mut Object, fields: &Set) {
    if fields.is_empty() {
        return;
    }
    match atom::of(schema, value) {
        Atom::Scalar(_) => {}
        // Of a whole, either all is left or nothing.
        Atom::List(list) if list.atomic() => {
            if value.is_array() {
                *value = Value::Array(Vec::new());
            }
        }
        Atom::Map(map) if map.atomic => {
            if value.is_object() {
                *value = Value::Object(Map::new());
            }
        }
        Atom::List(list) => {
            let Value::Array(items) = value else { return };
            items.retain_mut(|item| {
                let node = list.element(item).ok().and_then(|element| fields.get(&element));
                match node {
                    Some(node) if node.member => false,
                    Some(node) => {
                        remove(list.items, item, &node.below);
                        true
                    }
                    None => true,
                }
            });
        }
        Atom::Map(map) => {
            let Value::Object(object) = value else { return };
            for node in fields.nodes() {
                let Element::Field(name) = &node.element else { continue };
                if node.member {
                    object.remove(&**name);
                } else if let Some(value) = object.get_mut(&**name) {
                    remove(map.value(name).0, value, &node.below);
                }
            }
        }
    }
}

/// Only the fields of a set. `keys` keeps the key fields of list items, so that what is
/// extracted can be applied.
pub fn extract(schema: &Schema, object: &Object, fields: &Set, keys: bool) -> Object {
    pick(schema, object, fields, keys).unwrap_or(Value::Null)
}

fn pick(schema: &Schema, value: &Value, fields: &Set, keys: bool) -> Option<Value> {
    match atom::of(schema, value) {
        Atom::Scalar(_) => Some(value.clone()),
        Atom::List(list) => {
            let items = value.as_array()?;
            if list.atomic() || items.is_empty() {
                return Some(value.clone());
            }
            let mut out = Vec::new();
            for item in items {
                let Ok(element) = list.element(item) else { continue };
                let Some(node) = fields.get(&element) else { continue };
                if node.below.is_empty() && !keys {
                    out.push(item.clone());
                    continue;
                }
                let mut below = node.below.clone();
                if let (true, Element::Key(key)) = (keys, &element) {
                    for (name, _) in key.iter() {
                        below.add(Element::Field(name.clone()), true, Set::default());
                    }
                }
                let picked =
                    if below.is_empty() { Some(item.clone()) } else { pick(list.items, item, &below, keys) };
                out.extend(picked);
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
        Atom::Map(map) => {
            let object = value.as_object()?;
            if map.atomic || object.is_empty() {
                return Some(value.clone());
            }
            let mut out = Map::new();
            for node in fields.nodes() {
                let Element::Field(name) = &node.element else { continue };
                let Some(value) = object.get(&**name) else { continue };
                let picked = match pick(map.value(name).0, value, &node.below, keys) {
                    None if node.member && !value.is_null() => Some(hollow(value)),
                    picked => picked,
                };
                out.extend(picked.map(|picked| (name.to_string(), picked)));
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
    }
}

/// The empty value of the same sort.
fn hollow(value: &Value) -> Value {
    match value {
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Value::Object(Map::new()),
        other => other.clone(),
    }
}
