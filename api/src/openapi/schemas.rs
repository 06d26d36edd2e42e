//! The definitions of a document: those that its kinds need, directly or not.

use serde_json::{Map, Value, json};

use super::{custom, definition_name, gvk};
use crate::kind::Kind;
use crate::schema::{self, Field, ListKind, Node, Schema, Shape};

/// Which OpenAPI is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Dialect {
    /// A reference to a definition, as it stands inside of others.
    pub fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            // Siblings of a reference count for nothing in version 3.
            Self::V3 => json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]}),
        }
    }

    /// A reference that stands alone.
    pub fn plain(self, name: &str) -> Value {
        match self {
            Self::V2 => self.reference(name),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// Definitions by name, gathered until nothing is missing.
pub struct Collection {
    dialect: Dialect,
    pub done: Map<String, Value>,
}

impl Collection {
    /// None yet.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, done: Map::new() }
    }

    /// Adds a kind, its list, and what they refer to.
    pub fn add_kind(&mut self, kind: &Kind, version: &str) {
        let Some(found) = kind.version(version) else { return };
        let name = definition_name(kind, version);
        if let Some(validator) = &found.validator {
            self.add(custom::META);
            self.done.insert(name.clone(), custom::publish(validator.schema(), self.dialect));
        } else if found.schema.definition.is_empty() {
            let value = self.node(&found.schema, &Value::Null);
            self.done.insert(name.clone(), value);
        } else {
            self.add(&name);
        }
        if let Some(definition) = self.done.get_mut(&name) {
            definition["x-kubernetes-group-version-kind"] = json!([gvk(kind, version, &kind.kind)]);
        }
        let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
        self.add(meta);
        let with_default = |name: &str| {
            let mut reference = self.dialect.reference(name);
            if self.dialect == Dialect::V3 {
                reference["default"] = json!({});
            }
            reference
        };
        let list = json!({
            "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": with_default(meta),
                "items": {"type": "array", "items": with_default(&name)},
            },
            "x-kubernetes-group-version-kind": [gvk(kind, version, &kind.list_kind)],
        });
        self.done.insert(format!("{name}List"), list);
    }

    /// Adds a built-in definition and what it refers to.
    fn add(&mut self, name: &str) {
        if self.done.contains_key(name) {
            return;
        }
        let Some(schema) = schema::definition(name) else { return };
        // Marks it as begun, so that a definition that reaches itself ends.
        self.done.insert(name.into(), Value::Null);
        let described = schema::described().get(name).unwrap_or(&Value::Null);
        let mut value = self.node(schema, described);
        if let Some(text) = described.get("description") {
            value["description"] = text.clone();
        }
        self.done.insert(name.into(), value);
    }

    /// A reference to a definition, or the schema itself where it has no name.
    fn reference(&mut self, schema: &Schema, described: &Value) -> Value {
        if schema.definition.is_empty() {
            return self.node(schema, described);
        }
        self.add(&schema.definition);
        self.dialect.reference(&schema.definition)
    }

    fn node(&mut self, node: &Node, described: &Value) -> Value {
        let mut value = match &node.shape {
            Shape::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            // Upstream publishes what it reads by hand without a structure.
            Shape::Either(_) => json!({}),
            Shape::Object(fields) => {
                let mut properties = Map::new();
                for (name, field) in &fields.known {
                    let described = described.get("properties").and_then(|known| known.get(name));
                    properties.insert(name.clone(), self.field(field, described.unwrap_or(&Value::Null)));
                }
                let required: Vec<&String> =
                    fields.known.iter().filter(|(_, field)| field.required).map(|(name, _)| name).collect();
                let mut value = json!({"type": "object", "properties": properties});
                if !required.is_empty() {
                    value["required"] = json!(required);
                }
                if node.atomic {
                    value["x-kubernetes-map-type"] = "atomic".into();
                }
                if fields.preserve_unknown {
                    value["x-kubernetes-preserve-unknown-fields"] = true.into();
                }
                value
            }
            Shape::Map(values) => {
                let values = self.reference(values, &Value::Null);
                let mut value = json!({"type": "object", "additionalProperties": values});
                if node.atomic {
                    value["x-kubernetes-map-type"] = "atomic".into();
                }
                value
            }
            Shape::List { items, kind } => {
                let items = self.reference(items, &Value::Null);
                let mut value = json!({"type": "array", "items": items});
                match kind {
                    ListKind::Atomic => value["x-kubernetes-list-type"] = "atomic".into(),
                    ListKind::Set => value["x-kubernetes-list-type"] = "set".into(),
                    ListKind::Map(keys) => {
                        value["x-kubernetes-list-type"] = "map".into();
                        value["x-kubernetes-list-map-keys"] = json!(keys);
                    }
                }
                value
            }
            Shape::String { format, allowed } => {
                let mut value = json!({"type": "string"});
                if !format.is_empty() {
                    value["format"] = format.trim_end_matches("-micro").into();
                }
                if !allowed.is_empty() {
                    value["enum"] = json!(allowed);
                }
                value
            }
            Shape::Integer { bits } => json!({"type": "integer", "format": format!("int{bits}")}),
            Shape::Number => json!({"type": "number", "format": "double"}),
            Shape::Boolean => json!({"type": "boolean"}),
            Shape::IntOrString if self.dialect == Dialect::V2 => {
                json!({"type": "string", "format": "int-or-string"})
            }
            Shape::Quantity if self.dialect == Dialect::V2 => json!({"type": "string"}),
            Shape::IntOrString => {
                json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
            }
            Shape::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        };
        if node.nullable && self.dialect == Dialect::V3 {
            value["nullable"] = true.into();
        }
        value
    }

    fn field(&mut self, field: &Field, described: &Value) -> Value {
        let mut value = self.reference(&field.schema, described);
        if let Some(text) = described.get("description") {
            value["description"] = text.clone();
        }
        if let Some(default) = &field.default {
            value["default"] = default.clone();
        }
        let strategies = [(field.merge.merge, "merge"), (field.merge.retain_keys, "retainKeys")];
        let named: Vec<&str> = strategies.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        if !named.is_empty() {
            value["x-kubernetes-patch-strategy"] = named.join(",").into();
        }
        if !field.merge.key.is_empty() {
            value["x-kubernetes-patch-merge-key"] = field.merge.key.as_str().into();
        }
        value
    }
}
