//! `fieldPath` of a rule: a simple JSON path below the place of the rule, such as `.spec.ports` or `['a.b']`.

use serde_json::Value as Json;

/// The path as errors show it, or why it leads nowhere.
pub(super) fn normalise(path: &str, schema: &Json) -> Result<String, String> {
    let mut shown = String::new();
    let mut schema = schema;
    let mut rest = path;
    while !rest.is_empty() {
        let name;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[', ']']).unwrap_or(after.len());
            if end == 0 {
                return Err("unexpected end of JSON path".into());
            }
            name = after[..end].to_owned();
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix("['") {
            let (text, after) = quoted(after)?;
            name = text;
            rest = after.strip_prefix(']').ok_or("unexpected end of JSON path")?;
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        }
        if schema["properties"].is_object() {
            schema = schema["properties"].get(&name).ok_or("does not refer to a valid field")?;
            if !shown.is_empty() {
                shown.push('.');
            }
            shown.push_str(&name);
        } else if schema["additionalProperties"].is_object() {
            schema = &schema["additionalProperties"];
            shown.push_str(&format!("[{name}]"));
        } else {
            return Err("does not refer to a valid field".into());
        }
    }
    Ok(shown)
}

/// A text up to its closing quote, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut plain = String::new();
    let mut chars = text.char_indices();
    while let Some((at, character)) = chars.next() {
        match character {
            '\'' => return Ok((plain, &text[at + 1..])),
            '\\' => plain.push(match chars.next().map(|(_, escaped)| escaped) {
                Some('a') => '\u{7}',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('v') => '\u{b}',
                Some(same @ ('\'' | '\\')) => same,
                _ => return Err("invalid string literal: invalid escape char".into()),
            }),
            other => plain.push(other),
        }
    }
    Err("unexpected end of JSON path".into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::normalise;

    #[test]
    fn paths_lead_to_declared_fields() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"a.b": {"type": "string"}, "it's": {"type": "string"}}},
            "labels": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "items": {"type": "array", "items": {"type": "string"}},
        }});
        for (path, shown) in [
            (".spec", Some("spec")),
            (".spec['a.b']", Some("spec.a.b")),
            ("['spec']['it\\'s']", Some("spec.it's")),
            (".labels.app.x", Some("labels[app].x")),
            (".labels['app']", Some("labels[app]")),
            (".other", None),
            (".items[0]", None),
            (".items.x", None),
            ("spec", None),
            (".spec.", None),
            (".spec[", None),
            ("['spec", None),
            (".", None),
        ] {
            assert_eq!(normalise(path, &schema).ok().as_deref(), shown, "{path}");
        }
    }
}
