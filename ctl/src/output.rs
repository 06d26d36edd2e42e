//! `-o`: what is printed of an object.

use std::str::FromStr;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::jsonpath::{self, Template};
use crate::table::{Table, cell};
use crate::term;

/// A parsed `-o`.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// `json`
    Json,
    /// `yaml`
    Yaml,
    /// `name`
    Name,
    /// `wide`
    Wide,
    /// `jsonpath=…`, `jsonpath-file=…`
    JsonPath(Template),
    /// `custom-columns=…`, `custom-columns-file=…`: header and path
    Columns(Vec<(String, Template)>),
}

const FORMATS: &str = "custom-columns,custom-columns-file,json,jsonpath,jsonpath-file,name,wide,yaml";

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, argument) = text.split_once('=').unwrap_or((text, ""));
        let needs = |what: &str| {
            if argument.is_empty() {
                Err(format!("{format} format specified but no {what} given"))
            } else {
                Ok(())
            }
        };
        let file = || std::fs::read_to_string(argument).map_err(|error| format!("{argument}: {error}"));
        match format {
            "json" => Ok(Output::Json),
            "yaml" => Ok(Output::Yaml),
            "name" => Ok(Output::Name),
            "wide" => Ok(Output::Wide),
            "jsonpath" | "jsonpath-as-json" => {
                needs("template")?;
                Template::parse(argument).map(Output::JsonPath)
            }
            "jsonpath-file" => Template::parse(&file()?).map(Output::JsonPath),
            "custom-columns" => {
                needs("custom columns")?;
                columns(argument).map(Output::Columns)
            }
            "custom-columns-file" => {
                let text = file()?;
                let mut lines = text.lines();
                let headers = lines.next().unwrap_or_default().split_whitespace();
                let paths = lines.next().unwrap_or_default().split_whitespace();
                columns(
                    &headers
                        .zip(paths)
                        .map(|(header, path)| format!("{header}:{path}"))
                        .collect::<Vec<_>>()
                        .join(","),
                )
                .map(Output::Columns)
            }
            "go-template" | "go-template-file" | "template" | "templatefile" => {
                Err(format!("output format \"{format}\" is not implemented: use jsonpath or custom-columns"))
            }
            "kyaml" => Err("output format \"kyaml\" is not implemented: use yaml".to_owned()),
            _ => Err(format!(
                "unable to match a printer suitable for the output format \"{text}\", allowed formats are: {FORMATS}"
            )),
        }
    }
}

/// `NAME:.metadata.name,RSRC:.metadata.resourceVersion`
fn columns(text: &str) -> Result<Vec<(String, Template)>, String> {
    split_outside_brackets(text)
        .into_iter()
        .map(|column| {
            let (header, path) = column
                .split_once(':')
                .filter(|(header, path)| !header.is_empty() && !path.is_empty())
                .ok_or_else(|| {
                    format!("unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>")
                })?;
            Ok((header.to_owned(), jsonpath::relaxed(path)?))
        })
        .collect()
}

/// Commas inside `[…]` belong to the path.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

impl Output {
    /// Whether objects are needed, rather than a server's table.
    pub fn needs_objects(output: Option<&Output>) -> bool {
        !matches!(output, None | Some(Output::Wide))
    }

    /// Prints one object or list. `resource` is the name for `-o name`, as `deployment.apps`.
    pub fn print(&self, object: &Value, resource: &str) -> Result<()> {
        term::raw(self.render(object, resource)?.as_bytes());
        Ok(())
    }

    /// What [`Output::print`] writes.
    pub fn render(&self, object: &Value, resource: &str) -> Result<String> {
        Ok(match self {
            Output::Json => format!("{}\n", json(object)),
            Output::Yaml => yaml(object)?,
            Output::Name | Output::Wide => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                format!("{resource}/{name}\n")
            }
            Output::JsonPath(template) => template
                .render(object)
                .map_err(|error| Error::usage(format!("error executing jsonpath: {error}")))?,
            Output::Columns(columns) => format!("{}\n", custom_columns(columns, object, true)?.render()),
        })
    }
}

/// The table of `custom-columns`, of a list or of one object.
pub fn custom_columns(columns: &[(String, Template)], object: &Value, header: bool) -> Result<Table> {
    let mut table = Table::new();
    if header {
        table.row(columns.iter().map(|(header, _)| header.clone()));
    }
    let one = std::slice::from_ref(object);
    for item in object["items"].as_array().map_or(one, Vec::as_slice) {
        let cells: Result<Vec<String>> = columns
            .iter()
            .map(|(_, path)| {
                let values = path.find(item).unwrap_or_default();
                let texts: Vec<String> =
                    values.into_iter().map(|value| go(value).unwrap_or_else(|| cell(value))).collect();
                Ok(if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") })
            })
            .collect();
        table.row(cells?);
    }
    Ok(table)
}

/// A mapping or list as Go prints it: `map[a:1 b:2]`, `[a b]`.
fn go(value: &Value) -> Option<String> {
    let plain = |value: &Value| go(value).unwrap_or_else(|| cell(value));
    match value {
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            Some(format!("map[{}]", pairs.join(" ")))
        }
        Value::Array(list) => Some(format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" "))),
        _ => None,
    }
}

/// JSON as kubectl writes it: keys sorted, four blanks deep.
pub fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("a JSON value can always be written");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// YAML as kubectl writes it: keys sorted, lists not indented.
pub fn yaml(value: &Value) -> Result<String> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true };
    let text = serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| Error::usage(format!("cannot write YAML: {error}")))?;
    Ok(if text.ends_with('\n') { text } else { format!("{text}\n") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats_are_read_and_refused() {
        assert_eq!("json".parse(), Ok(Output::Json));
        for (text, want) in [
            ("jsonpath=", "no template given"),
            ("custom-columns=", "no custom columns given"),
            ("custom-columns=A", "expected <header>:<json-path-expr>"),
            ("xml", "allowed formats are"),
        ] {
            let error = text.parse::<Output>().expect_err(text);
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn custom_columns_show_one_row_an_item() {
        let list = json!({"items": [{"metadata": {"name": "a"}, "c": [{"i": 1}, {"i": 2}]}, {"metadata": {"name": "bcd"}}]});
        let output: Output =
            "custom-columns=NAME:.metadata.name,I:.c[*].i,Z:.c[0,1].i".parse().expect("valid");
        assert_eq!(
            output.render(&list, "").expect("renders"),
            "NAME   I        Z\na      1,2      1,2\nbcd    <none>   <none>\n"
        );
    }

    #[test]
    fn yaml_and_json_read_as_kubectls() {
        let object = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"args": ["-c", "a: b", "80", "true", ""], "c": [{"name": "x", "ports": [{"p": 1}]}], "e": {}, "l": []}, "d": "line\nnext\n"});
        let text = yaml(&object).expect("writes");
        assert_eq!(
            text,
            "apiVersion: v1\nd: |\n  line\n  next\nkind: Pod\nspec:\n  args:\n  - -c\n  - \"a: b\"\n  - \"80\"\n  - \"true\"\n  - \"\"\n  c:\n  - name: x\n    ports:\n    - p: 1\n  e: {}\n  l: []\n"
        );
        assert!(json(&json!({"b": 1, "a": []})).starts_with("{\n    \"a\": [],\n    \"b\": 1\n}"));
    }
}
