//! Kubernetes' protobuf, both ways: an envelope (`k8s\0`) around one message of a built-in type.
//!
//! Messages are read and written by the field numbers that the schema knows
//! ([`crate::schema::Layout`]); no kind has code of its own. What has no protobuf form (custom
//! resources, tables) is said so by [`Error::NoForm`].

mod decode;
mod encode;
mod wire;

use serde_json::Value;

use crate::schema::{Schema, Shape, definition, definition_of_kind};
use wire::{Fields, Wire, Writer};

/// What every message in an envelope begins with.
pub const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may nest.
const DEPTH: usize = 128;
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Why a message cannot be read or written, as a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin with the magic bytes.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NotProtobuf,
    /// The bytes are not a message.
    #[error("protobuf: {0}")]
    Malformed(&'static str),
    /// The kind, in that version, has no protobuf form here.
    #[error("no protobuf form of {kind} in {api_version} is known")]
    NoForm {
        /// Such as `apps/v1`.
        api_version: String,
        /// Such as `Deployment`.
        kind: String,
    },
    /// A value does not fit the type of its field.
    #[error("protobuf: {0} does not fit its type")]
    Unfit(String),
}

/// Decodes one object with its envelope. Zeros are there as protobuf has them: normalise it.
pub fn decode(bytes: &[u8]) -> Result<Value, Error> {
    let body = bytes.strip_prefix(MAGIC).ok_or(Error::NotProtobuf)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in Fields(body) {
        match part? {
            (1, Wire::Bytes(meta)) => {
                for part in Fields(meta) {
                    match part? {
                        (1, Wire::Bytes(text)) => api_version = wire::text(text)?,
                        (2, Wire::Bytes(text)) => kind = wire::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(inner)) => raw = inner,
            _ => {}
        }
    }
    let schema = form(&api_version, &kind)?;
    let mut object = decode::message(schema, raw, DEPTH)?;
    if let Value::Object(map) = &mut object {
        map.insert("apiVersion".into(), api_version.into());
        map.insert("kind".into(), kind.into());
    }
    Ok(object)
}

/// Encodes one object, or a list of objects, with its envelope.
pub fn encode(object: &Value) -> Result<Vec<u8>, Error> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let mut out = Writer::default();
    // From the end to the beginning, so that lengths are known when they are written.
    out.bytes(4, b"");
    out.bytes(3, b"");
    let start = out.mark();
    match (form(api_version, kind), object.get("items")) {
        (Ok(schema), _) => encode::message(&mut out, schema, object)?,
        (Err(_), Some(Value::Array(items))) if kind.ends_with("List") => {
            list(&mut out, api_version, kind, &object["metadata"], items)?;
        }
        (Err(error), _) => return Err(error),
    }
    out.close(2, start);
    let start = out.mark();
    out.bytes(2, kind.as_bytes());
    out.bytes(1, api_version.as_bytes());
    out.close(1, start);
    Ok(out.finish(MAGIC))
}

/// Every list is its metadata and its items.
fn list(
    out: &mut Writer,
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: &[Value],
) -> Result<(), Error> {
    let of = kind.strip_suffix("List").unwrap_or(kind);
    let schema = form(api_version, of).map_err(|_| no_form(api_version, kind))?;
    for item in items.iter().rev() {
        let start = out.mark();
        encode::message(out, schema, item)?;
        out.close(2, start);
    }
    let start = out.mark();
    let meta = definition(&format!("{META}.ListMeta")).ok_or_else(|| no_form("v1", "ListMeta"))?;
    encode::message(out, meta, metadata)?;
    out.close(1, start);
    Ok(())
}

/// Whether objects of that kind have a protobuf form.
pub fn has_form(api_version: &str, kind: &str) -> bool {
    form(api_version, kind).is_ok()
}

/// One event of a watch as it is framed: four bytes of length, most significant first, and a
/// `WatchEvent` whose object is `object`, encoded already.
pub fn frame(event: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    let start = out.mark();
    out.bytes(1, object);
    out.close(2, start);
    out.bytes(1, event.as_bytes());
    let message = out.finish(b"");
    let length = u32::try_from(message.len()).expect("an object is smaller than 4 GiB");
    [&length.to_be_bytes()[..], &message].concat()
}

fn no_form(api_version: &str, kind: &str) -> Error {
    Error::NoForm { api_version: api_version.into(), kind: kind.into() }
}

/// The schema of a kind that has a protobuf form.
fn form(api_version: &str, kind: &str) -> Result<&'static Schema, Error> {
    let found = match (api_version, kind) {
        ("meta.k8s.io/v1" | "meta.k8s.io/v1beta1", "PartialObjectMetadata") => partial(),
        // Kubernetes still stores these in the version before, whose fields have the same numbers.
        (
            "admissionregistration.k8s.io/v1beta1",
            "MutatingAdmissionPolicy" | "MutatingAdmissionPolicyBinding",
        ) => definition_of_kind("admissionregistration.k8s.io/v1", kind),
        _ => definition_of_kind(api_version, kind),
    };
    found
        .filter(|schema| matches!(&schema.shape, Shape::Object(fields) if !fields.layout().is_empty()))
        .ok_or_else(|| no_form(api_version, kind))
}

/// `PartialObjectMetadata`: what every object has at number 1.
fn partial() -> Option<&'static Schema> {
    static PARTIAL: std::sync::LazyLock<Option<Schema>> = std::sync::LazyLock::new(|| {
        let Shape::Object(fields) = &definition("io.k8s.api.core.v1.ConfigMap")?.shape else { return None };
        let mut only = fields.clone();
        only.known.retain(|name, _| name == "metadata");
        let shape = Shape::Object(only.anew());
        Some(Schema::new(crate::schema::Node { shape, ..crate::schema::Node::default() }))
    });
    PARTIAL.as_ref()
}

/// A stored value as JSON, whichever way it was written: Kubernetes writes protobuf by default.
pub fn stored(bytes: &[u8]) -> Result<Option<Value>, Error> {
    if !bytes.starts_with(MAGIC) {
        return Ok(serde_json::from_slice(bytes).ok());
    }
    let mut object = decode(bytes)?;
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let schema = form(text("apiVersion"), text("kind"))?;
    crate::walk::normalise(schema, &mut object);
    Ok(Some(object))
}

/// The `Status` that says a kind has no protobuf form.
impl From<Error> for crate::status::Status {
    fn from(error: Error) -> Self {
        match error {
            Error::NoForm { .. } => Self::new(406, "NotAcceptable", error.to_string()),
            _ => Self::bad_request(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_config_map_is_read_and_written() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x11\x0a\x07\x0a\x01c\x12\x00\x1a\x00\x12\x06\x0a\x01a\x12\x01b");
        let mut object = decode(&bytes).unwrap();
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "generateName": "", "namespace": ""}, "data": {"a": "b"}});
        assert_eq!(object, expected);
        crate::walk::normalise(definition("io.k8s.api.core.v1.ConfigMap").unwrap(), &mut object);
        assert_eq!(stored(&encode(&object).unwrap()), Ok(Some(object)));
    }

    #[test]
    fn a_list_and_metadata_alone_have_their_forms() {
        let list = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7"},
            "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]});
        let bytes = encode(&list).unwrap();
        assert!(bytes.starts_with(b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dConfigMapList\x12"));
        let partial = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "a", "labels": {"x": "y"}}});
        assert_eq!(stored(&encode(&partial).unwrap()), Ok(Some(partial)));
        let table = json!({"apiVersion": "meta.k8s.io/v1", "kind": "Table"});
        assert_eq!(encode(&table), Err(no_form("meta.k8s.io/v1", "Table")));
    }

    #[test]
    fn what_discovery_answers_has_its_form() {
        let resources = json!({"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "v1", "resources": [
            {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "list"]}]});
        let bytes = encode(&resources).unwrap();
        let verbs = b"\x22\x0b\x0a\x03get\x0a\x04list";
        assert!(bytes.windows(verbs.len()).any(|part| part == verbs));
        assert_eq!(stored(&bytes), Ok(Some(resources)));
        let groups = json!({"apiVersion": "v1", "kind": "APIGroupList", "groups": [{"name": "apps",
            "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}]});
        assert_eq!(stored(&encode(&groups).unwrap()), Ok(Some(groups)));
    }

    #[test]
    fn a_watch_is_framed() {
        assert_eq!(frame("ADDED", b"x"), b"\0\0\0\x0c\x0a\x05ADDED\x12\x03\x0a\x01x");
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        assert_eq!(decode(b"{}"), Err(Error::NotProtobuf));
        assert!(matches!(decode(b"k8s\0\x0a\xff"), Err(Error::Malformed(_))));
        let whole = encode(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s",
            "creationTimestamp": "2024-01-01T00:00:00Z"}, "data": {"a": "eA=="}}))
        .unwrap();
        for end in 0..whole.len() {
            let _ = decode(&whole[..end]);
        }
    }
}
