//! Schemas of custom kinds: structural OpenAPI v3 JSON, as CustomResourceDefinitions carry it.

use serde_json::Value;

use super::{Field, Fields, ListKind, Merge, Node, Presence, Schema, Shape, definition};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of whole objects: `apiVersion`, `kind` and `metadata` are what they are everywhere.
pub fn from_json(raw: &Value) -> Schema {
    let mut node = node(raw);
    if let Shape::Object(fields) = &mut node.shape {
        let text = Shape::String { format: String::new(), allowed: Vec::new() };
        for name in ["apiVersion", "kind"] {
            fields
                .known
                .insert(name.into(), field(Schema::new(Node { shape: text.clone(), ..Node::default() })));
        }
        let mut metadata = field(definition(META).cloned().unwrap_or_default());
        metadata.presence = Presence::Always;
        fields.known.insert("metadata".into(), metadata);
    }
    Schema::new(node)
}

fn field(schema: Schema) -> Field {
    let presence = Presence::AsGiven;
    Field { schema, required: false, default: None, presence, merge: Merge::default(), number: Vec::new() }
}

fn node(raw: &Value) -> Node {
    let nullable = raw["nullable"] == true;
    let atomic = raw["x-kubernetes-map-type"] == "atomic";
    Node { definition: String::new(), shape: shape(raw), nullable, atomic }
}

fn shape(raw: &Value) -> Shape {
    if raw["x-kubernetes-int-or-string"] == true {
        return Shape::IntOrString;
    }
    let format = raw["format"].as_str().unwrap_or_default();
    let preserve_unknown = raw["x-kubernetes-preserve-unknown-fields"] == true;
    match raw["type"].as_str().unwrap_or_default() {
        "object" if raw["additionalProperties"].is_object() => {
            Shape::Map(Schema::new(node(&raw["additionalProperties"])))
        }
        "object" if preserve_unknown && raw["properties"].is_null() => Shape::Any,
        "object" => {
            let required: Vec<&str> = texts(&raw["required"]).collect();
            let properties = raw["properties"].as_object();
            let known = properties.into_iter().flatten().map(|(name, raw)| {
                let required = required.contains(&name.as_str());
                let default = raw.get("default").cloned();
                let merge = merge(raw);
                (name.clone(), Field { required, default, merge, ..field(Schema::new(node(raw))) })
            });
            Shape::Object(Fields { known: known.collect(), preserve_unknown, ..Fields::default() })
        }
        "array" => {
            let kind = match raw["x-kubernetes-list-type"].as_str() {
                Some("set") => ListKind::Set,
                Some("map") => {
                    ListKind::Map(texts(&raw["x-kubernetes-list-map-keys"]).map(str::to_owned).collect())
                }
                _ => ListKind::Atomic,
            };
            Shape::List { items: Schema::new(node(&raw["items"])), kind }
        }
        "string" => {
            let allowed = texts(&raw["enum"]).map(str::to_owned).collect();
            Shape::String { format: format.into(), allowed }
        }
        "integer" => Shape::Integer { bits: if format == "int32" { 32 } else { 64 } },
        "number" => Shape::Number,
        "boolean" => Shape::Boolean,
        _ => Shape::Any,
    }
}

fn merge(raw: &Value) -> Merge {
    let strategy = raw["x-kubernetes-patch-strategy"].as_str().unwrap_or_default();
    Merge {
        merge: strategy.split(',').any(|word| word == "merge"),
        retain_keys: strategy.split(',').any(|word| word == "retainKeys"),
        key: raw["x-kubernetes-patch-merge-key"].as_str().unwrap_or_default().to_owned(),
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
