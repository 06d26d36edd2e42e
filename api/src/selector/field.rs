//! Field selectors: `metadata.name=x,status.phase!=Failed`.

use super::SelectorError;

/// Comparisons that all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Path, whether equal, value.
    terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// Reads the form of query parameters; `\` escapes `,`, `=` and itself in values.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for term in split(text).into_iter().filter(|term| !term.is_empty()) {
            let found = ["!=", "==", "="].iter().filter_map(|sign| Some((term.find(sign)?, *sign)));
            let Some((at, sign)) = found.min_by_key(|(at, sign)| (*at, 2 - sign.len())) else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'")));
            };
            let value = unescape(&term[at + sign.len()..]).ok_or_else(|| {
                SelectorError(format!("invalid field selector: invalid escape sequence: {term}"))
            })?;
            terms.push((term[..at].to_owned(), sign != "!=", value));
        }
        Ok(Self { terms })
    }

    /// What selects the objects with this value at this path.
    pub fn equal(path: &str, value: &str) -> Self {
        Self { terms: vec![(path.to_owned(), true, value.to_owned())] }
    }

    /// The paths that are compared.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|(path, _, _)| path.as_str())
    }

    /// Whether the fields that `field` looks up are selected; an absent field is empty.
    pub fn matches(&self, field: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|(path, equal, value)| (field(path) == *value) == *equal)
    }

    /// The value that `path` must have, if one is demanded.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|(known, equal, _)| known == path && *equal)
            .map(|(_, _, value)| value.as_str())
    }
}

/// Splits at commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                _ => return None,
            },
            ',' | '=' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_compared() {
        let lookup = |path: &str| if path == "spec.nodeName" { "n1".to_owned() } else { String::new() };
        for (text, selected) in [
            ("", true),
            ("spec.nodeName=n1", true),
            ("spec.nodeName==n1,status.phase!=Failed", true),
            ("spec.nodeName!=n1", false),
            ("spec.nodeName=", false),
            ("status.phase=", true),
            ("x=a\\,b", false),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(lookup), selected, "{text}");
        }
        assert!(FieldSelector::parse("nonsense").is_err());
        assert_eq!(FieldSelector::parse("spec.nodeName=n1").unwrap().exact("spec.nodeName"), Some("n1"));
    }
}
