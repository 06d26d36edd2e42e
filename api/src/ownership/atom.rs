//! What a schema makes of a value: a scalar, a list or a map, whole or in parts.
//!
//! Where the schema knows nothing ([`Shape::Any`], and what is one of several) the value says what it is: lists are whole,
//! maps are in parts (upstream's deduced type).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::element::Element;
use crate::schema::{Field, ListKind, Presence, Schema, Shape};

static ANY: LazyLock<Schema> = LazyLock::new(Schema::default);
static WHOLE: ListKind = ListKind::Atomic;

/// How a value is taken.
pub enum Atom<'a> {
    /// Whole, and of that sort.
    Scalar(Scalar),
    /// A list.
    List(List<'a>),
    /// An object or a map.
    Map(Map<'a>),
}

/// The sorts of scalars that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// Text.
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Any of them.
    Any,
}

/// A list.
pub struct List<'a> {
    /// Of each item.
    pub items: &'a Schema,
    kind: &'a ListKind,
}

/// An object or a map.
pub struct Map<'a> {
    known: Option<&'a BTreeMap<String, Field>>,
    values: Option<&'a Schema>,
    /// Whether it is replaced whole.
    pub atomic: bool,
}

/// What a schema makes of a value.
pub fn of<'a>(schema: &'a Schema, value: &Value) -> Atom<'a> {
    match &schema.shape {
        Shape::Any | Shape::Either(_) => match value {
            Value::Array(_) => Atom::List(List { items: &ANY, kind: &WHOLE }),
            Value::Object(_) | Value::Null => {
                Atom::Map(Map { known: None, values: Some(&ANY), atomic: false })
            }
            _ => Atom::Scalar(Scalar::Any),
        },
        Shape::Object(fields) => {
            let values = fields.preserve_unknown.then_some(&*ANY);
            Atom::Map(Map { known: Some(&fields.known), values, atomic: schema.atomic })
        }
        Shape::Map(values) => Atom::Map(Map { known: None, values: Some(values), atomic: schema.atomic }),
        Shape::List { items, kind } => Atom::List(List { items, kind }),
        Shape::String { format, .. } if format.starts_with("date-time") => Atom::Scalar(Scalar::Any),
        Shape::String { .. } => Atom::Scalar(Scalar::String),
        Shape::Integer { .. } | Shape::Number => Atom::Scalar(Scalar::Number),
        Shape::Boolean => Atom::Scalar(Scalar::Boolean),
        Shape::IntOrString | Shape::Quantity => Atom::Scalar(Scalar::Any),
    }
}

/// Whether both values are of one sort to that schema.
pub fn alike(schema: &Schema, a: &Value, b: &Value) -> bool {
    let sort = |value: &Value| match value {
        Value::Null => 0,
        Value::Array(_) => 1,
        Value::Object(_) => 2,
        _ => 3,
    };
    !matches!(schema.shape, Shape::Any | Shape::Either(_)) || sort(a) == sort(b)
}

impl<'a> Map<'a> {
    /// The schema of a key, and whether it is a declared field.
    pub fn field(&self, name: &str) -> Option<(&'a Schema, bool)> {
        match self.known.and_then(|known| known.get(name)) {
            Some(field) => Some((&field.schema, true)),
            None => self.values.map(|values| (values, false)),
        }
    }

    /// The schema of a key; what is not declared may be anything.
    pub fn value(&self, name: &str) -> (&'a Schema, bool) {
        self.field(name).unwrap_or((&ANY, false))
    }
}

impl List<'_> {
    /// Whether it is replaced whole.
    pub fn atomic(&self) -> bool {
        *self.kind == ListKind::Atomic
    }

    /// What tells an item from the others.
    ///
    /// # Errors
    /// Why the item cannot be told apart, in upstream's words.
    pub fn element(&self, item: &Value) -> Result<Element, String> {
        match self.kind {
            ListKind::Atomic => Err("invalid indexing of non-associative list".into()),
            ListKind::Map(keys) => self.key(keys, item),
            ListKind::Set => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".into())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".into())
                }
                scalar => Ok(Element::Value(Arc::new(scalar.clone()))),
            },
        }
    }

    fn key(&self, keys: &[String], item: &Value) -> Result<Element, String> {
        let Value::Object(item) = item else {
            return Err(match item {
                Value::Null => "associative list with keys may not have a null element".into(),
                _ => "associative list with keys may not have non-map elements".into(),
            });
        };
        let value = |key: &String| item.get(key).cloned().or_else(|| self.default(key));
        let fields: Vec<(Arc<str>, Value)> =
            keys.iter().filter_map(|key| Some((key.as_str().into(), value(key)?))).collect();
        if fields.is_empty() {
            let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                keys.join(" ")
            ));
        }
        Ok(Element::key(fields))
    }

    /// What a key field is when it is left out: its default, or the zero that Go would have.
    fn default(&self, key: &str) -> Option<Value> {
        let Shape::Object(fields) = &self.items.shape else { return None };
        let field = fields.known.get(key)?;
        if field.default.is_some() || field.presence != Presence::Always {
            return field.default.clone();
        }
        match &field.schema.shape {
            Shape::String { .. } => Some("".into()),
            Shape::Integer { .. } | Shape::Number => Some(0.into()),
            Shape::Boolean => Some(false.into()),
            _ => None,
        }
    }
}
