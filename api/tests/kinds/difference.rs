//! What differs between two values, path by path.

use serde_json::Value;

/// Lines such as `spec.replicas: 1 != 2`; none if the values are equal.
pub fn between(left: &Value, right: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    walk(left, right, String::new(), &mut lines);
    lines
}

fn walk(left: &Value, right: &Value, path: String, lines: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => walk(a, b, at, lines),
                    (Some(a), None) => lines.push(format!("{at}: {a} != nothing")),
                    (None, Some(b)) => lines.push(format!("{at}: nothing != {b}")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                walk(a, b, format!("{path}[{index}]"), lines);
            }
        }
        _ if left == right => {}
        _ => lines.push(format!("{path}: {left} != {right}")),
    }
}
