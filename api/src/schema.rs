//! The structure of objects, as one tree for built-in and custom kinds.
//!
//! Every operation on objects (prune, default, normalise, check, merge, apply, explain) is one
//! walk over this tree. Definitions are shared: a Pod and every template that embeds one point at
//! the same nodes.

mod definitions;
mod json;
mod layout;
mod overlay;
mod shared;

use std::collections::BTreeMap;
use std::sync::OnceLock;

pub use definitions::{definition, definition_of, definition_of_kind, described, names};
pub use json::from_json;
pub use layout::{Layout, Slot};
pub use shared::Schema;

use serde_json::Value;

/// What one value may be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// The definition that this node is, such as `io.k8s.api.core.v1.Container`; empty if inline.
    pub definition: String,
    /// Its shape.
    pub shape: Shape,
    /// Whether `null` is a value of its own.
    pub nullable: bool,
    /// Whether an object or a map is replaced whole in apply (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
}

/// The shapes of values.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Shape {
    /// Anything at all (raw extensions, `x-kubernetes-preserve-unknown-fields`).
    #[default]
    Any,
    /// Known fields.
    Object(Fields),
    /// Free keys, one schema for all values.
    Map(Schema),
    /// A list.
    List {
        /// Of each item.
        items: Schema,
        /// How items are told apart in apply.
        kind: ListKind,
    },
    /// A string.
    String {
        /// `date-time`, `byte`, `int-or-string`… or empty.
        format: String,
        /// The allowed values; any if empty.
        allowed: Vec<String>,
    },
    /// A whole number of 32 or 64 bits.
    Integer {
        /// 32 or 64.
        bits: u8,
    },
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A number or a string (`IntOrString`).
    IntOrString,
    /// A quantity such as `100m`; a number is taken and written back as a string.
    Quantity,
    /// One of several, told apart by JSON's sort of the value; each with its number in protobuf.
    Either(Vec<(u32, Schema)>),
}

impl Shape {
    /// Which of the alternatives of an [`Shape::Either`] a value is, if any.
    pub fn of<'a>(&'a self, value: &Value) -> Option<&'a Schema> {
        let Self::Either(alternatives) = self else { return None };
        alternatives.iter().map(|(_, schema)| schema).find(|schema| {
            matches!(
                (&schema.shape, value),
                (Self::Object(_), Value::Object(_))
                    | (Self::List { .. }, Value::Array(_))
                    | (Self::Boolean, Value::Bool(_))
            )
        })
    }
}

/// How the items of a list are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListKind {
    /// Replaced whole.
    #[default]
    Atomic,
    /// A set of scalars.
    Set,
    /// Objects with keys.
    Map(Vec<String>),
}

/// The fields of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    /// By name.
    pub known: BTreeMap<String, Field>,
    /// Whether unknown fields are kept.
    pub preserve_unknown: bool,
    /// The fields in the order of protobuf, made when first asked for.
    layout: OnceLock<Layout>,
}

impl Fields {
    /// The fields in the order of protobuf.
    pub fn layout(&self) -> &Layout {
        self.layout.get_or_init(|| Layout::of(&self.known))
    }

    /// The same fields after a change of [`Fields::known`].
    pub fn anew(self) -> Self {
        Self { layout: OnceLock::new(), ..self }
    }
}

/// One field of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// What it holds.
    pub schema: Schema,
    /// Whether it must be there.
    pub required: bool,
    /// What it is when absent.
    pub default: Option<Value>,
    /// How its zero value is shown.
    pub presence: Presence,
    /// What a strategic merge patch does with it.
    pub merge: Merge,
    /// Its number in protobuf: a path where JSON inlines a message that protobuf nests, empty if
    /// it has no form there.
    pub number: Vec<u32>,
}

/// How the zero value of a field is shown by kube-apiserver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Presence {
    /// Shown if it was given (a pointer in Go).
    #[default]
    AsGiven,
    /// Dropped when zero (`omitempty` on a value).
    OmitZero,
    /// Always shown (no `omitempty`, or a struct value): the zero is added when absent.
    Always,
    /// Shown as `null` when absent (a pointer without `omitempty`).
    Null,
}

/// What a strategic merge patch does with a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merge {
    /// Whether lists are merged (`patchStrategy: merge`), not replaced.
    pub merge: bool,
    /// Whether only the keys that the patch names are kept (`retainKeys`).
    pub retain_keys: bool,
    /// The key that tells items apart (`patchMergeKey`); empty for lists of scalars.
    pub key: String,
}
