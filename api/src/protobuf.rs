//! Reading Kubernetes' protobuf: an envelope (`k8s\0`) around one message of a built-in type,
//! decoded by the field numbers that the schema knows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::schema::{Field, Schema, Shape, definition};

const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may nest.
const DEPTH: usize = 64;

/// Groups of fields that JSON inlines and protobuf nests: definition, number of the nested
/// message, and the fields that stay outside of it (empty: `inside` names those within).
struct Nested {
    definition: &'static str,
    number: u64,
    outside: &'static [&'static str],
    inside: &'static [&'static str],
}

const fn all_but(definition: &'static str, number: u64, outside: &'static [&'static str]) -> Nested {
    Nested { definition, number, outside, inside: &[] }
}

const fn only(definition: &'static str, inside: &'static [&'static str]) -> Nested {
    Nested { definition, number: 1, outside: &[], inside }
}

const NESTED: [Nested; 12] = [
    all_but("Volume", 2, &["name"]),
    all_but("EphemeralContainer", 1, &["targetContainerName"]),
    all_but("IngressRule", 2, &["host"]),
    only("Probe", &["exec", "httpGet", "tcpSocket", "grpc"]),
    Nested { number: 2, ..only("PersistentVolumeSpec", PERSISTENT) },
    only("ConfigMapKeySelector", &["name"]),
    only("SecretKeySelector", &["name"]),
    only("ConfigMapEnvSource", &["name"]),
    only("SecretEnvSource", &["name"]),
    only("ConfigMapProjection", &["name"]),
    only("SecretProjection", &["name"]),
    only("ConfigMapVolumeSource", &["name"]),
];

const PERSISTENT: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "hostPath",
    "glusterfs",
    "nfs",
    "rbd",
    "iscsi",
    "cinder",
    "cephfs",
    "fc",
    "flocker",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// Decodes one object with its envelope. The error is a sentence for a person.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    let body = bytes.strip_prefix(MAGIC).ok_or("provided data does not appear to be a protobuf message")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in Fields(body) {
        match part? {
            (1, Wire::Bytes(meta)) => {
                for part in Fields(meta) {
                    match part? {
                        (1, Wire::Bytes(text)) => api_version = string(text)?,
                        (2, Wire::Bytes(text)) => kind = string(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(inner)) => raw = inner,
            _ => {}
        }
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let group = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or_default() };
    let schema = definition(&format!("io.k8s.api.{group}.{version}.{kind}"))
        .or_else(|| definition(&format!("io.k8s.apimachinery.pkg.apis.meta.{version}.{kind}")))
        .ok_or_else(|| format!("no protobuf form of {kind} in {api_version} is known"))?;
    let mut object = message(schema, raw, DEPTH)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, as they come.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        Some((tag >> 3, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "protobuf: unexpected end of the message".into()))
    }
}

fn string(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "protobuf: text is not UTF-8".into())
}

fn message(schema: &Schema, bytes: &[u8], depth: usize) -> Result<Value, String> {
    let mut map = Map::new();
    fill(schema, bytes, None, depth, &mut map)?;
    Ok(map.into())
}

/// Reads the fields of a message, or those of a group within it when `group` is given.
fn fill(
    schema: &Schema,
    bytes: &[u8],
    group: Option<&Nested>,
    depth: usize,
    map: &mut Map<String, Value>,
) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or("protobuf: nested too deep")?;
    let Shape::Object(fields) = &schema.shape else { return Ok(()) };
    let short = schema.definition.rsplit('.').next().unwrap_or_default();
    let nested = NESTED.iter().find(|nested| nested.definition == short);
    let within = |name: &str| match nested {
        Some(nested) if nested.inside.is_empty() => !nested.outside.contains(&name),
        Some(nested) => nested.inside.contains(&name),
        None => false,
    };
    for part in Fields(bytes) {
        let (number, wire) = part?;
        if group.is_none()
            && let (Some(nested), Wire::Bytes(inner)) = (nested, &wire)
            && nested.number == number
        {
            fill(schema, inner, Some(nested), depth, map)?;
            continue;
        }
        let found = fields
            .known
            .iter()
            .find(|(name, field)| u64::from(field.number) == number && within(name) == group.is_some());
        if let Some((name, field)) = found {
            set(map, name, field, wire, depth)?;
        }
    }
    Ok(())
}

fn set(
    map: &mut Map<String, Value>,
    name: &str,
    field: &Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), String> {
    match (&field.schema.shape, wire) {
        (Shape::List { items, .. }, wire) => {
            let item = value(items, wire, depth)?;
            if let Value::Array(list) = map.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                list.push(item);
            }
        }
        (Shape::Map(values), Wire::Bytes(entry)) => {
            let (mut key, mut item) = (String::new(), Value::Null);
            for part in Fields(entry) {
                match part? {
                    (1, Wire::Bytes(text)) => key = string(text)?,
                    (2, wire) => item = map_value(values, wire, depth)?,
                    _ => {}
                }
            }
            if let Value::Object(map) = map.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                map.insert(key, item);
            }
        }
        (_, wire) => {
            map.insert(name.into(), value(&field.schema, wire, depth)?);
        }
    }
    Ok(())
}

/// A list inside a map is a message of its own (`ExtraValue`).
fn map_value(schema: &Schema, wire: Wire<'_>, depth: usize) -> Result<Value, String> {
    match (&schema.shape, wire) {
        (Shape::List { items, .. }, Wire::Bytes(bytes)) => {
            let mut list = Vec::new();
            for part in Fields(bytes) {
                list.push(value(items, part?.1, depth)?);
            }
            Ok(list.into())
        }
        (_, wire) => value(schema, wire, depth),
    }
}

fn value(schema: &Schema, wire: Wire<'_>, depth: usize) -> Result<Value, String> {
    Ok(match (&schema.shape, wire) {
        (Shape::String { format, .. }, Wire::Bytes(bytes)) => match format.as_str() {
            "date-time" | "date-time-micro" => time(bytes, format)?,
            "byte" => STANDARD.encode(bytes).into(),
            _ => string(bytes)?.into(),
        },
        // Signed numbers are sent as their two's complement.
        (Shape::Integer { .. }, Wire::Number(number)) => number.cast_signed().into(),
        (Shape::Number, Wire::Number(bits)) => f64::from_bits(bits).into(),
        (Shape::Boolean, Wire::Number(number)) => (number != 0).into(),
        (Shape::Quantity, Wire::Bytes(bytes)) => match Fields(bytes).next() {
            Some(part) => match part?.1 {
                Wire::Bytes(text) => string(text)?.into(),
                Wire::Number(_) => Value::Null,
            },
            None => "0".into(),
        },
        (Shape::IntOrString, Wire::Bytes(bytes)) => {
            let (mut text, mut number, mut is_text) = (String::new(), 0, false);
            for part in Fields(bytes) {
                match part? {
                    (1, Wire::Number(sort)) => is_text = sort == 1,
                    (2, Wire::Number(given)) => number = given.cast_signed(),
                    (3, Wire::Bytes(given)) => text = string(given)?,
                    _ => {}
                }
            }
            if is_text { text.into() } else { number.into() }
        }
        (Shape::Any, Wire::Bytes(bytes)) => match Fields(bytes).next() {
            Some(Ok((1, Wire::Bytes(json)))) => serde_json::from_slice(json)
                .map_err(|_| "protobuf: a raw extension is not JSON".to_owned())?,
            _ => Value::Null,
        },
        (_, Wire::Bytes(bytes)) => message(schema, bytes, depth)?,
        _ => Value::Null,
    })
}

fn time(bytes: &[u8], format: &str) -> Result<Value, String> {
    let (mut seconds, mut nanos) = (None, 0);
    for part in Fields(bytes) {
        match part? {
            (1, Wire::Number(number)) => seconds = Some(number.cast_signed()),
            (2, Wire::Number(number)) => nanos = i32::try_from(number.cast_signed()).unwrap_or(0),
            _ => {}
        }
    }
    // The zero time of Go is sent as an empty message.
    let Some(seconds) = seconds else { return Ok(Value::Null) };
    let time = Timestamp::new(seconds, nanos).map_err(|_| "protobuf: a time is out of range".to_owned())?;
    let pattern = if format == "date-time" { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" };
    Ok(time.strftime(pattern).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_config_map_is_read() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x11\x0a\x07\x0a\x01c\x12\x00\x1a\x00\x12\x06\x0a\x01a\x12\x01b");
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "generateName": "", "namespace": ""}, "data": {"a": "b"}});
        assert_eq!(decode(&bytes).unwrap(), expected);
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        assert!(decode(b"{}").is_err());
        assert!(decode(b"k8s\0\x0a\xff").is_err());
    }
}
