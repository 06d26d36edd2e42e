//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

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
    fn prepare(&self, new: &mut Object, _old: Option<&Object>) {
        let Some(Value::Object(plain)) = new.as_object_mut().and_then(|map| map.remove("stringData")) else {
            return;
        };
        if !new["data"].is_object() {
            new["data"] = Value::Object(Map::new());
        }
        for (key, value) in plain {
            new["data"][key] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
        }
    }

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
            total += value.as_str().map_or(0, str::len);
        }
    }
    // Encoded bytes are a third longer than what is meant.
    if total * 3 / 4 > MOST {
        let detail = format!("may not be more than {MOST} bytes");
        errors.push(FieldError::new(Problem::TooLong, "data", Value::Null, detail));
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
        let mut secret = json!({"data": {"a": "eA=="}, "stringData": {"b": "y"}, "type": "Opaque"});
        Secret.prepare(&mut secret, None);
        assert_eq!(secret, json!({"data": {"a": "eA==", "b": "eQ=="}, "type": "Opaque"}));
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
