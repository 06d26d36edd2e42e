//! The definitions of built-in types: generated structure joined with the overlay.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use super::overlay::{self, Facts, Overlay};
use super::{Field, Fields, Node, Presence, Schema, Shape};

static DEFINITIONS: LazyLock<HashMap<String, Schema>> = LazyLock::new(|| {
    let raw: Map<String, Value> =
        serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/schemas.json")))
            .expect("the build wrote this JSON");
    let mut loader = Loader { raw: &raw, overlay: overlay::load(), done: HashMap::new() };
    for name in raw.keys() {
        loader.definition(name);
    }
    loader.done
});

static DESCRIBED: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let packed = include_bytes!(concat!(env!("OUT_DIR"), "/described.json.gz"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("the build packed this text");
    serde_json::from_str(&text).expect("the build wrote this JSON")
});

/// The definition of that name, such as `io.k8s.api.core.v1.Pod`.
pub fn definition(name: &str) -> Option<&'static Schema> {
    DEFINITIONS.get(name)
}

/// Every generated definition as JSON schema with descriptions. Decoded when first asked for.
pub fn described() -> &'static Map<String, Value> {
    &DESCRIBED
}

struct Loader<'a> {
    raw: &'a Map<String, Value>,
    overlay: Overlay,
    done: HashMap<String, Schema>,
}

impl Loader<'_> {
    fn definition(&mut self, name: &str) -> Schema {
        if let Some(done) = self.done.get(name) {
            return done.clone();
        }
        let shape = match name.rsplit('.').next().unwrap_or_default() {
            "Quantity" => Shape::Quantity,
            "IntOrString" => Shape::IntOrString,
            "FieldsV1" | "RawExtension" => Shape::Any,
            "MicroTime" => Shape::String { format: "date-time-micro".into(), allowed: Vec::new() },
            _ => self.raw.get(name).map(|raw| self.shape(raw, name, &Facts::default())).unwrap_or_default(),
        };
        let node = Arc::new(Node { definition: name.into(), shape, nullable: false });
        self.done.insert(name.into(), node.clone());
        node
    }

    fn node(&mut self, raw: &Value, facts: &Facts) -> Schema {
        if let Some(target) = raw.get("$ref").and_then(Value::as_str) {
            return self.definition(target.trim_start_matches("#/$defs/"));
        }
        Arc::new(Node { definition: String::new(), shape: self.shape(raw, "", facts), nullable: false })
    }

    fn shape(&mut self, raw: &Value, definition: &str, facts: &Facts) -> Shape {
        let format = raw["format"].as_str().unwrap_or_default();
        match raw["type"].as_str().unwrap_or_default() {
            "object" => match (raw.get("properties"), raw.get("additionalProperties")) {
                (Some(Value::Object(properties)), _) => {
                    Shape::Object(self.fields(properties, &raw["required"], definition))
                }
                (_, Some(values)) => Shape::Map(self.node(values, &Facts::default())),
                _ => Shape::Any,
            },
            "array" => {
                let items = self.node(&raw["items"], &Facts::default());
                Shape::List { items, kind: facts.list.clone() }
            }
            "string" => Shape::String { format: format.into(), allowed: facts.allowed.clone() },
            "integer" => Shape::Integer { bits: if format == "int32" { 32 } else { 64 } },
            "number" => Shape::Number,
            "boolean" => Shape::Boolean,
            _ => Shape::Any,
        }
    }

    fn fields(&mut self, properties: &Map<String, Value>, required: &Value, definition: &str) -> Fields {
        let facts_of = self.overlay.get(definition).cloned().unwrap_or_default();
        let required: Vec<&str> =
            required.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let known: BTreeMap<String, Field> = properties
            .iter()
            .map(|(name, raw)| {
                let facts = facts_of.get(name).cloned().unwrap_or_default();
                // The generated structure wrongly requires `metadata` and some names.
                let wrong = name == "metadata" || facts.presence == Presence::OmitZero;
                let required = required.contains(&name.as_str()) && !wrong && name != "eventTime";
                let field = Field {
                    schema: self.node(raw, &facts),
                    required,
                    default: facts.default,
                    presence: facts.presence,
                    merge: facts.merge,
                    number: facts.number,
                };
                (name.clone(), field)
            })
            .collect();
        let atomic = matches!(
            definition.rsplit('.').next().unwrap_or_default(),
            "LabelSelector"
                | "NodeSelector"
                | "NodeSelectorTerm"
                | "LocalObjectReference"
                | "ObjectReference"
                | "SecretKeySelector"
                | "ConfigMapKeySelector"
                | "FileKeySelector"
                | "ObjectFieldSelector"
                | "ResourceFieldSelector"
                | "TypedLocalObjectReference"
                | "SecretReference"
                | "RoleRef"
                | "Subject"
                | "EndpointAddress"
                | "EndpointPort"
                | "TopologySelectorTerm"
                | "ScopeSelector"
                | "OwnerReference"
                | "CrossVersionObjectReference"
                | "ServiceBackendPort"
        );
        Fields { known, preserve_unknown: false, atomic }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_and_a_template_share_the_spec() {
        let field = |definition_name: &str, name: &str| match &definition(definition_name).unwrap().shape {
            Shape::Object(fields) => fields.known[name].clone(),
            _ => panic!("an object"),
        };
        let pod = field("io.k8s.api.core.v1.Pod", "spec");
        let template = field("io.k8s.api.core.v1.PodTemplateSpec", "spec");
        assert!(Arc::ptr_eq(&pod.schema, &template.schema));
        assert!(!field("io.k8s.api.core.v1.Pod", "metadata").required);
        assert!(!field("io.k8s.api.core.v1.LocalObjectReference", "name").required);
        let containers = field("io.k8s.api.core.v1.PodSpec", "containers");
        assert_eq!((containers.merge.key.as_str(), containers.number), ("name", 2));
    }
}
