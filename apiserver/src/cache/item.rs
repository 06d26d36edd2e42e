//! One object as the cache keeps it: its bytes, and what selectors look at.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use skiff_api::kind::Kind;
use skiff_api::schema::Shape;
use skiff_api::{convert, custom, protobuf, walk};
use skiff_storage::Revision;

/// What an item looks like in other versions, by their names.
type Forms = Mutex<Vec<(String, Arc<Item>)>>;

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
    /// The version that it is stored in, where that makes a difference and is not the one for new objects.
    version: Option<Box<str>>,
    /// Whether a write that changes nothing would still store it in another version.
    stale: bool,
    /// What it is in other versions, as far as that has been asked for.
    forms: OnceLock<Forms>,
}

/// Whether a version of a kind shows its objects otherwise than they are stored.
pub fn shows_otherwise(kind: &Kind, version: &str) -> bool {
    kind.presents.is_some() || convert::differs(kind, version)
}

impl Item {
    /// Reads a stored object; `None` if it is not one.
    ///
    /// What is stored is not decoded and encoded again: its parts are taken apart where something is looked at, and
    /// put together with the revision.
    ///
    /// Kubernetes' own server stores protobuf; that is read as the JSON which it stands for.
    pub fn read(kind: &Kind, key: &str, stored: &[u8], revision: Revision) -> Option<Self> {
        let decoded;
        let stored = if stored.starts_with(protobuf::MAGIC) {
            match protobuf::stored(stored) {
                Ok(object) => {
                    // Kubernetes fills in defaults when it reads.
                    let (mut object, schema) = (object?, &kind.stored().schema);
                    walk::default(schema, &mut object);
                    walk::normalise(schema, &mut object);
                    decoded = object.to_string();
                }
                Err(error) => {
                    tracing::warn!(kind = kind.kind, key, %error, "a stored object cannot be read");
                    return None;
                }
            }
            decoded.as_bytes()
        } else if (kind.group.as_str(), kind.plural.as_str()) == (custom::GROUP, custom::PLURAL) {
            decoded = upgraded(kind, stored)?;
            decoded.as_bytes()
        } else if kind.stored().validator.is_some() {
            // Its schema may have changed since it was written.
            decoded = fitted(kind, stored)?;
            decoded.as_bytes()
        } else {
            stored
        };
        let top: Parts<'_> = serde_json::from_slice(stored).ok()?;
        let metadata: Parts<'_> = top.get("metadata").and_then(parts)?;
        let labels: BTreeMap<String, Value> = metadata.get("labels").and_then(parts).unwrap_or_default();
        let labels = labels
            .into_iter()
            .filter_map(|(key, value)| match value {
                Value::String(value) => Some((key, value)),
                _ => None,
            })
            .collect();
        let mut opened = vec![("metadata", metadata)];
        let mut fields = Vec::with_capacity(kind.selectable.len());
        for path in &kind.selectable {
            let text = match kind.selected_from.get(path) {
                None => text_at(&top, &mut opened, path),
                Some(paths) => {
                    let mut texts = paths.iter().map(|path| text_at(&top, &mut opened, path));
                    texts.find(|text| !text.is_empty()).unwrap_or_default()
                }
            };
            fields.push(if text.is_empty() { zero(kind, path).to_owned() } else { text });
        }
        let body = with_revision(&top, &opened[0].1, revision, stored.len());
        let version = stored_version(kind, &top);
        let stale = version.is_some();
        Some(Self { key: key.into(), revision, body, labels, fields, version, stale, forms: OnceLock::new() })
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
            version: self.version.clone(),
            stale: self.stale,
            forms: OnceLock::new(),
        }
    }

    /// Whether it is stored in a version that is no longer the one to store.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// The version that it is stored in.
    pub fn version<'a>(&'a self, kind: &'a Kind) -> &'a str {
        self.version.as_deref().unwrap_or(&kind.stored().name)
    }

    /// What it is in another version, if that has been asked for before.
    pub fn form(&self, version: &str) -> Option<Arc<Self>> {
        let forms = self.forms.get()?.lock().expect("no holder of this lock panics");
        forms.iter().find(|(known, _)| known == version).map(|(_, form)| form.clone())
    }

    /// Keeps what it is in another version.
    pub fn keep_form(&self, version: &str, mut object: Value) -> Arc<Self> {
        if let Some(object) = object.as_object_mut() {
            object.remove("kind");
            object.remove("apiVersion");
        }
        let labels =
            skiff_api::meta::labels(&object).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let form = Arc::new(Self {
            key: self.key.clone(),
            revision: self.revision,
            body: serde_json::to_vec(&object).expect("a value is valid JSON").into(),
            labels,
            fields: self.fields.clone(),
            version: Some(version.into()),
            stale: self.stale,
            forms: OnceLock::new(),
        });
        let mut forms = self.forms.get_or_init(Mutex::default).lock().expect("no holder of this lock panics");
        if forms.iter().all(|(known, _)| known != version) {
            forms.push((version.to_owned(), form.clone()));
        }
        form
    }

    /// The whole object, with `kind` and `apiVersion`.
    pub fn object(&self, kind: &Kind, version: &str) -> Value {
        let mut object: Value = serde_json::from_slice(&self.body).expect("the cache wrote this JSON");
        object["kind"] = kind.kind.as_str().into();
        object["apiVersion"] = kind.api_version(version).into();
        if let (Some(presents), Some(version)) = (&kind.presents, kind.version(version)) {
            presents.show(&mut object);
            walk::normalise(&version.schema, &mut object);
        }
        convert::show(kind, version, &mut object);
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
        if shows_otherwise(kind, version) {
            out.extend_from_slice(self.object(kind, version).to_string().as_bytes());
            return;
        }
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

/// A definition in our version, whichever it was stored in.
fn upgraded(kind: &Kind, stored: &[u8]) -> Option<String> {
    let mut object: Value = serde_json::from_slice(stored).ok()?;
    convert::upgrade(&mut object);
    walk::normalise(&kind.stored().schema, &mut object);
    Some(object.to_string())
}

/// A stored object as its schema has it now: without what that does not know, with its defaults.
fn fitted(kind: &Kind, stored: &[u8]) -> Option<String> {
    let mut object: Value = serde_json::from_slice(stored).ok()?;
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let version = api_version.rsplit_once('/').map_or(api_version, |(_, version)| version);
    // Versions that differ in name only are all read as the one that is stored.
    let known = kind.versions.iter().find(|known| kind.conversion.is_some() && known.name == version);
    let schema = &known.unwrap_or_else(|| kind.stored()).schema;
    walk::prune(schema, &mut object);
    walk::default(schema, &mut object);
    Some(object.to_string())
}

/// The version that an object says it is of, if it is another than what is stored now and has to be converted.
fn stored_version(kind: &Kind, top: &Parts<'_>) -> Option<Box<str>> {
    kind.conversion.as_ref()?;
    let api_version: Cow<'_, str> = top.get("apiVersion").and_then(parts)?;
    let version = api_version.rsplit_once('/').map_or(&*api_version, |(_, version)| version);
    (version != kind.stored().name).then(|| version.into())
}

/// The members of an object, each as it is written.
type Parts<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn parts<'a, T: Deserialize<'a>>(raw: &&'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// The bytes that stand in a list: no `kind` and `apiVersion`, but the revision.
fn with_revision(top: &Parts<'_>, metadata: &Parts<'_>, revision: Revision, size: usize) -> Bytes {
    let revision = format!("\"{revision}\"");
    let mut out = String::with_capacity(size + 40);
    let mut separator = '{';
    for (name, raw) in top {
        if matches!(&**name, "kind" | "apiVersion") {
            continue;
        }
        write_name(&mut out, separator, name);
        separator = ',';
        if name != "metadata" {
            out.push_str(raw.get());
            continue;
        }
        let mut inner = '{';
        let before = metadata.iter().filter(|(name, _)| &***name < "resourceVersion");
        let after = metadata.iter().filter(|(name, _)| &***name > "resourceVersion");
        for (name, text) in before
            .map(|(name, raw)| (&**name, raw.get()))
            .chain([("resourceVersion", revision.as_str())])
            .chain(after.map(|(name, raw)| (&**name, raw.get())))
        {
            write_name(&mut out, inner, name);
            out.push_str(text);
            inner = ',';
        }
        out.push('}');
    }
    out.push('}');
    out.into_bytes().into()
}

fn write_name(out: &mut String, separator: char, name: &str) {
    out.push(separator);
    out.push_str(&Value::from(name).to_string());
    out.push(':');
}

/// The scalar at a path such as `spec.nodeName`, as field selectors compare it. What was `opened` for one path need not
/// be taken apart again for the next.
fn text_at<'a, 'k>(top: &Parts<'a>, opened: &mut Vec<(&'k str, Parts<'a>)>, path: &'k str) -> String {
    let mut names = path.split('.');
    let first = names.next().unwrap_or_default();
    let mut raw = match names.next() {
        None => top.get(first).copied(),
        Some(second) => {
            let at = opened.iter().position(|(name, _)| *name == first).unwrap_or_else(|| {
                opened.push((first, top.get(first).and_then(parts).unwrap_or_default()));
                opened.len() - 1
            });
            opened[at].1.get(second).copied()
        }
    };
    for name in names {
        raw = raw.as_ref().and_then(parts::<Parts<'a>>).and_then(|parts| parts.get(name).copied());
    }
    let text = raw.map_or("", RawValue::get);
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).unwrap_or_default(),
        None | Some(b'{' | b'[' | b'n') => String::new(),
        Some(_) => text.to_owned(),
    }
}

/// What a field that is left out is compared as: in a typed kind a number is 0 and a flag false, as in Go.
fn zero(kind: &Kind, path: &str) -> &'static str {
    let mut schema = &kind.stored().schema;
    if schema.definition.is_empty() {
        return "";
    }
    for name in path.split('.') {
        let Shape::Object(fields) = &schema.shape else { return "" };
        let Some(field) = fields.known.get(name) else { return "" };
        schema = &field.schema;
    }
    match schema.shape {
        Shape::Boolean => "false",
        Shape::Integer { .. } | Shape::Number => "0",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use skiff_api::builtin;

    use super::*;

    #[test]
    fn a_stored_object_is_shown_with_its_revision_and_what_selectors_ask_for() {
        let registry = builtin::registry();
        let kind = registry.kind("", "Pod").expect("pods are built in");
        let stored = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"a\"b"},"name":"p","uid":"u"},
            "spec":{"hostNetwork":true,"nodeName":"n","note":{"deep":[1,2]}},"status":{}}"#;
        let item = Item::read(kind, "d/p", stored.as_bytes(), 7).unwrap();
        assert_eq!(
            std::str::from_utf8(&item.body).unwrap(),
            r#"{"metadata":{"labels":{"app":"a\"b"},"name":"p","resourceVersion":"7","uid":"u"},"#.to_owned()
                + r#""spec":{"hostNetwork":true,"nodeName":"n","note":{"deep":[1,2]}},"status":{}}"#
        );
        assert_eq!(item.labels["app"], "a\"b");
        let field = |path: &str| {
            let at = kind.selectable.iter().position(|one| one == path).expect("a pod's field");
            item.fields[at].as_str()
        };
        assert_eq!(field("spec.nodeName"), "n");
        assert_eq!(field("status.phase"), "");
    }

    #[test]
    fn what_is_left_out_is_selected_by_its_zero() {
        let registry = builtin::registry();
        let kind = registry.kind("", "Node").expect("nodes are built in");
        let read = |stored: &str| Item::read(kind, "n", stored.as_bytes(), 1).unwrap().fields;
        assert_eq!(read(r#"{"metadata":{"name":"n"},"spec":{}}"#), ["false"]);
        assert_eq!(read(r#"{"metadata":{"name":"n"},"spec":{"unschedulable":true}}"#), ["true"]);
    }

    #[test]
    fn what_is_not_an_object_is_not_shown() {
        let registry = builtin::registry();
        let kind = registry.kind("", "Pod").expect("pods are built in");
        for stored in ["", "[]", "{}", r#"{"metadata":[]}"#, r#"{"metadata":{}"#] {
            assert!(Item::read(kind, "d/p", stored.as_bytes(), 1).is_none(), "{stored}");
        }
    }
}
