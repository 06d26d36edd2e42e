//! Sets as `FieldsV1`: `{"f:spec":{"f:ports":{"k:{\"port\":80}":{".":{},"f:name":{}}}}}`.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::element::Element;
use super::set::Set;

impl Set {
    /// Reads `FieldsV1`. Steps of a kind that is not known are left out.
    ///
    /// # Errors
    /// What is wrong with a step, in upstream's words.
    pub fn from_fields(fields: &Value) -> Result<Self, String> {
        read(fields).map(|(set, _)| set)
    }

    /// Writes `FieldsV1`.
    pub fn to_fields(&self) -> Value {
        Value::Object(write(self, false))
    }

    /// `FieldsV1` as text, in upstream's order of fields.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        print(self, false, &mut out);
        out
    }
}

/// A set, and whether the field that it stands below is a member.
fn read(fields: &Value) -> Result<(Set, bool), String> {
    let mut set = Set::default();
    let mut member = false;
    for (key, below) in fields.as_object().into_iter().flatten() {
        if key == "." {
            member = true;
            continue;
        }
        if let Some(element) = parse(key)? {
            let (below, member) = read(below)?;
            set.add(element, member, below);
        }
    }
    let member = member || set.is_empty();
    Ok((set, member))
}

/// One step; `None` for a kind of step that is not known.
fn parse(key: &str) -> Result<Option<Element>, String> {
    if key.len() < 2 {
        return Err("key must be 2 characters long:".into());
    }
    if key.as_bytes()[1] != b':' {
        return Err(format!("missing colon: {key}"));
    }
    let rest = &key[2..];
    let json = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
    Ok(Some(match key.as_bytes()[0] {
        b'f' => Element::field(rest),
        b'v' => Element::Value(Arc::new(json(rest)?)),
        b'k' => match json(rest)? {
            Value::Object(fields) => {
                Element::key(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
            }
            _ => return Err(format!("expected an object in {key}")),
        },
        b'i' => {
            let number = rest.parse();
            Element::Index(number.map_err(|_| format!("strconv.Atoi: parsing {rest:?}: invalid syntax"))?)
        }
        _ => return Ok(None),
    }))
}

fn write(set: &Set, member: bool) -> Map<String, Value> {
    let mut fields = Map::new();
    if member && !set.is_empty() {
        fields.insert(".".into(), Value::Object(Map::new()));
    }
    for node in set.nodes() {
        fields.insert(step(&node.element), Value::Object(write(&node.below, node.member)));
    }
    fields
}

fn print(set: &Set, member: bool, out: &mut String) {
    out.push('{');
    let mut first = true;
    if member && !set.is_empty() {
        out.push_str("\".\":{}");
        first = false;
    }
    for node in set.nodes() {
        if !first {
            out.push(',');
        }
        first = false;
        out.push_str(&Value::String(step(&node.element)).to_string());
        out.push(':');
        print(&node.below, node.member, out);
    }
    out.push('}');
}

/// One step as a key of `FieldsV1`.
fn step(element: &Element) -> String {
    let mut out = String::new();
    match element {
        Element::Field(name) => {
            out.push_str("f:");
            out.push_str(name);
        }
        Element::Key(fields) => {
            out.push_str("k:{");
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(name.to_string()).to_string());
                out.push(':');
                out.push_str(&go_json(value));
            }
            out.push('}');
        }
        Element::Value(value) => {
            out.push_str("v:");
            out.push_str(&go_json(value));
        }
        Element::Index(index) => {
            let _ = write!(out, "i:{index}");
        }
    }
    out
}

/// JSON as Go writes it: what HTML would take for markup is escaped.
pub(super) fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}
