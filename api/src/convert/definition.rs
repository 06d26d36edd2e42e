//! CustomResourceDefinitions as `v1beta1` had them, which is how Kubernetes still stores them.

use serde_json::{Map, Value, json};

use crate::Object;

/// What stood once for all versions: its name then, and where each version has it.
const SHARED: [(&str, &str); 3] = [
    ("validation", "schema"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
];

/// From `v1beta1` to `v1`.
pub fn upgrade(object: &mut Object) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    let first = spec.remove("version").and_then(|version| version.as_str().map(str::to_owned));
    if spec.get("versions").and_then(Value::as_array).is_none_or(Vec::is_empty)
        && let Some(name) = first
    {
        spec.insert("versions".into(), json!([{"name": name, "served": true, "storage": true}]));
    }
    let shared: Vec<(&str, Value)> =
        SHARED.iter().filter_map(|(old, new)| Some((*new, spec.remove(*old)?))).collect();
    for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        for (name, value) in &shared {
            if version.get(*name).is_none_or(Value::is_null) {
                version[*name] = value.clone();
            }
        }
        for column in
            version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut).into_iter().flatten()
        {
            rename(column, "JSONPath", "jsonPath");
        }
    }
    if spec.get("preserveUnknownFields") == Some(&Value::Bool(false)) {
        spec.remove("preserveUnknownFields");
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) {
        let webhook: Map<String, Value> = [
            ("webhookClientConfig", "clientConfig"),
            ("conversionReviewVersions", "conversionReviewVersions"),
        ]
        .into_iter()
        .filter_map(|(old, new)| Some((new.to_owned(), conversion.remove(old)?)))
        .collect();
        if webhook.contains_key("clientConfig") {
            conversion.insert("webhook".into(), webhook.into());
        }
    }
    object["apiVersion"] = "apiextensions.k8s.io/v1".into();
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(map) = object.as_object_mut()
        && let Some(value) = map.remove(from)
    {
        map.insert(to.into(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_for_all_versions_is_said_of_each() {
        let mut old = json!({"apiVersion": "apiextensions.k8s.io/v1beta1", "spec": {
            "version": "v1", "preserveUnknownFields": false, "validation": {"openAPIV3Schema": {"type": "object"}},
            "additionalPrinterColumns": [{"name": "A", "JSONPath": ".spec.a"}],
            "versions": [{"name": "v1", "served": true}, {"name": "v2", "schema": {"openAPIV3Schema": {}}}],
            "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "u"}, "conversionReviewVersions": ["v1"]},
        }});
        upgrade(&mut old);
        let columns = json!([{"name": "A", "jsonPath": ".spec.a"}]);
        let expected = json!({"apiVersion": "apiextensions.k8s.io/v1", "spec": {
            "versions": [
                {"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"type": "object"}}, "additionalPrinterColumns": columns},
                {"name": "v2", "schema": {"openAPIV3Schema": {}}, "additionalPrinterColumns": columns},
            ],
            "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "u"}, "conversionReviewVersions": ["v1"]}},
        }});
        assert_eq!(old, expected);
    }
}
