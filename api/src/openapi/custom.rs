//! How the schema of a custom kind is published: as it was given, with what every object has; in version 2 without what
//! that cannot say, as upstream's `apiextensions-apiserver/pkg/controller/openapi` does it.

use serde_json::{Map, Value, json};

use super::schemas::Dialect;

/// What `metadata` is.
pub const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should \
                           convert recognized schemas to the latest internal value, and may reject unrecognized values. \
                           More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this \
                    from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
                    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
                        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The definition of a custom kind.
pub fn publish(raw: &Value, dialect: Dialect) -> Value {
    if dialect == Dialect::V2 && raw["x-kubernetes-preserve-unknown-fields"] == true {
        // A client that saw some fields would take the others for mistakes.
        return json!({"type": "object"});
    }
    let mut value = raw.clone();
    if dialect == Dialect::V2 {
        narrow(&mut value);
    }
    whole(&mut value, dialect);
    embedded(&mut value, dialect);
    value
}

/// Adds what every object has.
fn whole(schema: &mut Value, dialect: Dialect) {
    let mut metadata = dialect.reference(META);
    metadata["description"] = METADATA.into();
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    schema["properties"]["apiVersion"] = json!({"type": "string", "description": API_VERSION});
    schema["properties"]["kind"] = json!({"type": "string", "description": KIND});
    schema["properties"]["metadata"] = metadata;
}

fn embedded(schema: &mut Value, dialect: Dialect) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| embedded(property, dialect));
    }
    for word in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(word) {
            embedded(inner, dialect);
        }
    }
    let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true && dialect == Dialect::V2;
    if schema["x-kubernetes-embedded-resource"] == true && !keeps {
        whole(schema, dialect);
        let mut required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
        for name in ["kind", "apiVersion"] {
            if !required.contains(&name.into()) {
                required.push(name.into());
            }
        }
        schema["required"] = required.into();
    }
}

/// Takes out what version 2, or kubectl's reading of it, cannot bear.
fn narrow(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    for word in ["allOf", "anyOf", "oneOf", "not"] {
        members.remove(word);
    }
    let is = |members: &Map<String, Value>, word: &str| members.get(word) == Some(&Value::Bool(true));
    let (nullable, keeps) = (is(members, "nullable"), is(members, "x-kubernetes-preserve-unknown-fields"));
    if nullable || keeps {
        members.remove("items");
        members.remove("properties");
    }
    members.remove("nullable");
    let listless = members.get("type") == Some(&json!("array")) && !members.contains_key("items");
    if nullable || listless || (keeps && members.get("type") == Some(&json!("object"))) {
        members.remove("type");
    }
    let may_be_null: Vec<Value> = members
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, property)| property["nullable"] == true)
        .map(|(name, _)| name.as_str().into())
        .collect();
    if let Some(required) = members.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !may_be_null.contains(name));
    }
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(narrow);
    }
    for word in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(word) {
            narrow(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_two_leaves_out_what_it_cannot_say() {
        let raw = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "string", "nullable": true},
            "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"c": {"type": "string"}}},
            "d": {"type": "string", "anyOf": [{"minLength": 1}], "description": "D."},
        }});
        let two = publish(&raw, Dialect::V2);
        assert_eq!(two["required"], json!(["b"]));
        assert_eq!(two["properties"]["a"], json!({}));
        assert_eq!(two["properties"]["b"], json!({"x-kubernetes-preserve-unknown-fields": true}));
        assert_eq!(two["properties"]["d"], json!({"type": "string", "description": "D."}));
        let three = publish(&raw, Dialect::V3);
        assert_eq!(three["properties"]["d"], raw["properties"]["d"]);
        assert!(three["properties"]["metadata"]["allOf"].is_array());
    }
}
