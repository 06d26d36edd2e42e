//! The fields that an object sets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::atom::{self, Atom};
use super::element::Element;
use super::set::Set;
use crate::Object;
use crate::schema::Schema;

/// Every field that an object sets: its leaves, what is replaced whole, the items of lists, and the
/// keys of maps.
pub fn members(schema: &Schema, object: &Object) -> Set {
    let mut set = Set::default();
    walk(schema, object, &mut set);
    set
}

/// Adds what is below a value; says whether the value itself is a member.
fn walk(schema: &Schema, value: &Value, out: &mut Set) -> bool {
    match atom::of(schema, value) {
        Atom::Scalar(_) => true,
        Atom::List(list) if list.atomic() => true,
        Atom::Map(map) if map.atomic => true,
        Atom::List(list) => {
            let mut counted: BTreeMap<Element, (usize, &Value)> = BTreeMap::new();
            for item in value.as_array().into_iter().flatten() {
                if let Ok(element) = list.element(item) {
                    counted.entry(element).or_insert((0, item)).0 += 1;
                }
            }
            for (element, (count, item)) in counted {
                let mut below = Set::default();
                // Items of one key are one thing, and nothing is known of their parts.
                if count == 1 {
                    walk(list.items, item, &mut below);
                }
                out.add(element, true, below);
            }
            false
        }
        Atom::Map(map) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let (schema, declared) = map.value(name);
                let mut below = Set::default();
                let own = walk(schema, value, &mut below);
                let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                out.add(Element::field(name), own || empty || !declared, below);
            }
            false
        }
    }
}

/// The same set with every declared field a member that has a member below it.
pub fn with_named(set: &Set, schema: &Schema) -> Set {
    let mut set = set.clone();
    name(&mut set, schema);
    set
}

fn name(set: &mut Set, schema: &Schema) {
    use crate::schema::{Field, Shape};
    set.for_each_node(|node| match (&schema.shape, &node.element) {
        (Shape::Object(fields), Element::Field(field)) => {
            if let Some(Field { schema, .. }) = fields.known.get(&**field) {
                node.member = true;
                name(&mut node.below, schema);
            }
        }
        (Shape::Map(values), Element::Field(_)) => name(&mut node.below, values),
        (Shape::List { items, .. }, Element::Key(_)) => name(&mut node.below, items),
        _ => {}
    });
}

/// Brings a set that was written under an older schema to this one: of what is whole now, nothing
/// below it is owned, but the whole. Says whether anything changed.
pub fn reconcile(set: &mut Set, schema: &Schema) -> bool {
    use crate::schema::{ListKind, Shape};
    let mut changed = false;
    set.for_each_node(|node| {
        let below = match (&schema.shape, &node.element) {
            (Shape::Object(fields), Element::Field(name)) => {
                fields.known.get(&**name).map(|field| &field.schema)
            }
            (Shape::Map(values), Element::Field(_)) => Some(values),
            (Shape::List { items, .. }, _) => Some(items),
            _ => None,
        };
        let Some(schema) = below.filter(|_| !node.below.is_empty()) else { return };
        let whole = match &schema.shape {
            Shape::List { kind, .. } => *kind == ListKind::Atomic,
            Shape::Object(_) | Shape::Map(_) => schema.atomic,
            _ => false,
        };
        if whole {
            node.member = true;
            node.below = Set::default();
            changed = true;
        } else {
            changed |= reconcile(&mut node.below, schema);
        }
    });
    changed
}
