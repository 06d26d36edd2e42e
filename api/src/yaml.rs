//! Documents from YAML or JSON, with duplicate keys reported.

mod write;

pub use write::to_string;

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::go_json::syntax_error;

/// Decodes one document. Returns it with the paths of fields that were given twice (the last one
/// counts); the error is a sentence for a person.
pub fn decode_one(bytes: &[u8], yaml: bool) -> Result<(Value, Vec<String>), String> {
    let mut duplicates = Vec::new();
    let value = read(bytes, yaml, &mut |path, known| {
        if known {
            duplicates.push(path.to_owned());
        }
    })?;
    Ok((value, duplicates))
}

/// The paths of all keys of a JSON document in its order; nothing of one that does not parse.
pub fn keys(bytes: &[u8]) -> Vec<String> {
    let mut keys = Vec::new();
    match read(bytes, false, &mut |path, _| keys.push(path.to_owned())) {
        Ok(_) => keys,
        Err(_) => Vec::new(),
    }
}

/// What a strict reader says of the fields that a YAML document gives twice, line by line. Of the
/// first it tells the line.
pub fn duplicate_lines(bytes: &[u8], duplicates: &[String]) -> Vec<String> {
    let line = duplicate_line(bytes);
    let told = duplicates.iter().enumerate().map(|(index, path)| {
        let key = path.rsplit('.').next().unwrap_or(path);
        match line {
            Some(line) if index == 0 => format!("line {line}: key {key:?} already set in map"),
            _ => format!("key {key:?} already set in map"),
        }
    });
    told.collect()
}

/// The same as the one error of a strict reader.
pub fn duplicate_error(bytes: &[u8], duplicates: &[String]) -> String {
    let lines = duplicate_lines(bytes, duplicates).join("\n  ");
    format!("error converting YAML to JSON: yaml: unmarshal errors:\n  {lines}")
}

/// Is told of each key when its value is read: its path, and whether it was there before.
type Note<'a> = &'a mut dyn FnMut(&str, bool);

fn read(bytes: &[u8], yaml: bool, note: Note<'_>) -> Result<Value, String> {
    let seed = Tree { path: String::new(), note };
    if yaml {
        let text =
            std::str::from_utf8(bytes).map_err(|error| format!("error converting YAML to JSON: {error}"))?;
        serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
            seed.deserialize(deserializer)
        })
        .map_err(|error| format!("error converting YAML to JSON: yaml: {error}"))
    } else {
        let text = lossy(bytes);
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
        value.map_err(|error| {
            // What nests deeper than our decoder reads is told as what nests deeper than Go's.
            let deep = || "exceeded max depth".to_owned();
            let words = if error.is_syntax() || error.is_eof() { syntax_error(bytes) } else { None };
            format!("couldn't get version/kind; json parse error: {}", words.unwrap_or_else(deep))
        })
    }
}

/// The line of the first key of a YAML document that was given before, counted from 1.
fn duplicate_line(bytes: &[u8]) -> Option<u64> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        legacy_octal_numbers: true,
    };
    let text = std::str::from_utf8(bytes).ok()?;
    let read = serde_saphyr::from_str_with_options::<Value>(text, options);
    read.err()?.location().map(|location| location.line())
}

/// Text as Go's decoder reads it: each byte that is not UTF-8 becomes U+FFFD.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text.into()
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
    }
}

/// Splits a stream of YAML at its `---` lines: (line the document begins at, its text).
pub fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut begin, mut first, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end();
        if bare == "---" || bare.starts_with("--- ") {
            parts.push((first, &text[begin..at]));
            begin = at + line.len();
            first = number + 2;
        }
        at += line.len();
    }
    parts.push((first, &text[begin..]));
    parts.retain(|(_, part)| {
        part.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'))
    });
    parts
}

/// Reads any value, noting its keys.
struct Tree<'a> {
    path: String,
    note: Note<'a>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // YAML's `1e3` is an integer to everything that reads it afterwards.
        if value.fract() == 0.0 && value.abs() < 1e15 {
            return Ok((value as i64).into());
        }
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, list.len());
            match access.next_element_seed(Tree { path, note: self.note })? {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            let value = access.next_value_seed(Tree { path: path.clone(), note: self.note })?;
            (self.note)(&path, map.insert(key, value).is_some());
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn duplicates_are_noted_and_the_last_counts() {
        assert_eq!(super::duplicate_line(b"a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n"), Some(5));
        assert_eq!(super::duplicate_line(b"a: 1\nb: 2\n"), None);
        let (value, twice) = super::decode_one(br#"{"a":{"b":1,"b":2},"c":[{"d":1,"d":1}]}"#, false).unwrap();
        assert_eq!(value, json!({"a": {"b": 2}, "c": [{"d": 1}]}));
        assert_eq!(twice, ["a.b", "c[0].d"]);
        assert_eq!(
            super::keys(br#"{"c":1,"a":{"z":1},"b":[{"d":0}],"c":2}"#),
            ["c", "a.z", "a", "b[0].d", "b", "c"]
        );
    }

    #[test]
    fn yaml_reads_as_json_does() {
        let text = b"a: yes please\nmode: 0644\nlist:\n- x: '1'\n- 2\n- true\n- ~\n- 1.5\n";
        let (value, _) = super::decode_one(text, true).unwrap();
        let expected = json!({"a": "yes please", "mode": 420, "list": [{"x": "1"}, 2, true, null, 1.5]});
        assert_eq!(value, expected);
        assert!(super::decode_one(b"a: [1\nb: 2", true).unwrap_err().contains("line"));
    }

    #[test]
    fn streams_split_at_dashes_and_know_their_lines() {
        let parts = super::split("# only a comment\n---\na: 1\n---\n\n---\nb: 2\n");
        assert_eq!(parts, [(3, "a: 1\n"), (7, "b: 2\n")]);
    }
}
