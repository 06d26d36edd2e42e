//! One object as the cache keeps it: its bytes, and what selectors look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use skiff_api::kind::Kind;
use skiff_storage::Revision;

/// One version of one object.
#[derive(Debug)]
pub struct Item {
    /// `namespace/name`, or `name`.
    pub key: Arc<str>,
    /// The revision it was written at.
    pub revision: Revision,
    /// Its JSON without `kind` and `apiVersion`, with its resource version: what stands in a list.
    pub body: Bytes,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// What the kind's field selectors look at, in the order of [`Kind::selectable`].
    pub fields: Vec<String>,
}

impl Item {
    /// Reads a stored object; `None` if it is not one.
    pub fn read(kind: &Kind, key: &str, stored: &[u8], revision: Revision) -> Option<Self> {
        Self::of(kind, key, serde_json::from_slice(stored).ok()?, revision)
    }

    /// From a decoded object.
    pub fn of(kind: &Kind, key: &str, mut object: Value, revision: Revision) -> Option<Self> {
        let fields = kind.selectable.iter().map(|path| text_at(&object, path)).collect();
        let top = object.as_object_mut()?;
        top.remove("kind");
        top.remove("apiVersion");
        let metadata = top.get_mut("metadata")?.as_object_mut()?;
        metadata.insert("resourceVersion".into(), revision.to_string().into());
        let labels = metadata
            .get("labels")
            .and_then(Value::as_object)
            .map(|labels| {
                labels
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                    .collect()
            })
            .unwrap_or_default();
        let body = serde_json::to_vec(&object).ok()?.into();
        Some(Self { key: key.into(), revision, body, labels, fields })
    }

    /// The same object as its deletion shows it: with the revision of the delete.
    pub fn deleted_at(&self, revision: Revision) -> Self {
        let old = format!("\"resourceVersion\":\"{}\"", self.revision);
        let new = format!("\"resourceVersion\":\"{revision}\"");
        let text = String::from_utf8_lossy(&self.body);
        let body = text.replacen(&old, &new, 1).into_bytes().into();
        Self {
            key: self.key.clone(),
            revision,
            body,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
        }
    }

    /// The whole object, with `kind` and `apiVersion`.
    pub fn object(&self, kind: &Kind, version: &str) -> Value {
        let mut object: Value = serde_json::from_slice(&self.body).expect("the cache wrote this JSON");
        object["kind"] = kind.kind.as_str().into();
        object["apiVersion"] = kind.api_version(version).into();
        object
    }

    /// The bytes of the whole object.
    pub fn whole(&self, kind: &Kind, version: &str) -> Bytes {
        let mut out = Vec::with_capacity(self.body.len() + 64);
        self.write_whole(kind, version, &mut out);
        out.into()
    }

    /// Appends the bytes of the whole object.
    pub fn write_whole(&self, kind: &Kind, version: &str, out: &mut Vec<u8>) {
        let head = format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind, kind.api_version(version));
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&self.body[1..]);
    }

    /// The namespace, or nothing.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.key.rsplit_once('/').map_or(&self.key, |(_, name)| name)
    }
}

/// The scalar at a path such as `spec.nodeName`, as field selectors compare it.
fn text_at(object: &Value, path: &str) -> String {
    let mut at = object;
    for part in path.split('.') {
        match at.get(part) {
            Some(next) => at = next,
            None => return String::new(),
        }
    }
    match at {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        _ => String::new(),
    }
}
