//! ConfigMaps and Secrets.

use serde_json::Value;

use super::{Strategy, text};
use crate::status::{FieldError, Problem};
use crate::{Object, name};

/// The most that the values may hold together, in bytes.
const MOST: usize = 1024 * 1024;

/// The strategy of ConfigMaps.
pub struct ConfigMap;

/// The strategy of Secrets.
pub struct Secret;

impl Strategy for ConfigMap {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = keys(new, &["data", "binaryData"]);
        for key in new["binaryData"].as_object().into_iter().flatten().map(|(key, _)| key) {
            if new["data"].get(key).is_some() {
                let why = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), why));
            }
        }
        errors.extend(frozen(new, old, &["data", "binaryData"]));
        errors
    }
}

impl Strategy for Secret {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = keys(new, &["data"]);
        let needed: &[&str] = match text(new, "type") {
            "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
            "kubernetes.io/dockercfg" => &[".dockercfg"],
            "kubernetes.io/tls" => &["tls.crt", "tls.key"],
            "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
            _ => &[],
        };
        for key in needed.iter().filter(|key| new["data"].get(**key).is_none()) {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
        if let Some(old) = old
            && old["type"] != new["type"]
        {
            errors.push(FieldError::invalid("type", new["type"].clone(), super::IMMUTABLE));
        }
        errors.extend(frozen(new, old, &["data"]));
        errors
    }
}

fn keys(object: &Object, fields: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut total = 0;
    for field in fields {
        for (key, value) in object[*field].as_object().into_iter().flatten() {
            let path = format!("{field}[{key}]");
            errors.extend(
                name::data_key(key)
                    .into_iter()
                    .map(|why| FieldError::invalid(path.clone(), key.as_str(), why)),
            );
            let encoded = value.as_str().unwrap_or_default();
            // Bytes are written a third longer than they are; the text of a ConfigMap is written as it is.
            total += match (*field, fields.len()) {
                ("data", 2) => encoded.len(),
                _ => encoded.trim_end_matches('=').len() * 3 / 4,
            };
        }
    }
    if total > MOST {
        let detail = format!("may not be more than {MOST} bytes");
        let path = if fields.len() == 2 { "[]" } else { "data" };
        errors.push(FieldError::new(Problem::TooLong, path, Value::Null, detail));
    }
    errors
}

/// What an immutable object may not change.
fn frozen(new: &Object, old: Option<&Object>, fields: &[&str]) -> Vec<FieldError> {
    let Some(old) = old.filter(|old| old["immutable"] == true) else { return Vec::new() };
    let mut errors = Vec::new();
    if new["immutable"] != true {
        errors.push(FieldError::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for field in fields.iter().filter(|field| new[**field] != old[**field]) {
        errors.push(FieldError::forbidden(*field, "field is immutable when `immutable` is set"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_text_of_a_secret_is_encoded_and_gone() {
        let schema = crate::schema::definition("io.k8s.api.core.v1.Secret").unwrap();
        let mut secret =
            json!({"data": {"a": "eA=="}, "stringData": {"b": "y"}, "type": "Opaque", "metadata": {}});
        crate::walk::default(schema, &mut secret);
        let expected = json!({"data": {"a": "eA==", "b": "eQ=="}, "type": "Opaque", "metadata": {}});
        assert_eq!(secret, expected);
        let other = json!({"data": {}, "type": "kubernetes.io/tls"});
        let errors: Vec<String> =
            Secret.validate(&other, Some(&secret)).iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 3, "{errors:?}");
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({"data": {"a": "1"}, "immutable": true});
        let new = json!({"data": {"a": "2"}, "immutable": true});
        let error = &ConfigMap.validate(&new, Some(&old))[0];
        assert_eq!(error.to_string(), "data: Forbidden: field is immutable when `immutable` is set");
    }
}
