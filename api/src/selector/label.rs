//! Label selectors: `a=b,c in (x,y),!d`, or an object with `matchLabels` and `matchExpressions`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::SelectorError;
use crate::name;

/// Requirements that all must hold. Without any, everything is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operator {
    Equals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    /// Reads the form of query parameters.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let tokens = lex(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0 };
        let mut requirements = Vec::new();
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        loop {
            let begins = parser.at;
            let requirement = parser.requirement().map_err(|error| {
                // What cannot begin a requirement is told by itself.
                let alone = parser.at == begins && error.0.contains("!, identifier");
                if alone { error } else { SelectorError(format!("unable to parse requirement: {error}")) }
            })?;
            requirements.push(requirement);
            match parser.next() {
                None => break,
                Some(",") if parser.peek().is_some() => {}
                Some(",") => return Err(SelectorError("found '', expected: identifier after ','".into())),
                Some(other) => {
                    return Err(SelectorError(format!("found '{other}', expected: ',' or 'end of string'")));
                }
            }
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// Reads an object with `matchLabels` and `matchExpressions`, or a plain map of labels.
    pub fn from_object(object: &Value) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        let Some(map) = object.as_object() else { return Ok(Self::default()) };
        let structured = map.keys().all(|key| key == "matchLabels" || key == "matchExpressions");
        let plain = if structured { map.get("matchLabels").and_then(Value::as_object) } else { Some(map) };
        for (key, value) in plain.into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            requirements.push(checked(key, Operator::Equals, values)?);
        }
        let expressions =
            if structured { map.get("matchExpressions").and_then(Value::as_array) } else { None };
        for expression in expressions.into_iter().flatten() {
            let operator = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{other:?} is not a valid label selector operator")));
                }
            };
            let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let key = expression["key"].as_str().unwrap_or_default();
            requirements.push(checked(key, operator, values.map(str::to_owned).collect())?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// Whether these labels are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// Whether the labels that `label` looks up are selected.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(label(&requirement.key)))
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// What must hold, by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl Requirement {
    fn holds(&self, label: Option<&str>) -> bool {
        let among = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::Equals | Operator::In => label.is_some_and(among),
            Operator::NotEquals | Operator::NotIn => !label.is_some_and(among),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
                match (number(label), number(self.values.first().map(String::as_str))) {
                    (Some(label), Some(bound)) if self.operator == Operator::GreaterThan => label > bound,
                    (Some(label), Some(bound)) => label < bound,
                    _ => false,
                }
            }
        }
    }
}

fn checked(key: &str, operator: Operator, values: Vec<String>) -> Result<Requirement, SelectorError> {
    if let Some(why) = name::qualified(key).first() {
        return Err(SelectorError(format!("key: Invalid value: {key:?}: {why}")));
    }
    let wants = match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            Some("for 'in', 'notin' operators, values set can't be empty")
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            Some("values set must be empty for exists and does not exist")
        }
        _ => None,
    };
    if let Some(wants) = wants {
        return Err(SelectorError(format!("values: Invalid value: {values:?}: {wants}")));
    }
    for (index, value) in values.iter().enumerate() {
        if let Some(why) = name::label_value(value).first() {
            return Err(SelectorError(format!("values[{index}][{key}]: Invalid value: {value:?}: {why}")));
        }
    }
    Ok(Requirement { key: key.into(), operator, values })
}

fn lex(text: &str) -> Result<Vec<&str>, SelectorError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let special = |c: char| "=!(),<>".contains(c) || c.is_whitespace();
        let length = if ["==", "!="].iter().any(|sign| rest.starts_with(sign)) {
            2
        } else if special(first) {
            first.len_utf8()
        } else {
            rest.find(special).unwrap_or(rest.len())
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

fn expected(found: Option<&str>, what: &str) -> SelectorError {
    SelectorError(format!("found '{}', expected: {what}", found.unwrap_or_default()))
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn word(&mut self) -> Result<&'a str, SelectorError> {
        match self.peek() {
            Some(word) if !word.starts_with(|c| "=!(),<>".contains(c)) => {
                self.at += 1;
                Ok(word)
            }
            other => Err(expected(other, "identifier")),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if let Some(begin @ ("(" | ")" | "=" | "==" | "!=" | "<" | ">")) = self.peek() {
            return Err(expected(Some(begin), "!, identifier, or 'end of string'"));
        }
        if self.peek() == Some("!") {
            self.at += 1;
            return checked(self.word()?, Operator::DoesNotExist, Vec::new());
        }
        let key = self.word()?;
        let operator = match self.peek() {
            None | Some(",") => return checked(key, Operator::Exists, Vec::new()),
            Some("=" | "==") => Operator::Equals,
            Some("!=") => Operator::NotEquals,
            Some("in") => Operator::In,
            Some("notin") => Operator::NotIn,
            Some(">") => Operator::GreaterThan,
            Some("<") => Operator::LessThan,
            Some(other) => {
                return Err(SelectorError(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                )));
            }
        };
        self.at += 1;
        if !matches!(operator, Operator::In | Operator::NotIn) {
            let value = if matches!(self.peek(), None | Some(",")) { "" } else { self.word()? };
            return checked(key, operator, vec![value.into()]);
        }
        match self.next() {
            Some("(") => {}
            other => {
                return Err(SelectorError(format!("found '{}' expected: '('", other.unwrap_or_default())));
            }
        }
        let mut values = Vec::new();
        loop {
            match self.peek() {
                Some(")") => break,
                Some(",") => values.push(String::new()),
                None => return Err(expected(None, "',', ')' or identifier")),
                _ => values.push(self.word()?.to_owned()),
            }
            match self.next() {
                Some(",") => {}
                Some(")") => {
                    self.at -= 1;
                    break;
                }
                other => {
                    return Err(SelectorError(format!(
                        "found '{}', expected: ',' or ')'",
                        other.unwrap_or_default()
                    )));
                }
            }
        }
        self.at += 1;
        values.sort();
        values.dedup();
        checked(key, operator, values)
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, operator, values }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let first = values.first().map(String::as_str).unwrap_or_default();
            match operator {
                Operator::Equals => write!(f, "{key}={first}")?,
                Operator::NotEquals => write!(f, "{key}!={first}")?,
                Operator::In => write!(f, "{key} in ({})", values.join(","))?,
                Operator::NotIn => write!(f, "{key} notin ({})", values.join(","))?,
                Operator::Exists => f.write_str(key)?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::GreaterThan => write!(f, "{key}>{first}")?,
                Operator::LessThan => write!(f, "{key}<{first}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_read_written_and_matched() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("n".to_owned(), "5".to_owned())]);
        for (text, written, selected) in [
            ("", "", true),
            ("a=b", "a=b", true),
            ("a==b,n", "a=b,n", true),
            ("a!=b", "a!=b", false),
            ("z!=b", "z!=b", true),
            ("a in (c, b)", "a in (b,c)", true),
            ("a notin (c)", "a notin (c)", true),
            ("!a", "!a", false),
            ("n>4", "n>4", true),
            ("n<4", "n<4", false),
            ("a=", "a=", false),
            ("in in (x)", "in in (x)", false),
        ] {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(
                (selector.to_string().as_str(), selector.matches(&labels)),
                (written, selected),
                "{text}"
            );
        }
        for bad in ["a=b=c", "a in b", "a in (b", "=b", "a b", "a,,b", "-x=y", "a=b,"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn objects_are_read_too() {
        let object = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["x", "y"]}, {"key": "d", "operator": "DoesNotExist"}]});
        assert_eq!(LabelSelector::from_object(&object).unwrap().to_string(), "a=b,c in (x,y),!d");
        assert_eq!(LabelSelector::from_object(&json!({"app": "web"})).unwrap().to_string(), "app=web");
        let wrong = json!({"matchExpressions": [{"key": "c", "operator": "Near"}]});
        assert_eq!(
            LabelSelector::from_object(&wrong).unwrap_err().to_string(),
            "\"Near\" is not a valid label selector operator"
        );
    }
}
