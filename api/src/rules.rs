//! What values may be, as rules: a small vocabulary in tables (`overlay/rules/*.txt`), keyed by
//! definition and field, and one walk. A pod's template anywhere gets the same rules as a pod.
//!
//! A line of a table is ` FIELD RULE [ARGUMENT…] [: DETAIL]` below the name of a definition. `FIELD` is a
//! field, `field[]` each item of a list, `field{}` each key of a map, or `.` for the object. Wording and
//! paths are upstream's (`pkg/apis/*/validation`). What a line cannot say is a [`crate::strategy`].

mod format;
mod parse;

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::schema::{Schema, Shape};
use crate::status::{FieldError, Problem};
use crate::walk::{is_zero, join};
pub use format::reasons;
use parse::{Of, Rule, Test};

static RULES: LazyLock<HashMap<&'static str, Vec<Rule>>> = LazyLock::new(parse::load);

/// Everything that the rules refuse in an object; `old` is what an update changes. `status` is left out:
/// it is not a client's wish.
pub fn check(schema: &Schema, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, new, old, "", &mut errors);
    errors
}

fn walk(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    match (&schema.shape, value) {
        (Shape::Object(fields), Value::Object(map)) => {
            if let Some(rules) = RULES.get(schema.definition.as_str()) {
                apply(rules, map, old, path, errors);
            }
            for (name, value) in map {
                if path.is_empty() && matches!(name.as_str(), "metadata" | "status") {
                    continue;
                }
                if let Some(field) = fields.known.get(name) {
                    let old = old.and_then(|old| old.get(name));
                    walk(&field.schema, value, old, &join(path, name), errors);
                }
            }
        }
        (Shape::Map(values), Value::Object(map)) => {
            for (key, value) in map {
                walk(values, value, None, &format!("{path}[{key}]"), errors);
            }
        }
        (Shape::List { items, .. }, Value::Array(list)) => {
            for (index, value) in list.iter().enumerate() {
                walk(items, value, None, &format!("{path}[{index}]"), errors);
            }
        }
        _ => {}
    }
}

fn apply(
    rules: &[Rule],
    map: &Map<String, Value>,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    // A field that is missing is not judged further.
    let mut missing = Vec::new();
    for rule in rules {
        if missing.contains(&rule.field) {
            continue;
        }
        let value = map.get(rule.field).unwrap_or(&Value::Null);
        let at = if rule.field == "." { path.to_owned() } else { join(path, rule.field) };
        match rule.of {
            Of::Field => {
                let before = errors.len();
                let old = old.map(|old| old.get(rule.field).unwrap_or(&Value::Null));
                test(rule, map, value, old, &at, errors);
                if matches!(rule.test, Test::Required) && errors.len() > before {
                    missing.push(rule.field);
                }
            }
            Of::Items => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    test(rule, map, item, None, &format!("{at}[{index}]"), errors);
                }
            }
            Of::Keys => {
                for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                    let at = if rule.bare { at.clone() } else { format!("{at}[{key}]") };
                    test(rule, map, &Value::from(key.as_str()), None, &at, errors);
                }
            }
        }
    }
}

fn test(
    rule: &Rule,
    map: &Map<String, Value>,
    value: &Value,
    old: Option<&Value>,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    let detail =
        |otherwise: &str| if rule.detail.is_empty() { otherwise.to_owned() } else { rule.detail.to_owned() };
    let text = |name: &str| map.get(name).map(shown).unwrap_or_default();
    match &rule.test {
        Test::Required if is_zero(value) && !(value.is_object()) => {
            errors.push(FieldError::required(at, rule.detail));
        }
        Test::Given if value.is_null() => errors.push(FieldError::required(at, rule.detail)),
        Test::RequiredIf(field, wanted) if text(field) == *wanted && is_zero(value) && !value.is_object() => {
            errors.push(FieldError::required(at, rule.detail));
        }
        Test::ForbiddenIf(field, wanted) if text(field) == *wanted && !value.is_null() => {
            errors.push(FieldError::forbidden(at, rule.detail));
        }
        Test::OnlyIf(field, wanted) if text(field) != *wanted && !value.is_null() => {
            errors.push(FieldError::forbidden(at, rule.detail));
        }
        Test::Forbidden if !is_zero(value) => errors.push(FieldError::forbidden(at, rule.detail)),
        Test::Range(low, high) => {
            if let Some(number) = value.as_i64().filter(|number| !(low..=high).contains(&number)) {
                let otherwise = match (*low, *high) {
                    (low, i64::MAX) => format!("must be greater than or equal to {low}"),
                    (low, high) => format!("must be between {low} and {high}, inclusive"),
                };
                errors.push(FieldError::invalid(at, number, detail(&otherwise)));
            }
        }
        Test::OneOf(allowed) => {
            if let Some(given) = value.as_str().filter(|given| !allowed.contains(given)) {
                if given.is_empty() {
                    return;
                }
                let allowed: Vec<String> = allowed.iter().map(|value| format!("{value:?}")).collect();
                let detail = format!("supported values: {}", allowed.join(", "));
                errors.push(FieldError::new(Problem::NotSupported, at, given.into(), detail));
            }
        }
        Test::Format(name) if !value.is_null() && value.as_str() != Some("") => {
            let reasons = reasons(name, value).into_iter();
            errors.extend(reasons.map(|why| FieldError::invalid(at, value.clone(), detail(&why))));
        }
        Test::OneField(fields, exactly) => one_field(rule, fields, *exactly, map, at, errors),
        Test::MostItems(most) => {
            let count = value.as_array().map_or(0, Vec::len);
            if count > *most {
                let items = if *most == 1 { "item" } else { "items" };
                let detail = detail(&format!("must have at most {most} {items}"));
                errors.push(FieldError::new(Problem::TooMany, at, count.into(), detail));
            }
        }
        Test::MostBytes(most) if value.as_str().is_some_and(|text| text.len() > *most) => {
            let detail = detail(&format!("may not be more than {most} bytes"));
            errors.push(FieldError::new(Problem::TooLong, at, Value::Null, detail));
        }
        Test::Unique(key) => unique(key, value, at, errors),
        Test::Immutable if old.is_some_and(|old| old != value) => {
            errors.push(FieldError::invalid(at, value.clone(), detail("field is immutable")));
        }
        _ => {}
    }
}

fn one_field(
    rule: &Rule,
    fields: &[&'static str],
    exactly: bool,
    map: &Map<String, Value>,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    let (none, more) = rule.detail.split_once(" : ").unwrap_or(("", rule.detail));
    let given: Vec<_> =
        fields.iter().filter(|field| map.get(**field).is_some_and(|v| !v.is_null())).collect();
    if given.is_empty() && exactly {
        errors.push(FieldError::required(at, none));
    }
    for extra in given.into_iter().skip(1) {
        errors.push(FieldError::forbidden(join(at, extra), more));
    }
}

fn unique(key: &str, value: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeMap<String, ()> = BTreeMap::new();
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        let (own, at) = if key.is_empty() {
            (item, format!("{at}[{index}]"))
        } else {
            (item.get(key).unwrap_or(&Value::Null), format!("{at}[{index}].{key}"))
        };
        if !is_zero(own) && seen.insert(own.to_string(), ()).is_some() {
            errors.push(FieldError::duplicate(at, own.clone()));
        }
    }
}

/// A scalar as the tables write it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::definition;

    #[test]
    fn every_rule_is_about_a_field_that_is_there() {
        for (name, rules) in RULES.iter() {
            let schema = definition(name).unwrap_or_else(|| panic!("{name} is no definition"));
            let Shape::Object(fields) = &schema.shape else { panic!("{name} has no fields") };
            for rule in rules {
                assert!(rule.field == "." || fields.known.contains_key(rule.field), "{name}.{}", rule.field);
                if let Test::OneField(named, _) = &rule.test {
                    named
                        .iter()
                        .for_each(|field| assert!(fields.known.contains_key(*field), "{name}.{field}"));
                }
            }
        }
    }
}
