//! The definitions of built-in types: generated structure joined with the overlay.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::overlay::{self, Facts, Overlay};
use super::{Field, Fields, ListKind, Node, Presence, Schema, Shape};

static DEFINITIONS: LazyLock<HashMap<String, Schema>> = LazyLock::new(|| {
    let raw: Map<String, Value> =
        serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/schemas.json")))
            .expect("the build wrote this JSON");
    let overlay = overlay::load();
    let mut loader = Loader { raw: &raw, overlay: &overlay, done: HashMap::new(), begun: HashSet::new() };
    for name in raw.keys().chain(overlay.keys()) {
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

/// The name of a kind's definition: `io.k8s.api.apps.v1.Deployment`.
pub fn definition_of(group: &str, version: &str, kind: &str) -> String {
    match group {
        "" => format!("io.k8s.api.core.{version}.{kind}"),
        "meta.k8s.io" => format!("io.k8s.apimachinery.pkg.apis.meta.{version}.{kind}"),
        "apiextensions.k8s.io" => {
            format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}")
        }
        "apiregistration.k8s.io" => {
            format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}.{kind}")
        }
        group => format!("io.k8s.api.{}.{version}.{kind}", group.split('.').next().unwrap_or(group)),
    }
}

/// The definition of a kind in `apps/v1` or `v1`; what is in every API (`Status`) is found in each.
pub fn definition_of_kind(api_version: &str, kind: &str) -> Option<&'static Schema> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    definition(&definition_of(group, version, kind))
        .or_else(|| definition(&definition_of("meta.k8s.io", "v1", kind)))
}

/// The names of all definitions, in no order.
pub fn names() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.keys().map(String::as_str)
}

/// Every generated definition as JSON schema with descriptions. Decoded when first asked for.
pub fn described() -> &'static Map<String, Value> {
    &DESCRIBED
}

struct Loader<'a> {
    raw: &'a Map<String, Value>,
    overlay: &'a Overlay,
    done: HashMap<String, Schema>,
    /// Those whose fields are being read: a definition that reaches itself is named there.
    begun: HashSet<String>,
}

impl Loader<'_> {
    fn definition(&mut self, name: &str) -> Schema {
        if let Some(done) = self.done.get(name) {
            return done.clone();
        }
        if !self.begun.insert(name.to_owned()) {
            return Schema::named(name);
        }
        let shape = match (name.rsplit('.').next().unwrap_or_default(), self.raw.get(name)) {
            ("Quantity", _) => Shape::Quantity,
            ("IntOrString", _) => Shape::IntOrString,
            ("FieldsV1" | "RawExtension" | "JSON", _) => Shape::Any,
            // A structure without fields, which the generated schema cannot tell from anything.
            ("CustomResourceSubresourceStatus", _) => Shape::Object(Fields::default()),
            ("MicroTime", _) => text("date-time-micro", &[]),
            ("Time", _) => text("date-time", &[]),
            (_, Some(raw)) if raw.get("oneOf").is_some() => self.either(name),
            (_, Some(raw)) => self.shape(raw, name, &Facts::default()),
            (_, None) => self.listed(name),
        };
        let atomic = self.overlay.get(name).is_some_and(|facts| facts.atomic);
        let node = Schema::new(Node { definition: name.into(), shape, atomic, nullable: false });
        self.done.insert(name.into(), node.clone());
        node
    }

    fn node(&mut self, raw: &Value, facts: &Facts) -> Schema {
        if let Some(target) = raw.get("$ref").and_then(Value::as_str) {
            let shared = self.definition(target.trim_start_matches("#/$defs/"));
            return match facts.atomic {
                Some(atomic) if !shared.is_named() && atomic != shared.atomic => {
                    Schema::new(Node { atomic, ..(*shared).clone() })
                }
                _ => shared,
            };
        }
        Schema::new(Node {
            shape: self.shape(raw, "", facts),
            atomic: facts.atomic == Some(true),
            ..Node::default()
        })
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
            "string" => text(format, &facts.allowed),
            "integer" => Shape::Integer { bits: if format == "int32" { 32 } else { 64 } },
            "number" => Shape::Number,
            "boolean" => Shape::Boolean,
            _ => Shape::Any,
        }
    }

    fn fields(&mut self, properties: &Map<String, Value>, required: &Value, definition: &str) -> Fields {
        let overlay = self.overlay;
        let facts_of = overlay.get(definition);
        let required: Vec<&str> =
            required.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let known: BTreeMap<String, Field> = properties
            .iter()
            .map(|(name, raw)| {
                let facts = facts_of.and_then(|facts| facts.fields.get(name)).cloned().unwrap_or_default();
                // The generated structure wrongly requires `metadata` and some names.
                let wrong = name == "metadata" || facts.presence == Presence::OmitZero;
                let required = required.contains(&name.as_str()) && !wrong && name != "eventTime";
                let schema = self.node(raw, &facts);
                (name.clone(), field(schema, required, facts))
            })
            .collect();
        Fields { known, ..Fields::default() }
    }

    /// A definition that only the overlay has, such as the options of `exec`.
    fn listed(&mut self, name: &str) -> Shape {
        let overlay = self.overlay;
        let Some(facts) = overlay.get(name) else { return Shape::Any };
        let fields = facts.fields.iter().map(|(name, facts)| {
            let schema = self.sort(&facts.sort);
            (name.clone(), field(schema, false, facts.clone()))
        });
        Shape::Object(Fields { known: fields.collect(), ..Fields::default() })
    }

    /// A definition that is one of several: the overlay has their sorts and numbers.
    fn either(&mut self, name: &str) -> Shape {
        let overlay = self.overlay;
        let facts = overlay.get(name).into_iter().flat_map(|facts| facts.fields.values());
        let numbered = facts.filter_map(|facts| Some((*facts.number.first()?, self.sort(&facts.sort))));
        let mut alternatives: Vec<_> = numbered.collect();
        alternatives.sort_by_key(|(number, _)| *number);
        Shape::Either(alternatives)
    }

    fn sort(&mut self, sort: &str) -> Schema {
        let shape = match sort {
            "string" => text("", &[]),
            "bytes" => text("byte", &[]),
            "int32" => Shape::Integer { bits: 32 },
            "int64" => Shape::Integer { bits: 64 },
            "boolean" => Shape::Boolean,
            _ => {
                if let Some(items) = sort.strip_prefix("[]") {
                    Shape::List { items: self.sort(items), kind: ListKind::Atomic }
                } else if let Some(values) = sort.strip_prefix("{}") {
                    Shape::Map(self.sort(values))
                } else {
                    return self.definition(sort);
                }
            }
        };
        Schema::new(Node { shape, ..Node::default() })
    }
}

fn text(format: &str, allowed: &[String]) -> Shape {
    Shape::String { format: format.into(), allowed: allowed.to_vec() }
}

fn field(schema: Schema, required: bool, facts: Facts) -> Field {
    Field {
        schema,
        required,
        default: facts.default,
        presence: facts.presence,
        merge: facts.merge,
        number: facts.number,
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
        assert!(pod.schema.same(&template.schema));
        assert!(!field("io.k8s.api.core.v1.Pod", "metadata").required);
        assert!(!field("io.k8s.api.core.v1.LocalObjectReference", "name").required);
        let containers = field("io.k8s.api.core.v1.PodSpec", "containers");
        assert_eq!((containers.merge.key.as_str(), containers.number.as_slice()), ("name", &[2][..]));
    }
    #[test]
    fn what_only_the_overlay_has_says_of_what_sort_each_field_is() {
        let raw: Map<String, Value> =
            serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/schemas.json"))).unwrap();
        for (name, facts) in overlay::load().iter().filter(|(name, _)| !raw.contains_key(*name)) {
            for (field, facts) in &facts.fields {
                assert!(!facts.sort.is_empty(), "{name}.{field}");
            }
        }
    }
}
