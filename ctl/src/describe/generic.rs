//! The page of a kind that ctl knows nothing about: all its fields.

use serde_json::Value;

use super::{Page, head, pairs, text};

pub(super) fn describe(page: &mut Page, object: &Value) {
    head(page, object);
    pairs(page, 0, "Labels:", &object["metadata"]["labels"], "=");
    pairs(page, 0, "Annotations:", &object["metadata"]["annotations"], ": ");
    page.field(0, "API Version:", text(&object["apiVersion"]));
    page.field(0, "Kind:", text(&object["kind"]));
    for (key, value) in object.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => metadata(page, value),
            _ => field(page, 0, key, value),
        }
    }
}

fn metadata(page: &mut Page, meta: &Value) {
    const SHOWN: [&str; 7] =
        ["name", "namespace", "labels", "annotations", "managedFields", "selfLink", "generateName"];
    let shown: Vec<_> =
        meta.as_object().into_iter().flatten().filter(|(key, _)| !SHOWN.contains(&key.as_str())).collect();
    if !shown.is_empty() {
        page.line(0, "Metadata:");
        shown.into_iter().for_each(|(key, value)| field(page, 1, key, value));
    }
}

fn field(page: &mut Page, level: usize, key: &str, value: &Value) {
    let label = format!("{}:", words(key));
    match value {
        Value::Object(map) if !map.is_empty() => {
            page.line(level, label);
            map.iter().for_each(|(key, value)| field(page, level + 1, key, value));
        }
        Value::Array(list) if !list.is_empty() => {
            page.line(level, label);
            for item in list {
                match item {
                    Value::Object(map) => {
                        map.iter().for_each(|(key, value)| field(page, level + 1, key, value))
                    }
                    other => page.line(level + 1, text(other)),
                }
            }
        }
        Value::Object(_) | Value::Array(_) => page.line(level, label),
        Value::String(text) if text.contains('\n') => {
            page.line(level, label);
            text.lines().for_each(|line| page.line(level + 1, line));
        }
        other => page.field(level, &label, text(other)),
    }
}

/// `maxSize` as `Max Size`.
fn words(key: &str) -> String {
    let mut text = String::new();
    let chars: Vec<char> = key.chars().collect();
    for (index, c) in chars.iter().enumerate() {
        let begins = c.is_uppercase()
            && index > 0
            && (chars[index - 1].is_lowercase()
                || chars.get(index + 1).is_some_and(|next| next.is_lowercase()));
        if begins {
            text.push(' ');
        }
        if index == 0 { text.extend(c.to_uppercase()) } else { text.push(*c) }
    }
    text
}
