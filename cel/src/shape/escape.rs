//! Names of fields as expressions write them (`apiserver/pkg/cel/escaping.go`): `a-b` is `a__dash__b`, `namespace`
//! is `__namespace__`, or itself where a field is meant.

use std::borrow::Cow;

const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const PARTS: &[(&str, &str)] =
    &[("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")];

/// Whether a word can name a variable.
pub fn is_identifier(word: &str) -> bool {
    let mut characters = word.chars();
    let first = characters.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic());
    first && characters.all(|c| c == '_' || c.is_ascii_alphanumeric()) && !RESERVED.contains(&word)
}

/// The name of a field in an expression; `None` if expressions cannot name it.
pub fn escape(name: &str) -> Option<Cow<'_, str>> {
    let first = name.chars().next()?;
    if first.is_ascii_digit() {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(Cow::Owned(format!("__{name}__")));
    }
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if name.chars().all(plain) && !name.contains("__") {
        return Some(Cow::Borrowed(name));
    }
    let mut escaped = String::new();
    let mut rest = name;
    while let Some(character) = rest.chars().next() {
        if let Some((part, word)) = PARTS.iter().find(|(part, _)| rest.starts_with(part)) {
            escaped.push_str(word);
            rest = &rest[part.len()..];
        } else if plain(character) {
            escaped.push(character);
            rest = &rest[character.len_utf8()..];
        } else {
            return None;
        }
    }
    Some(Cow::Owned(escaped))
}

/// The name of a field in JSON; `None` if no name is written so.
pub fn unescape(name: &str) -> Option<Cow<'_, str>> {
    if !name.contains("__") {
        return Some(Cow::Borrowed(name));
    }
    let mut plain = String::new();
    let mut rest = name;
    while let Some(start) = rest.find("__") {
        let inner = &rest[start + 2..];
        // The shortest word without underscores between two pairs of them.
        let Some(length) = inner.find('_').filter(|length| *length > 0 && inner[*length..].starts_with("__"))
        else {
            plain.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
            continue;
        };
        plain.push_str(&rest[..start]);
        let word = &inner[..length];
        match word {
            "underscores" => plain.push_str("__"),
            "dot" => plain.push('.'),
            "dash" => plain.push('-'),
            "slash" => plain.push('/'),
            _ if RESERVED.contains(&word) && name.len() == word.len() + 4 => plain.push_str(word),
            _ => return None,
        }
        rest = &inner[length + 2..];
    }
    plain.push_str(rest);
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn names_are_escaped_and_back() {
        for (name, escaped) in [
            ("a", "a"),
            ("a_a", "a_a"),
            ("namespace", "__namespace__"),
            ("self", "self"),
            ("a.a", "a__dot__a"),
            ("a-a", "a__dash__a"),
            ("a/a", "a__slash__a"),
            ("a__a", "a__underscores__a"),
            ("-a", "__dash__a"),
            ("a.b-c/d__e", "a__dot__b__dash__c__slash__d__underscores__e"),
            ("__", "__underscores__"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped), "{name}");
            assert_eq!(unescape(escaped).as_deref(), Some(name), "{escaped}");
        }
        for name in ["", "1a", "a a", "a$a", "a*a", "ü"] {
            assert_eq!(escape(name), None, "{name}");
        }
        for escaped in ["__illegal__", "a__foo__a", "a__namespace__"] {
            assert_eq!(unescape(escaped), None, "{escaped}");
        }
    }
}
