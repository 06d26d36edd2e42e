//! Lists and maps: views of JSON, or made by an expression.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Text, Value};
use crate::error::EvaluationError;
use crate::shape::{DYN, Form, ListKind, Shape, escape, unescape};

/// A list.
#[derive(Debug, Clone)]
pub enum List<'a> {
    /// Of an object.
    Json {
        /// The items.
        items: &'a [Json],
        /// The shape of each.
        shape: &'a Shape,
        /// How it is compared and joined.
        kind: &'a ListKind,
    },
    /// Made.
    Owned {
        /// The items.
        items: Arc<Vec<Value<'a>>>,
        /// How it is compared and joined, if a schema said so.
        kind: Option<&'a ListKind>,
    },
}

impl<'a> List<'a> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json { items, .. } => items.len(),
            Self::Owned { items, .. } => items.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it is compared and joined.
    pub fn kind(&self) -> &'a ListKind {
        match self {
            Self::Json { kind, .. } => kind,
            Self::Owned { kind, .. } => kind.unwrap_or(&ListKind::Atomic),
        }
    }

    /// An item.
    pub fn get(&self, index: usize) -> Option<Result<Value<'a>, EvaluationError>> {
        match self {
            Self::Json { items, shape, .. } => items.get(index).map(|item| Value::of_json(item, shape)),
            Self::Owned { items, .. } => items.get(index).cloned().map(Ok),
        }
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, EvaluationError>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// All items.
    pub fn items(&self) -> Result<Vec<Value<'a>>, EvaluationError> {
        self.iter().collect()
    }
}

/// A map, or an object with known fields.
#[derive(Debug, Clone)]
pub enum Map<'a> {
    /// Of an object.
    Json {
        /// The entries.
        entries: &'a serde_json::Map<String, Json>,
        /// What is declared of it: [`Form::Object`], [`Form::Map`], or nothing.
        form: &'a Form,
    },
    /// Made.
    Owned(Arc<OwnedMap<'a>>),
}

impl<'a> Map<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json { entries, .. } => entries.len(),
            Self::Owned(map) => map.entries.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key that is a text, named as expressions name fields.
    pub fn field(&self, name: &str) -> Option<Result<Value<'a>, EvaluationError>> {
        match self {
            Self::Json { entries, form } => match form {
                Form::Object(object) => {
                    let name = unescape(name)?;
                    let value = entries.get(name.as_ref()).filter(|value| !value.is_null())?;
                    let field = object.fields.get(name.as_ref())?;
                    Some(Value::of_json(value, &field.shape))
                }
                Form::Map(shape) => Some(Value::of_json(entries.get(name)?, shape)),
                _ => Some(Value::of_json(entries.get(name)?, &DYN)),
            },
            Self::Owned(map) => map.get(&Key::Text(name.into())).cloned().map(Ok),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &Value<'a>) -> Option<Result<Value<'a>, EvaluationError>> {
        match (self, key) {
            (_, Value::String(name)) => self.field(name),
            (Self::Owned(map), key) => map.get(&Key::of(key)?).cloned().map(Ok),
            _ => None,
        }
    }

    /// The keys. Of an object those that are declared, as expressions name them.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Json { entries, form: Form::Object(object) } => {
                let known = entries.keys().filter(|key| object.fields.contains_key(*key));
                known
                    .map(|key| match escape(key) {
                        Some(std::borrow::Cow::Owned(escaped)) => escaped.into(),
                        _ => Value::String(Text::Borrowed(key)),
                    })
                    .collect()
            }
            Self::Json { entries, .. } => {
                entries.keys().map(|key| Value::String(Text::Borrowed(key))).collect()
            }
            Self::Owned(map) => map.entries.iter().map(|(key, _)| key.clone()).collect(),
        }
    }
}

/// A map that an expression made, in the order of its making.
#[derive(Debug, Clone, Default)]
pub struct OwnedMap<'a> {
    entries: Vec<(Value<'a>, Value<'a>)>,
    index: HashMap<Key, usize>,
}

impl<'a> OwnedMap<'a> {
    /// Adds an entry; `false` if its key is there already or can be no key.
    pub fn insert(&mut self, key: Value<'a>, value: Value<'a>) -> bool {
        let Some(place) = Key::of(&key) else { return false };
        if self.index.contains_key(&place) {
            return false;
        }
        self.index.insert(place, self.entries.len());
        self.entries.push((key, value));
        true
    }

    /// The value of a key.
    pub fn get(&self, key: &Key) -> Option<&Value<'a>> {
        self.index.get(key).map(|place| &self.entries[*place].1)
    }

    /// All entries.
    pub fn entries(&self) -> &[(Value<'a>, Value<'a>)] {
        &self.entries
    }
}

/// What can be the key of a map. Numbers that are equal are one key, whatever their type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A truth.
    Bool(bool),
    /// A whole number.
    Number(i128),
    /// A text.
    Text(String),
}

impl Key {
    /// The key that a value is.
    pub fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Number(i128::from(*value)),
            Value::Uint(value) => Self::Number(i128::from(*value)),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "only whole numbers far below the bound come here"
            )]
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => {
                Self::Number(*value as i128)
            }
            Value::String(text) => Self::Text(text.to_string()),
            _ => return None,
        })
    }
}
