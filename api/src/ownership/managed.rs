//! `metadata.managedFields`: who owns which fields, in which version, since when.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::set::Set;

/// Who owns fields. An applier is the same in every version; an updater is one a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// Its name, as a client gives it.
    pub name: String,
    /// How it came to its fields.
    pub operation: Operation,
    /// Such as `apps/v1`; empty for appliers.
    pub api_version: String,
    /// The subresource it wrote through, or empty.
    pub subresource: String,
}

/// How a manager comes to its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By saying the whole of what it wants.
    Apply,
    /// By changing them.
    Update,
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

impl Manager {
    /// A manager of that name, `unknown` if it has none.
    pub fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let name = if name.is_empty() { "unknown" } else { name };
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self {
            name: name.into(),
            operation,
            api_version: api_version.into(),
            subresource: subresource.into(),
        }
    }
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The fields.
    pub set: Set,
    /// The version that their paths are of.
    pub api_version: String,
}

/// All managers of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Managed {
    /// What each owns.
    pub fields: BTreeMap<Manager, Owned>,
    /// When each last came to a field; RFC 3339 in UTC.
    pub times: BTreeMap<Manager, String>,
}

impl Managed {
    /// Reads `metadata.managedFields`.
    ///
    /// # Errors
    /// What is wrong with an entry, in upstream's words.
    pub fn read(entries: &Value) -> Result<Self, String> {
        let mut managed = Self::default();
        for (index, entry) in entries.as_array().into_iter().flatten().enumerate() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".into()),
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() {
                return Err("apiVersion must not be empty".into());
            }
            match text("fieldsType") {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
                other => {
                    return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}"));
                }
            }
            let set = Set::from_fields(entry.get("fieldsV1").unwrap_or(&Value::Null)).map_err(|why| {
                format!("error decoding versioned set from {entry}: error decoding set: {why}")
            })?;
            let mut manager = Manager::new("", operation, api_version, text("subresource"));
            text("manager").clone_into(&mut manager.name);
            if !text("time").is_empty() {
                managed.times.insert(manager.clone(), text("time").into());
            }
            managed.fields.insert(manager, Owned { set, api_version: api_version.into() });
        }
        Ok(managed)
    }

    /// Writes `metadata.managedFields`: appliers first, then by time. Null if no one owns anything.
    pub fn write(&self) -> Value {
        if self.fields.is_empty() {
            return Value::Null;
        }
        let mut order: Vec<(&Manager, &Owned)> = self.fields.iter().collect();
        order.sort_by_key(|(manager, owned)| {
            let time = self.times.get(*manager).map_or("", String::as_str);
            (manager.operation, time, &manager.name, &owned.api_version, &manager.subresource)
        });
        let entries = order.into_iter().map(|(manager, owned)| {
            let mut entry = json!({
                "manager": manager.name, "operation": manager.operation.text(),
                "apiVersion": owned.api_version, "fieldsType": "FieldsV1", "fieldsV1": owned.set.to_fields(),
            });
            if let Some(time) = self.times.get(manager) {
                entry["time"] = time.as_str().into();
            }
            if !manager.subresource.is_empty() {
                entry["subresource"] = manager.subresource.as_str().into();
            }
            entry
        });
        Value::Array(entries.collect())
    }
}

/// Whether a client asks for a new start: an empty list, or one empty entry.
pub fn is_reset(entries: &Value) -> bool {
    match entries.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

/// Whether two lists of entries differ in nothing but times.
pub fn same_but_times(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_array(), new.as_array()) else { return false };
    let rest =
        |entry: &Value| entry.as_object().map(|entry| entry.len() - usize::from(entry.contains_key("time")));
    old.len() == new.len()
        && old.iter().zip(new).all(|(old, new)| {
            rest(old) == rest(new)
                && old
                    .as_object()
                    .into_iter()
                    .flatten()
                    .all(|(key, value)| key == "time" || new.get(key) == Some(value))
        })
}
