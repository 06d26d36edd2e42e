//! JSON to values by its shape (`apiserver/pkg/cel/common/valuesunstructured.go`), and values to JSON.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::{List, Map, Text, Value};
use crate::error::EvaluationError;
use crate::shape::{DYN, Form, ListKind, Shape};
use crate::time;

type Result<T> = std::result::Result<T, EvaluationError>;

fn wrong<T>(expected: &str, found: &Json) -> Result<T> {
    let found = match found {
        Json::Null => "nil",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    };
    Err(EvaluationError::Failed(format!("invalid data, expected {expected}, got {found}")))
}

/// Objects below an `Object` have types of the names of their places: `Object.spec` in the field `spec`. Lists and maps
/// between them have no name.
fn names(value: &Value<'_>, place: &str, misnamed: &mut Vec<String>) {
    match value {
        Value::Struct(made) => {
            if made.name != place {
                let found = &made.name;
                misnamed.push(format!(
                    "unexpected type name {found:?}, expected {place:?}, which matches field name path from root Object type"
                ));
            }
            made.fields.iter().for_each(|(field, value)| names(value, &format!("{place}.{field}"), misnamed));
        }
        Value::List(list) => {
            list.iter().filter_map(|item| item.ok()).for_each(|item| names(&item, place, misnamed))
        }
        Value::Map(Map::Owned(map)) => {
            map.entries().iter().for_each(|(_, value)| names(value, place, misnamed))
        }
        _ => {}
    }
}

impl<'a> Value<'a> {
    /// The value that JSON of this shape is.
    pub fn of_json(json: &'a Json, shape: &'a Shape) -> Result<Self> {
        if json.is_null() && !matches!(shape.form, Form::Dyn | Form::Hidden) {
            return if shape.nullable {
                Ok(Self::Null)
            } else {
                Err(EvaluationError::failed("invalid data, got null for schema with nullable=false"))
            };
        }
        match &shape.form {
            Form::Dyn | Form::Other(_) => Ok(Self::plain(json)),
            Form::Hidden => Ok(Self::Hidden(json)),
            Form::IntOrString => match json {
                Json::String(_) | Json::Number(_) => Ok(Self::plain(json)),
                _ => Err(EvaluationError::failed(
                    "invalid data, expected XIntOrString value to be either a string or integer",
                )),
            },
            Form::Bool => json.as_bool().map(Self::Bool).map_or_else(|| wrong("bool", json), Ok),
            Form::Int => json.as_i64().map(Self::Int).map_or_else(|| wrong("int", json), Ok),
            Form::Double => json.as_f64().map(Self::Double).map_or_else(|| wrong("float", json), Ok),
            Form::String | Form::Bytes | Form::DateTime | Form::Date | Form::Duration => {
                match json.as_str() {
                    Some(text) => Self::of_text(text, &shape.form),
                    None => wrong("string", json),
                }
            }
            Form::List { items, kind } => match json.as_array() {
                Some(array) => Ok(Self::List(List::Json { items: array, shape: items, kind })),
                None => Err(EvaluationError::failed(
                    "invalid data, expected an array for the provided schema with type=array",
                )),
            },
            Form::Map(_) | Form::Object(_) => match json.as_object() {
                Some(entries) => Ok(Self::Map(Map::Json { entries, form: &shape.form })),
                None => Err(EvaluationError::failed(
                    "invalid data, expected a map for the provided schema with type=object",
                )),
            },
        }
    }

    fn of_text(text: &'a str, form: &Form) -> Result<Self> {
        let invalid = |what: &str| Err(EvaluationError::Failed(format!("Invalid {what} {text}")));
        match form {
            Form::Bytes => match STANDARD.decode(text) {
                Ok(bytes) => Ok(Self::Bytes(bytes.into())),
                Err(_) => invalid("byte formatted string"),
            },
            Form::DateTime => match time::parse_date_time(text) {
                Some(at) => Ok(Self::Timestamp(at)),
                None => invalid("date-time formatted string"),
            },
            Form::Date => match time::parse_timestamp(&format!("{text}T00:00:00Z")) {
                Some(at) => Ok(Self::Timestamp(at)),
                None => invalid("date formatted string"),
            },
            Form::Duration => match time::parse_lenient_duration(text) {
                Some(nanos) => Ok(Self::Duration(nanos)),
                None => invalid("duration"),
            },
            _ => Ok(Self::String(Text::Borrowed(text))),
        }
    }

    /// The value of JSON of which nothing is declared.
    pub fn plain(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::Int(whole),
                (None, Some(double)) => Self::Double(double),
                (None, None) => Self::Null,
            },
            Json::String(text) => Self::String(Text::Borrowed(text)),
            Json::Array(items) => Self::List(List::Json { items, shape: &DYN, kind: &ListKind::Atomic }),
            Json::Object(entries) => Self::Map(Map::Json { entries, form: &DYN.form }),
        }
    }

    /// As JSON: times and spans as texts, bytes in base64, absent optionals as nothing; a quantity, an address and
    /// their like as the text they were read from. What has no JSON is an error, and so is an `Object` whose parts have
    /// types of other places.
    pub fn to_json(&self) -> Result<Json> {
        Ok(match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => serde_json::Number::from_f64(*value)
                .map(Json::Number)
                .ok_or_else(|| EvaluationError::Failed(format!("{value} has no JSON")))?,
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
            Self::Timestamp(_) | Self::Duration(_) | Self::Type(_) => Json::String(self.to_string()),
            Self::List(List::Json { items, .. }) => Json::Array(items.to_vec()),
            Self::List(list) => Json::Array(list.iter().map(|item| item?.to_json()).collect::<Result<_>>()?),
            Self::Map(Map::Json { entries, .. }) => Json::Object((*entries).clone()),
            Self::Map(Map::Owned(map)) => {
                let mut object = serde_json::Map::new();
                for (key, value) in map.entries() {
                    let Self::String(key) = key else {
                        return Err(EvaluationError::Failed(format!("{key} is no key of an object")));
                    };
                    object.insert(key.to_string(), value.to_json()?);
                }
                Json::Object(object)
            }
            Self::Struct(made) => {
                if made.name == "Object" {
                    let mut misnamed = Vec::new();
                    names(self, "Object", &mut misnamed);
                    if !misnamed.is_empty() {
                        return Err(EvaluationError::Failed(misnamed.join("\n")));
                    }
                }
                let fields = made.fields.iter().map(|(name, value)| Ok((name.clone(), value.to_json()?)));
                Json::Object(fields.collect::<Result<_>>()?)
            }
            Self::Optional(Some(inner)) => inner.to_json()?,
            Self::Hidden(json) => (*json).clone(),
            Self::Library(value) => Json::String(value.text().ok_or_else(|| {
                EvaluationError::Failed(format!("a value of type '{}' has no JSON", value.type_name()))
            })?),
            Self::Variables => return Err(EvaluationError::failed("variables have no JSON")),
        })
    }

    /// A value of its own, that borrows nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null | Self::Variables => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Uint(value) => Value::Uint(value),
            Self::Double(value) => Value::Double(value),
            Self::String(text) => Value::from(text.to_string()),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Timestamp(at) => Value::Timestamp(at),
            Self::Duration(nanos) => Value::Duration(nanos),
            Self::List(list) => list.iter().filter_map(|item| item.ok()).map(Value::into_owned).collect(),
            Self::Map(map) => {
                let mut owned = super::OwnedMap::default();
                for key in map.keys() {
                    if let Some(Ok(value)) = map.get(&key) {
                        owned.insert(key.into_owned(), value.into_owned());
                    }
                }
                Value::Map(Map::Owned(Arc::new(owned)))
            }
            Self::Struct(made) => {
                let fields = made
                    .fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone().into_owned()))
                    .collect();
                Value::Struct(Arc::new(super::Struct { name: made.name.clone(), fields }))
            }
            Self::Optional(inner) => {
                Value::Optional(inner.map(|inner| Arc::new((*inner).clone().into_owned())))
            }
            Self::Type(name) => Value::Type(name),
            Self::Hidden(_) => Value::Null,
            Self::Library(value) => value.into_owned().map_or(Value::Null, Value::Library),
        }
    }
}
