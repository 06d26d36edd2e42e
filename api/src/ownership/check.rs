//! Whether an applied configuration fits its schema: fields that are declared, values of the
//! right sort, no two items of one key.

use std::collections::BTreeSet;

use serde_json::Value;

use super::atom::{self, Atom, Scalar};
use super::element::Element;
use crate::Object;
use crate::schema::Schema;

/// Checks an applied configuration.
///
/// # Errors
/// Everything that is wrong, with paths, in upstream's words.
pub fn check(schema: &Schema, object: &Object) -> Result<(), String> {
    let mut problems = Vec::new();
    walk(schema, object, &mut String::new(), &mut problems);
    match &problems[..] {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn walk(schema: &Schema, value: &Value, path: &mut String, problems: &mut Vec<String>) {
    let length = path.len();
    match atom::of(schema, value) {
        _ if value.is_null() => {}
        Atom::Scalar(sort) => {
            if let Some(problem) = scalar(sort, value) {
                say(problems, path, &problem);
            }
        }
        Atom::List(list) => {
            let Value::Array(items) = value else {
                return say(problems, path, &format!("expected list, got &{{{}}}", go(value)));
            };
            let mut seen = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let element = if list.atomic() {
                    Element::Index(i64::try_from(index).unwrap_or(i64::MAX))
                } else {
                    match list.element(item) {
                        Ok(element) => element,
                        Err(why) => return say(problems, path, &format!("element {index}: {why}")),
                    }
                };
                let text = element.to_string();
                if !list.atomic() && !seen.insert(element) {
                    say(problems, path, &format!("duplicate entries for key {text}"));
                }
                path.push_str(&text);
                walk(list.items, item, path, problems);
                path.truncate(length);
            }
        }
        Atom::Map(map) => {
            let Value::Object(fields) = value else {
                return say(problems, path, &format!("expected map, got &{{{}}}", go(value)));
            };
            for (name, value) in fields {
                path.push('.');
                path.push_str(name);
                match map.field(name) {
                    Some((schema, _)) => walk(schema, value, path, problems),
                    None => say(problems, path, "field not declared in schema"),
                }
                path.truncate(length);
            }
        }
    }
}

fn say(problems: &mut Vec<String>, path: &str, what: &str) {
    problems.push(if path.is_empty() { what.into() } else { format!("{path}: {what}") });
}

fn scalar(sort: Scalar, value: &Value) -> Option<String> {
    let fits = match sort {
        Scalar::String => value.is_string(),
        Scalar::Number => value.is_number(),
        Scalar::Boolean => value.is_boolean(),
        Scalar::Any => !value.is_array() && !value.is_object(),
    };
    (!fits).then(|| match sort {
        Scalar::String => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value))
        }
        Scalar::Number => format!("expected numeric (int or float), got {}", go_type(value)),
        Scalar::Boolean => format!("expected boolean, got &{{{}}}", go(value)),
        Scalar::Any => format!("expected any scalar, got &{{{}}}", go(value)),
    })
}

/// A value as Go prints it (`%v`).
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// A value as Go source (`%#v`).
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::Array(list) => {
            format!("[]interface {{}}{{{}}}", list.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key:?}:{}", go_syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

/// The Go type of a decoded value (`%T`).
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
