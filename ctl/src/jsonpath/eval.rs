//! From [`Template`] and a value to values or text.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Operand, Operator, Part, Path, Step, Template};

pub(super) fn render(template: &Template, value: &Value) -> Result<String, String> {
    let mut text = String::new();
    parts(&template.0, value, value, &mut text)?;
    Ok(text)
}

pub(super) fn find<'a>(template: &Template, value: &'a Value) -> Result<Vec<&'a Value>, String> {
    let mut found = Vec::new();
    for part in &template.0 {
        if let Part::Path(path) = part {
            found.extend(walk(path, value, value)?);
        }
    }
    Ok(found)
}

fn parts(template: &[Part], root: &Value, current: &Value, text: &mut String) -> Result<(), String> {
    for part in template {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Path(path) => {
                let shown: Vec<String> = walk(path, root, current)?.into_iter().map(show).collect();
                text.push_str(&shown.join(" "));
            }
            Part::Range(path, body) => {
                for item in walk(path, root, current)? {
                    parts(body, root, item, text)?;
                }
            }
        }
    }
    Ok(())
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn walk<'a>(path: &Path, root: &'a Value, current: &'a Value) -> Result<Vec<&'a Value>, String> {
    let mut values = vec![if path.root { root } else { current }];
    for step in &path.steps {
        values = apply(step, root, &values)?;
    }
    Ok(values)
}

/// One step from all values at once: a union gives all of its first member, then all of its second.
fn apply<'a>(step: &Step, root: &'a Value, values: &[&'a Value]) -> Result<Vec<&'a Value>, String> {
    let mut next = Vec::new();
    if let Step::Union(members) = step {
        for member in members {
            next.extend(apply(member, root, values)?);
        }
        return Ok(next);
    }
    for &value in values {
        match (step, value) {
            (Step::Field(name), Value::Object(map)) => next.extend(map.get(name)),
            (Step::Wildcard, Value::Object(map)) => next.extend(map.values()),
            (Step::Wildcard, Value::Array(items)) => next.extend(items),
            (Step::Recursive, _) => descend(value, &mut next),
            (Step::Index(index), Value::Array(items)) => {
                let length = items.len() as i64;
                let at = if *index < 0 { index + length } else { *index };
                match usize::try_from(at).ok().and_then(|at| items.get(at)) {
                    Some(item) => next.push(item),
                    None => return Err(format!("array index out of bounds: index {index}, length {length}")),
                }
            }
            (Step::Slice(from, to, step), Value::Array(items)) => {
                let length = items.len() as i64;
                let clamp = |at: i64| (if at < 0 { at + length } else { at }).clamp(0, length) as usize;
                let (from, to) = (clamp(from.unwrap_or(0)), clamp(to.unwrap_or(length)));
                if from < to {
                    next.extend(items[from..to].iter().step_by(usize::try_from(*step).unwrap_or(1)));
                }
            }
            (Step::Filter(left, comparison), Value::Array(items)) => {
                for item in items {
                    if keeps(left, comparison.as_ref(), root, item)? {
                        next.push(item);
                    }
                }
            }
            // A step that does not fit reaches nothing: missing keys are allowed, as kubectl's default is.
            _ => {}
        }
    }
    Ok(next)
}

/// The value and everything below it.
fn descend<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    into.push(value);
    match value {
        Value::Object(map) => map.values().for_each(|child| descend(child, into)),
        Value::Array(items) => items.iter().for_each(|child| descend(child, into)),
        _ => {}
    }
}

fn keeps(
    left: &Operand,
    comparison: Option<&(Operator, Operand)>,
    root: &Value,
    item: &Value,
) -> Result<bool, String> {
    let left = operand(left, root, item)?;
    let Some((operator, right)) = comparison else { return Ok(left.is_some()) };
    let (Some(left), Some(right)) = (left, operand(right, root, item)?) else { return Ok(false) };
    let order = compare(&left, &right);
    Ok(match operator {
        Operator::Equal => order == Some(Ordering::Equal) || left == right,
        Operator::NotEqual => order != Some(Ordering::Equal) && left != right,
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn operand(operand: &Operand, root: &Value, item: &Value) -> Result<Option<Value>, String> {
    match operand {
        Operand::Literal(value) => Ok(Some(value.clone())),
        Operand::Path(path) => match walk(path, root, item)?.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one).clone())),
            _ => Err("can only compare one element at a time".to_owned()),
        },
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}
