//! Claims, secrets, devices.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Object, set_if_absent, text};

/// `dataSource` and `dataSourceRef` are the same fact, unless the second names a namespace.
pub fn data_source(map: &mut Object) {
    let absent = |map: &Object, key: &str| map.get(key).is_none_or(Value::is_null);
    match (absent(map, "dataSource"), absent(map, "dataSourceRef")) {
        (false, true) => {
            let source = map["dataSource"].clone();
            map.insert("dataSourceRef".into(), source);
        }
        (true, false) if map["dataSourceRef"]["namespace"].as_str().unwrap_or_default().is_empty() => {
            let mut source = map["dataSourceRef"].clone();
            if let Some(source) = source.as_object_mut() {
                source.remove("namespace");
            }
            map.insert("dataSource".into(), source);
        }
        _ => {}
    }
}

/// What a secret was given as plain text is data of its own.
pub fn plain_data(map: &mut Object) {
    let Some(Value::Object(plain)) = map.remove("stringData") else { return };
    if plain.is_empty() {
        return;
    }
    if !map.get("data").is_some_and(Value::is_object) {
        map.insert("data".into(), Value::Object(Map::new()));
    }
    if let Some(data) = map.get_mut("data").and_then(Value::as_object_mut) {
        data.extend(
            plain
                .into_iter()
                .map(|(key, value)| (key, Value::from(STANDARD.encode(value.as_str().unwrap_or_default())))),
        );
    }
}

/// A request for an exact number of devices is for one, unless it says more.
pub fn device_count(map: &mut Object) {
    if text(map, "allocationMode") == "ExactCount" {
        if map.get("count").and_then(Value::as_i64) == Some(0) {
            map.remove("count");
        }
        set_if_absent(map, "count", 1);
    }
}
