//! Configuration files in the manner of Kubernetes: YAML with `apiVersion` and `kind`.
//!
//! A field that the file's kind does not have is an error; one that it has and Skiff does not support is a warning, so
//! that a file written for upstream's component can be used as it is.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;

/// What a kind of configuration file may say.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// As in the file's `apiVersion`.
    pub api_version: &'static str,
    /// As in the file's `kind`.
    pub kind: &'static str,
    /// Fields that have an effect.
    pub supported: &'static [&'static str],
    /// Fields that upstream's kind has besides.
    pub unsupported: &'static [&'static str],
}

/// A file that was read.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What it says.
    pub config: T,
    /// One sentence for each field that is there and has no effect.
    pub warnings: Vec<String>,
}

/// Reads a configuration file.
///
/// # Errors
/// It cannot be read, is no YAML, is of another kind, or has a field that is unknown or of the wrong type.
pub fn load<T: DeserializeOwned>(path: impl AsRef<Path>, schema: &Schema) -> Result<Loaded<T>, Error> {
    let path = path.as_ref();
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(&text, schema).map_err(|message| Error::Config { path: path.to_owned(), message })
}

/// Reads a configuration from text; the error says which field and what is allowed.
///
/// # Errors
/// As [`load`].
pub fn parse<T: DeserializeOwned>(text: &str, schema: &Schema) -> Result<Loaded<T>, String> {
    let mut value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let fields = value.as_object_mut().ok_or("not a mapping")?;
    for (name, expected) in [("apiVersion", schema.api_version), ("kind", schema.kind)] {
        match fields.remove(name) {
            Some(Value::String(found)) if found == expected => {}
            Some(found) => return Err(format!("{name}: {found} is not supported, must be {expected:?}")),
            None => return Err(format!("{name}: required, must be {expected:?}")),
        }
    }
    let mut warnings = Vec::new();
    for name in fields.keys().cloned().collect::<Vec<_>>() {
        if schema.supported.contains(&name.as_str()) {
            continue;
        }
        if !schema.unsupported.contains(&name.as_str()) {
            return Err(format!("unknown field {name:?} in {}", schema.kind));
        }
        fields.remove(&name);
        warnings.push(format!("field {name:?} of {} is not supported and has no effect", schema.kind));
    }
    let config = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Ok(Loaded { config, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Node {
        port: u16,
    }

    const SCHEMA: Schema =
        Schema { api_version: "a/v1", kind: "Node", supported: &["port"], unsupported: &["cgroupDriver"] };

    #[test]
    fn fields_are_supported_unsupported_or_unknown() {
        let head = "apiVersion: a/v1\nkind: Node\n";
        let loaded: Loaded<Node> = parse(&format!("{head}port: 1\ncgroupDriver: x\n"), &SCHEMA).unwrap();
        assert_eq!((loaded.config.port, loaded.warnings.len()), (1, 1));
        let table = [
            (format!("{head}port: 1\nprot: 2\n"), "unknown field \"prot\" in Node"),
            (format!("{head}port: x\n"), "expected u16"),
            ("port: 1\n".to_owned(), "apiVersion: required"),
            ("apiVersion: a/v2\nkind: Node\n".to_owned(), "must be \"a/v1\""),
            ("- 1\n".to_owned(), "not a mapping"),
        ];
        for (text, expected) in table {
            let error = parse::<Node>(&text, &SCHEMA).unwrap_err();
            assert!(error.contains(expected), "{error} has not {expected}");
        }
    }
}
