//! Reading manifests: files, folders, stdin; YAML of many documents, JSON, and `List` objects.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// One object of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Where it stands, as messages name it: a file, or `STDIN`.
    pub source: String,
    /// Line in the file where the document begins, from 1.
    pub line: usize,
    /// The object.
    pub object: Value,
}

impl Document {
    /// Where and what it is, for messages: in a file of many objects, the file's name alone would not tell.
    pub fn place(&self) -> String {
        format!("\"{}\" ({} \"{}\", line {})", self.source, self.kind(), self.name(), self.line)
    }

    /// `apiVersion`, or nothing.
    pub fn api_version(&self) -> &str {
        self.object["apiVersion"].as_str().unwrap_or_default()
    }

    /// `kind`, or nothing.
    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    /// `metadata.name`, or nothing.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `metadata.namespace`, if given.
    pub fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str().filter(|namespace| !namespace.is_empty())
    }
}

/// What was read: the good documents in order, and why others are not among them.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects.
    pub documents: Vec<Document>,
    /// One error for each document or file that cannot be read.
    pub errors: Vec<Error>,
}

/// Reads everything that `-f` names.
pub fn read(names: &[String], recursive: bool) -> Result<Manifests> {
    let mut manifests = Manifests::default();
    for name in names {
        if name == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|source| Error::Io { path: "STDIN".into(), source })?;
            parse_into(&mut manifests, &text, "STDIN");
            continue;
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            return Err(Error::usage(format!(
                "reading manifests from {name} is not implemented; fetch it and use -f -"
            )));
        }
        for path in files(Path::new(name), recursive)? {
            match std::fs::read_to_string(&path) {
                Ok(text) => parse_into(&mut manifests, &text, &path.display().to_string()),
                Err(source) => manifests.errors.push(Error::Io { path, source }),
            }
        }
    }
    Ok(manifests)
}

/// A file is itself; a folder is its manifests by name.
fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let fail = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Error::usage(format!("the path \"{}\" does not exist", path.display()))
        }
        _ => Error::Io { path: path.to_owned(), source },
    };
    if !path.metadata().map_err(fail)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(fail)?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            if recursive {
                found.extend(files(&entry, true)?);
            }
        } else if entry
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        {
            found.push(entry);
        }
    }
    Ok(found)
}

/// Parses one file's text. A document that does not parse leaves the others alone.
pub fn parse_into(manifests: &mut Manifests, text: &str, source: &str) {
    for (offset, chunk) in split(text) {
        match parse_one(chunk) {
            Ok(Value::Null) => {}
            Ok(object) => {
                let is_empty = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
                let begins = offset + 1 + chunk.lines().take_while(is_empty).count();
                add(manifests, object, source, begins);
            }
            Err(flaw) => manifests.errors.push(Error::usage(flaw.describe(source, offset, text))),
        }
    }
}

fn add(manifests: &mut Manifests, mut object: Value, source: &str, line: usize) {
    let is_list =
        object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && object["items"].is_array();
    if is_list && let Value::Array(items) = object["items"].take() {
        for item in items {
            add(manifests, item, source, line);
        }
        return;
    }
    let missing = if !object.is_object() {
        Some("a manifest must be a mapping with apiVersion, kind and metadata".to_owned())
    } else {
        ["apiVersion", "kind"].iter().find(|key| object[**key].as_str().is_none_or(str::is_empty)).map(
            |key| {
                format!("Object '{}' is missing or not a string", if *key == "kind" { "Kind" } else { key })
            },
        )
    };
    match missing {
        Some(why) => {
            manifests.errors.push(Error::usage(format!("unable to decode \"{source}\": line {line}: {why}")))
        }
        None => manifests.documents.push(Document { source: source.to_owned(), line, object }),
    }
}

/// Splits at `---` lines, as Kubernetes does before it parses, with each part's first line counted from 0.
fn split(text: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut start, mut first_line, mut at) = (Vec::new(), 0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.trim().is_empty() || rest.starts_with([' ', '\t']));
        if is_marker {
            parts.push((first_line, &text[start..at]));
            // What follows the marker on its line belongs to the next document.
            start = at + 3;
            first_line = number;
        }
        at += line.len();
    }
    parts.push((first_line, &text[start..]));
    parts.retain(|(_, part)| {
        part.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    });
    parts
}

/// Why a document does not parse, with the place inside it (from 1).
#[derive(Debug, PartialEq)]
struct Flaw {
    at: Option<(usize, usize)>,
    message: String,
}

impl Flaw {
    /// File, line, column, what is wrong, and the line itself with a mark under the place.
    fn describe(&self, source: &str, offset: usize, text: &str) -> String {
        let Some((line, column)) = self.at else {
            return format!("error parsing {source}: {}", self.message);
        };
        let line = line + offset;
        let head = format!("error parsing {source}: line {line}, column {column}: {}", self.message);
        match text.lines().nth(line.saturating_sub(1)) {
            Some(shown) => {
                let gutter = format!("{line} | ");
                let pad = " ".repeat(gutter.chars().count() + column.saturating_sub(1));
                format!("{head}\n{gutter}{shown}\n{pad}^")
            }
            None => head,
        }
    }
}

fn parse_one(text: &str) -> Result<Value, Flaw> {
    // Tabs and duplicate keys are errors in both; JSON is read as JSON for its own error texts.
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    match serde_saphyr::from_str_with_options::<Value>(text, options) {
        Ok(mut value) => {
            whole_numbers(&mut value);
            Ok(value)
        }
        Err(error) => {
            let error = error.without_snippet();
            let at = error
                .location()
                .and_then(|place| {
                    Some((usize::try_from(place.line()).ok()?, usize::try_from(place.column()).ok()?))
                })
                .filter(|(line, _)| *line > 0);
            let message = error.to_string();
            // The renderer may repeat the place, relative to the document; the absolute one is given already.
            let message = message.split(" at line ").next().unwrap_or(&message).trim_end_matches([',', ' ']);
            // The parser's advice to programmers is of no use to who wrote the file.
            let message = message.split(", set ").next().unwrap_or(message).to_owned();
            Err(Flaw { at, message })
        }
    }
}

/// `1e3` and `80.0` are the integers 1000 and 80, as they are after Go has written them as JSON.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(0.5);
            // Beyond this a double does not hold every integer.
            if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Manifests {
        let mut manifests = Manifests::default();
        parse_into(&mut manifests, text, "f.yaml");
        manifests
    }

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let got = parse(
            "# c\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n# nothing\n--- \nkind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n",
        );
        assert!(got.errors.is_empty(), "{:?}", got.errors);
        assert_eq!(got.documents.iter().map(Document::name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(got.documents.iter().map(|document| document.line).collect::<Vec<_>>(), [3, 9]);
    }

    #[test]
    fn scalars_read_as_kubernetes_reads_them() {
        let got = parse(
            "apiVersion: v1\nkind: X\nmode: 0644\ns: \"0644\"\nb: true\nn: 80\nv: 1.5\nw: 1e3\nt: on\ne: \nblock: |\n  a\n  ---b\n",
        );
        let object = &got.documents[0].object;
        assert_eq!(object["mode"], json!(420));
        assert_eq!(object["s"], json!("0644"));
        assert_eq!(
            (&object["b"], &object["n"], &object["v"], &object["e"]),
            (&json!(true), &json!(80), &json!(1.5), &json!(null))
        );
        assert_eq!((&object["w"], &object["t"]), (&json!(1000), &json!(true)));
        assert_eq!(object["block"], json!("a\n---b\n"));
    }

    #[test]
    fn a_bad_document_is_named_and_the_others_are_kept() {
        let got = parse(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\napiVersion: v1\nkind: [Pod\nx: 1\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: c}\n",
        );
        assert_eq!(got.documents.iter().map(Document::name).collect::<Vec<_>>(), ["a", "c"]);
        let text = got.errors[0].to_string();
        assert!(text.starts_with("error: error parsing f.yaml: line 7, column "), "{text}");
        assert!(text.contains("\n7 | x: 1\n"), "{text}");
    }

    #[test]
    fn an_object_without_kind_is_refused() {
        let got = parse("apiVersion: v1\nmetadata: {}\n---\njust text\n");
        let texts: Vec<String> = got.errors.iter().map(ToString::to_string).collect();
        assert!(texts[0].contains("line 1: Object 'Kind' is missing"), "{texts:?}");
        assert!(texts[1].contains("must be a mapping"), "{texts:?}");
    }
}
