//! OpenAPI 2 as protobuf, in the messages of gnostic's `openapiv2` that clients before kubectl 1.27 ask
//! for. A table of messages drives one encoder.

use serde_json::{Map, Value};

/// What a field of a message holds.
enum Sort {
    Text,
    Texts,
    Flag,
    /// Any value, as YAML (of which JSON is a part).
    Any,
    Anys,
    /// A message.
    One(&'static Message),
    /// The entries of an object, each a name and a message.
    Named(&'static Message),
    /// The same, each entry inside of further messages: their numbers, outermost first.
    NamedIn(&'static [u32], &'static Message),
    /// A list of texts in a message of its own; one text counts as a list.
    Type,
    /// One schema in a list of its own.
    Items,
    /// A schema, or a flag.
    Additional,
    Parameters,
    /// A list of objects whose values are lists of texts.
    Security,
    /// `securityDefinitions` of the sort `apiKey`.
    Keys,
}

/// A message: its fields by their name in JSON, and the number of its extensions (`x-…`); 0 if it has none.
struct Message {
    fields: &'static [(&'static str, u32, Sort)],
    extensions: u32,
}

use Sort::{
    Additional, Any, Anys, Flag, Items, Keys, Named, NamedIn, One, Parameters, Security, Text, Texts, Type,
};

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, One(&INFO)),
        ("paths", 8, One(&PATHS)),
        ("definitions", 9, Named(&SCHEMA)),
        ("security", 12, Security),
        ("securityDefinitions", 13, Keys),
    ],
    extensions: 16,
};
static INFO: Message =
    Message { fields: &[("title", 1, Text), ("version", 2, Text), ("description", 3, Text)], extensions: 7 };
/// Its entries are paths: see `encode_message`.
static PATHS: Message = Message { fields: &[], extensions: 1 };
static PATH: Message = Message {
    fields: &[
        ("get", 2, One(&OPERATION)),
        ("put", 3, One(&OPERATION)),
        ("post", 4, One(&OPERATION)),
        ("delete", 5, One(&OPERATION)),
        ("options", 6, One(&OPERATION)),
        ("head", 7, One(&OPERATION)),
        ("patch", 8, One(&OPERATION)),
        ("parameters", 9, Parameters),
    ],
    extensions: 10,
};
static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Parameters),
        ("responses", 9, NamedIn(&[1], &RESPONSE)),
        ("schemes", 10, Texts),
        ("deprecated", 11, Flag),
    ],
    extensions: 13,
};
static BODY: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, One(&SCHEMA)),
    ],
    extensions: 6,
};
static QUERY: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("format", 7, Text),
        ("uniqueItems", 20, Flag),
    ],
    extensions: 23,
};
static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("uniqueItems", 19, Flag),
    ],
    extensions: 22,
};
static RESPONSE: Message =
    Message { fields: &[("description", 1, Text), ("schema", 2, One(&SCHEMA_ITEM))], extensions: 5 };
/// Only a wrapper around a schema: see `encode_message`.
static SCHEMA_ITEM: Message = Message { fields: &[], extensions: 0 };
static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("pattern", 13, Text),
        ("uniqueItems", 16, Flag),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        ("additionalProperties", 21, Additional),
        ("type", 22, Type),
        ("items", 23, Items),
        ("properties", 25, Named(&SCHEMA)),
    ],
    extensions: 31,
};
static API_KEY: Message = Message {
    fields: &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)],
    extensions: 5,
};

/// Encodes a document of version 2.
pub fn encode(document: &Value) -> Vec<u8> {
    message(&DOCUMENT, document)
}

fn message(kind: &'static Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if std::ptr::eq(kind, &raw const SCHEMA_ITEM) {
        put(&mut out, 1, &message(&SCHEMA, value));
        return out;
    }
    let empty = Map::new();
    let object = value.as_object().unwrap_or(&empty);
    for (name, number, sort) in kind.fields {
        if let Some(value) = object.get(*name) {
            field(&mut out, *number, sort, value);
        }
    }
    let paths = std::ptr::eq(kind, &raw const PATHS);
    for (name, value) in object {
        if name.starts_with("x-") && kind.extensions > 0 {
            put(&mut out, kind.extensions, &named(name, &any(value)));
        } else if paths {
            put(&mut out, 2, &named(name, &message(&PATH, value)));
        }
    }
    out
}

fn field(out: &mut Vec<u8>, number: u32, sort: &Sort, value: &Value) {
    match sort {
        Sort::Text => put(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Sort::Texts => texts(out, number, value),
        Sort::Flag => {
            if value == true {
                varint(out, u64::from(number) << 3);
                out.push(1);
            }
        }
        Sort::Any => put(out, number, &any(value)),
        Sort::Anys => list(value).for_each(|value| put(out, number, &any(value))),
        Sort::One(kind) => put(out, number, &message(kind, value)),
        Sort::Named(kind) => put(out, number, &entries(value, 1, |value| message(kind, value))),
        Sort::NamedIn(around, kind) => {
            let wrapped = |value: &Value| {
                around.iter().rev().fold(message(kind, value), |inner, number| wrap(*number, &inner))
            };
            put(out, number, &entries(value, 1, wrapped));
        }
        Sort::Type => {
            let mut inner = Vec::new();
            match value {
                Value::Array(_) => texts(&mut inner, 1, value),
                one => put(&mut inner, 1, one.as_str().unwrap_or_default().as_bytes()),
            }
            put(out, number, &inner);
        }
        Sort::Items => put(out, number, &wrap(1, &message(&SCHEMA, value))),
        Sort::Additional => match value {
            Value::Bool(flag) => put(out, number, &[0x10, u8::from(*flag)]),
            schema => put(out, number, &wrap(1, &message(&SCHEMA, schema))),
        },
        Sort::Parameters => list(value).for_each(|value| {
            // ParametersItem, Parameter, then what sort of one.
            let parameter = match value["in"].as_str() {
                Some("body") => wrap(1, &message(&BODY, value)),
                Some("path") => wrap(2, &wrap(4, &message(&PATH_PARAMETER, value))),
                _ => wrap(2, &wrap(3, &message(&QUERY, value))),
            };
            put(out, number, &wrap(1, &parameter));
        }),
        Sort::Security => list(value).for_each(|requirement| {
            let scopes = |value: &Value| {
                let mut inner = Vec::new();
                texts(&mut inner, 1, value);
                inner
            };
            put(out, number, &entries(requirement, 1, scopes));
        }),
        Sort::Keys => put(out, number, &entries(value, 1, |value| wrap(2, &message(&API_KEY, value)))),
    }
}

/// Each entry of an object as a field `number`: its name, and what `encode` makes of its value.
fn entries(value: &Value, number: u32, encode: impl Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        put(&mut out, number, &named(name, &encode(value)));
    }
    out
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, 1, name.as_bytes());
    put(&mut out, 2, value);
    out
}

fn any(value: &Value) -> Vec<u8> {
    wrap(2, format!("{value}\n").as_bytes())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(out: &mut Vec<u8>, number: u32, value: &Value) {
    list(value).for_each(|text| put(out, number, text.as_str().unwrap_or_default().as_bytes()));
}

fn wrap(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    put(&mut out, number, bytes);
    out
}

fn put(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_nest_as_gnostic_has_them() {
        // Document{definitions: Definitions{NamedSchema{name: "A", value: Schema{type: TypeItem{["object"]}}}}}
        let bytes = encode(&json!({"definitions": {"A": {"type": "object"}}}));
        let schema = [&[0xb2, 0x01, 8, 0x0a, 6][..], b"object"].concat();
        let entry = [&[0x0a, 1][..], b"A", &[0x12, schema.len() as u8], &schema].concat();
        let definitions = [&[0x0a, entry.len() as u8][..], &entry].concat();
        assert_eq!(bytes, [&[0x4a, definitions.len() as u8][..], &definitions].concat());
        // An extension is a name and YAML.
        let bytes = encode(&json!({"x-a": 1}));
        assert_eq!(bytes, [0x82, 0x01, 11, 0x0a, 3, b'x', b'-', b'a', 0x12, 4, 0x12, 2, b'1', b'\n']);
    }
}
