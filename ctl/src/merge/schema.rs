//! What the server's OpenAPI v3 says about fields: how they merge, and (for `explain`) what they are.

use std::sync::Arc;

use serde_json::Value;

/// A place in a group version's OpenAPI document.
#[derive(Debug, Clone)]
pub struct Schema {
    document: Arc<Value>,
    node: Value,
}

/// A field, as merging sees it.
#[derive(Debug, Clone, Default)]
pub struct Field {
    /// The schema of its value, or of its items if it is a list.
    pub schema: Option<Schema>,
    /// Whether a list merges instead of being replaced.
    pub merge: bool,
    /// The key that items of a merging list are known by; none for plain values.
    pub merge_key: Option<String>,
    /// Whether keys that the manifest does not name are dropped.
    pub retain_keys: bool,
}

impl Schema {
    /// The schema of a kind in its group version's document.
    pub fn of_kind(document: Arc<Value>, group: &str, version: &str, kind: &str) -> Option<Self> {
        let schemas = document["components"]["schemas"].as_object()?;
        let node = schemas
            .values()
            .find(|schema| {
                let kinds = schema["x-kubernetes-group-version-kind"].as_array();
                kinds.is_some_and(|kinds| {
                    kinds.iter().any(|known| {
                        known["group"] == group && known["version"] == version && known["kind"] == kind
                    })
                })
            })?
            .clone();
        Some(Schema { document, node })
    }

    /// Follows references: `$ref`, alone or inside an `allOf` of one.
    fn resolve(&self, node: &Value) -> Value {
        let reference = node["$ref"].as_str().or_else(|| node["allOf"][0]["$ref"].as_str());
        let target = reference
            .and_then(|reference| reference.strip_prefix("#/components/schemas/"))
            .map(|name| &self.document["components"]["schemas"][name]);
        target.unwrap_or(node).clone()
    }

    fn at(&self, node: &Value) -> Schema {
        Schema { document: Arc::clone(&self.document), node: self.resolve(node) }
    }

    /// The declaration of a property, before references are followed.
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.node["properties"].get(name)
    }

    /// The properties' names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.node["properties"]
            .as_object()
            .map(|map| map.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// The schema's own node.
    pub fn node(&self) -> &Value {
        &self.node
    }

    /// The schema of a property's value; of the items of a list, and of the values of a mapping.
    pub fn inside(&self, declared: &Value) -> Schema {
        let own = self.at(declared);
        for key in ["items", "additionalProperties"] {
            if own.node[key].is_object() {
                return own.inside(&own.node[key]);
            }
        }
        own
    }

    /// What is known about a field.
    pub fn field(&self, name: &str) -> Option<Field> {
        let Some(declared) = self.property(name) else {
            // A mapping's values (labels, say) are all of one schema.
            let values = &self.node["additionalProperties"];
            return values.is_object().then(|| Field { schema: Some(self.at(values)), ..Field::default() });
        };
        let strategies: Vec<&str> = declared["x-kubernetes-patch-strategy"]
            .as_str()
            .map(|text| text.split(',').collect())
            .unwrap_or_default();
        let own = self.at(declared);
        let schema = if own.node["items"].is_object() { own.at(&own.node["items"]) } else { own };
        Some(Field {
            schema: Some(schema),
            merge: strategies.contains(&"merge"),
            merge_key: declared["x-kubernetes-patch-merge-key"].as_str().map(str::to_owned),
            retain_keys: strategies.contains(&"retainKeys"),
        })
    }

    /// A readable type: `[]Container`, `map[string]string`, `integer`.
    pub fn type_name(&self, declared: &Value) -> String {
        if let Some(reference) = declared["$ref"].as_str().or_else(|| declared["allOf"][0]["$ref"].as_str()) {
            let target = self.resolve(declared);
            return match target["type"].as_str() {
                // Quantity and IntOrString are strings or numbers, and known by their names.
                Some("object") | None => reference.rsplit('.').next().unwrap_or(reference).to_owned(),
                Some(plain) => plain.to_owned(),
            };
        }
        match declared["type"].as_str() {
            Some("array") => format!("[]{}", self.type_name(&declared["items"])),
            Some("object") if declared["additionalProperties"].is_object() => {
                format!("map[string]{}", self.type_name(&declared["additionalProperties"]))
            }
            Some("object") => "Object".to_owned(),
            Some(plain) => plain.to_owned(),
            None => "any".to_owned(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A small Pod-like kind with each way of merging.
    pub(crate) fn pod() -> Schema {
        let document = json!({"components": {"schemas": {
            "t.Pod": {"x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}], "properties": {
                "metadata": {"allOf": [{"$ref": "#/components/schemas/t.Meta"}], "default": {}},
                "spec": {"$ref": "#/components/schemas/t.Spec"}}},
            "t.Meta": {"properties": {
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "finalizers": {"type": "array", "items": {"type": "string"}, "x-kubernetes-patch-strategy": "merge"}}},
            "t.Spec": {"properties": {
                "strategy": {"allOf": [{"$ref": "#/components/schemas/t.Strategy"}], "x-kubernetes-patch-strategy": "retainKeys"},
                "containers": {"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/t.Container"}]},
                    "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"}}},
            "t.Strategy": {"properties": {"type": {"type": "string"}}},
            "t.Container": {"type": "object", "properties": {"args": {"type": "array", "items": {"type": "string"}}}}
        }}});
        Schema::of_kind(Arc::new(document), "", "v1", "Pod").expect("it is there")
    }

    #[test]
    fn types_are_named_shortly() {
        let pod = pod();
        let spec = pod.inside(pod.property("spec").expect("declared"));
        let meta = pod.inside(pod.property("metadata").expect("declared"));
        assert_eq!(spec.type_name(spec.property("containers").expect("declared")), "[]Container");
        assert_eq!(meta.type_name(meta.property("labels").expect("declared")), "map[string]string");
        assert_eq!(spec.names(), ["containers", "strategy"]);
    }
}
