//! Values: what expressions are evaluated to.
//!
//! Objects stay the JSON that they are. A list or a map of one is a view of it with its declared shape, and an item
//! becomes a value when it is asked for, so that nothing is copied that an expression does not make anew.

mod compare;
mod containers;
mod json;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value as Json;

pub(crate) use compare::join;
pub use compare::{compare, equal};
pub use containers::{Key, List, Map, OwnedMap};

use crate::library::Library;
use crate::time::Moment;

/// A value. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A truth.
    Bool(bool),
    /// 64 bits with a sign.
    Int(i64),
    /// 64 bits without one.
    Uint(u64),
    /// A floating number.
    Double(f64),
    /// A text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Timestamp(Moment),
    /// A span of time, in nanoseconds.
    Duration(i64),
    /// A list.
    List(List<'a>),
    /// A map, or an object.
    Map(Map<'a>),
    /// A value of a named type that an expression made: its fields by name.
    Struct(Arc<Struct<'a>>),
    /// A value that may be absent.
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its name.
    Type(Arc<str>),
    /// What was kept without being known: it can only be compared.
    Hidden(&'a Json),
    /// A value of a library.
    Library(Library<'a>),
    /// The lazily evaluated variables of an activation; only their fields can be asked for.
    Variables,
}

/// What `Name{field: value}` makes.
#[derive(Debug, Clone)]
pub struct Struct<'a> {
    /// The name of its type.
    pub name: String,
    /// Its fields in the order in which they were written.
    pub fields: Vec<(String, Value<'a>)>,
}

impl<'a> Struct<'a> {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Value<'a>> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

/// A text that is borrowed from an object or made anew.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    /// Of an object.
    Borrowed(&'a str),
    /// Made.
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Text::Shared(text.into()))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl<'a> FromIterator<Value<'a>> for Value<'a> {
    fn from_iter<I: IntoIterator<Item = Value<'a>>>(items: I) -> Self {
        Self::List(List::Owned { items: Arc::new(items.into_iter().collect()), kind: None })
    }
}

impl<'a> Value<'a> {
    /// A map of texts.
    pub fn map(entries: impl IntoIterator<Item = (String, Value<'a>)>) -> Self {
        let mut map = OwnedMap::default();
        for (key, value) in entries {
            map.insert(key.into(), value);
        }
        Self::Map(Map::Owned(Arc::new(map)))
    }

    /// An optional with a value.
    pub fn some(self) -> Self {
        Self::Optional(Some(Arc::new(self)))
    }

    /// The truth, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The name of its type, as `type()` gives it.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(_) | Self::Variables => "map",
            Self::Struct(made) => &made.name,
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Hidden(_) => "unknown",
            Self::Library(value) => value.type_name(),
        }
    }

    /// How large it is: characters, bytes, items or entries; one for what has no size. Costs are counted by it.
    pub fn size(&self) -> u64 {
        match self {
            Self::String(text) => text.chars().count() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Optional(Some(inner)) => inner.size(),
            Self::Library(value) => value.size(),
            _ => 1,
        }
    }

    /// Whether it is the zero value of its type.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) | Self::Duration(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Optional(inner) => inner.is_none(),
            // Go's zero time.
            Self::Timestamp(moment) => moment.at.as_nanosecond() == -62_135_596_800_000_000_000,
            _ => false,
        }
    }
}

impl fmt::Display for Value<'_> {
    /// As messages show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::String(text) => f.write_str(text),
            Self::Bytes(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Self::Timestamp(at) => f.write_str(&crate::time::show_timestamp(*at)),
            Self::Duration(nanos) => f.write_str(&crate::time::show_duration(*nanos)),
            Self::Type(name) => f.write_str(name),
            other => f.write_str(other.type_name()),
        }
    }
}
