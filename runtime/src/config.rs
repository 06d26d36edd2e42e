//! Configuration files in the manner of Kubernetes: YAML with `apiVersion` and `kind`, read by a table of their fields.
//!
//! A file written for upstream's component can be used as it is: a field that upstream's kind has and Skiff does not
//! honour is named in a warning. A field that the kind does not have, and a value of the wrong kind, are errors that
//! name the file, the line, the field and what is allowed.

mod tree;
pub mod value;

use std::path::Path;

use serde_json::Value;

use crate::Error;
use tree::Tree;

/// What a field does here.
#[derive(Debug)]
pub enum Field<C> {
    /// Its value is taken; the answer is whether it has an effect (a value that is known and does nothing here gets a
    /// warning), or what would have been allowed.
    Taken(fn(&Value, &mut C) -> Result<bool, &'static str>),
    /// It is known and does nothing; a value other than nothing gets a warning.
    Idle,
    /// It is known, and Skiff behaves as this value (in JSON) says; any other gets a warning.
    Only(&'static str),
}

/// What a kind of configuration file may say.
#[derive(Debug)]
pub struct Schema<C: 'static> {
    /// As in the file's `apiVersion`.
    pub api_version: &'static str,
    /// As in the file's `kind`.
    pub kind: &'static str,
    /// Every field of the version, in the order in which they are taken. A dot leads into an object; what is below a
    /// field that is named here belongs to it.
    pub fields: &'static [(&'static str, Field<C>)],
}

/// A field that the file gives: where it stands in the table, its line, its value.
type Found<'a> = (usize, u64, &'a Tree);

impl<C> Schema<C> {
    /// Reads a file over `config`, which holds the defaults. Beside it come warnings, one for each field that is given
    /// and has no effect.
    ///
    /// # Errors
    /// The file cannot be read, is no YAML, is of another kind, has an unknown field or a wrong value.
    pub fn read(&self, path: &Path, config: C) -> Result<(C, Vec<String>), Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let parsed = self.parse(&text, config);
        let (config, warnings) =
            parsed.map_err(|message| Error::Config { path: path.to_owned(), message })?;
        let named = warnings.iter().map(|warning| format!("{}: {warning}", path.display()));
        Ok((config, named.collect()))
    }

    /// As [`Schema::read`], from text; the error begins with the line.
    ///
    /// # Errors
    /// As [`Schema::read`].
    pub fn parse(&self, text: &str, mut config: C) -> Result<(C, Vec<String>), String> {
        let document = Tree::parse(text)?;
        let Tree::Map(fields) = &document else {
            return Err(format!("expected an object of kind {}", self.kind));
        };
        for (name, expected) in [("apiVersion", self.api_version), ("kind", self.kind)] {
            match fields.iter().find(|(field, ..)| field == name) {
                Some((_, _, Tree::Leaf(Value::String(found)))) if found == expected => {}
                Some((_, line, found)) => {
                    let found = found.value();
                    return Err(format!(
                        "line {line}: {name}: {found} is not supported; expected {expected:?}"
                    ));
                }
                None => return Err(format!("{name}: required; expected {expected:?}")),
            }
        }
        let mut found = Vec::new();
        for (name, line, value) in fields.iter().filter(|(name, ..)| name != "apiVersion" && name != "kind") {
            self.find(name, *line, value, &mut found)?;
        }
        found.sort_by_key(|(at, ..)| *at);
        let mut warnings = Vec::new();
        for (at, line, tree) in found {
            let ((path, field), value) = (&self.fields[at], tree.value());
            match field {
                _ if value.is_null() => {}
                Field::Taken(_) if value == "" => {}
                Field::Taken(take) => match take(&value, &mut config) {
                    Ok(true) => {}
                    Ok(false) => {
                        warnings.push(format!("line {line}: {path}: {value} is not supported, ignored"));
                    }
                    Err(expected) => {
                        return Err(format!("line {line}: {path}: {value}: expected {expected}"));
                    }
                },
                Field::Only(as_is)
                    if serde_json::from_str(as_is).is_ok_and(|as_is: Value| as_is == value) => {}
                Field::Only(as_is) => {
                    warnings.push(format!("line {line}: {path}: {value} is not supported, it stays {as_is}"));
                }
                Field::Idle if is_nothing(&value) => {}
                Field::Idle => warnings.push(format!("line {line}: {path}: not supported, ignored")),
            }
        }
        Ok((config, warnings))
    }

    fn find<'a>(
        &self,
        path: &str,
        line: u64,
        value: &'a Tree,
        found: &mut Vec<Found<'a>>,
    ) -> Result<(), String> {
        if let Some(at) = self.fields.iter().position(|(name, _)| *name == path) {
            found.push((at, line, value));
            return Ok(());
        }
        let within = format!("{path}.");
        if !self.fields.iter().any(|(name, _)| name.starts_with(&within)) {
            return Err(format!("line {line}: unknown field {path:?} in {}", self.kind));
        }
        match value {
            Tree::Leaf(Value::Null) => Ok(()),
            Tree::Map(fields) => fields.iter().try_for_each(|(name, line, value)| {
                self.find(&format!("{within}{name}"), *line, value, found)
            }),
            other => Err(format!("line {line}: {path}: {}: expected an object", other.value())),
        }
    }
}

/// Files written by tools carry every field; one that says nothing needs no warning.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0" || text == "0s",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Node {
        port: u16,
    }

    fn port(value: &Value, node: &mut Node) -> Result<bool, &'static str> {
        node.port = value.as_u64().and_then(|port| port.try_into().ok()).ok_or("a port")?;
        Ok(node.port != 1)
    }

    const SCHEMA: Schema<Node> = Schema {
        api_version: "a/v1",
        kind: "Node",
        fields: &[
            ("net.port", Field::Taken(port)),
            ("net.mode", Field::Idle),
            ("gates", Field::Idle),
            ("swap", Field::Only("true")),
        ],
    };

    #[test]
    fn fields_are_honoured_or_warned_of_with_their_line() {
        let text = "kind: Node\napiVersion: a/v1\ngates: {A: true}\nnet:\n  mode: x\n  port: 7\n";
        let (node, warnings) = SCHEMA.parse(text, Node::default()).unwrap();
        assert_eq!(node.port, 7);
        assert_eq!(
            warnings,
            ["line 5: net.mode: not supported, ignored", "line 3: gates: not supported, ignored"]
        );
        let text = "kind: Node\napiVersion: a/v1\ngates: {}\nnet: {mode: '', port: 1}\nswap: true\n";
        let (_, warnings) = SCHEMA.parse(text, Node::default()).unwrap();
        assert_eq!(warnings, ["line 4: net.port: 1 is not supported, ignored"]);
        let (_, warnings) =
            SCHEMA.parse("kind: Node\napiVersion: a/v1\nswap: false\n", Node::default()).unwrap();
        assert_eq!(warnings, ["line 3: swap: false is not supported, it stays true"]);
    }

    #[test]
    fn wrong_input_is_refused_with_line_and_field() {
        let table = [
            ("net: {port: 7}\nnett: 2\n", "line 4: unknown field \"nett\" in Node"),
            ("net:\n  port: 7\n  prot: 2\n", "line 5: unknown field \"net.prot\" in Node"),
            ("net:\n  port: x\n", "line 4: net.port: \"x\": expected a port"),
            ("net: 4\n", "line 3: net: 4: expected an object"),
            ("net: {}\nnet: {}\n", "line 4"),
            ("net: [\n", "line"),
        ];
        for (text, expected) in table {
            let error = SCHEMA.parse(&format!("apiVersion: a/v1\nkind: Node\n{text}"), Node::default());
            let error = error.unwrap_err();
            assert!(error.contains(expected), "{error} has not {expected}");
        }
        for (text, expected) in [
            ("net: {}\n", "apiVersion: required; expected \"a/v1\""),
            ("apiVersion: a/v2\nkind: Node\n", "line 1: apiVersion: \"a/v2\" is not supported"),
            ("- 1\n", "expected an object of kind Node"),
        ] {
            let error = SCHEMA.parse(text, Node::default()).unwrap_err();
            assert!(error.starts_with(expected), "{error} has not {expected}");
        }
    }
}
