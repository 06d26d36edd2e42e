//! The three patches: JSON patch, JSON merge patch, strategic merge patch. Each is a function
//! from an object and a patch to a new object.

mod strategic;

use serde_json::{Map, Value};

use crate::Object;
use crate::status::Status;

pub use strategic::{merge as strategic_value, strategic};

/// Applies a JSON patch (RFC 6902).
pub fn json(live: &Object, patch: &[u8]) -> Result<Object, Status> {
    let operations: json_patch::Patch = serde_json::from_slice(patch)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let mut object = live.clone();
    json_patch::patch(&mut object, &operations).map_err(|error| {
        Status::new(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {error}"),
        )
    })?;
    Ok(object)
}

/// Applies a JSON merge patch (RFC 7386).
pub fn merge(live: &Object, patch: &[u8]) -> Result<Object, Status> {
    let patch = read(patch)?;
    let mut object = live.clone();
    merge_value(&mut object, &patch);
    Ok(object)
}

pub(crate) fn read(patch: &[u8]) -> Result<Value, Status> {
    let patch: Value = serde_json::from_slice(patch)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if patch.is_object() {
        Ok(patch)
    } else {
        Err(Status::bad_request("error decoding patch: the patch must be an object"))
    }
}

fn merge_value(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge_value(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::definition;
    use serde_json::json;

    #[test]
    fn json_and_merge_patches_apply() {
        let live = json!({"a": {"b": 1, "c": [1]}});
        let patched = json(
            &live,
            br#"[{"op":"replace","path":"/a/b","value":2},{"op":"add","path":"/a/c/-","value":2}]"#,
        );
        assert_eq!(patched.unwrap(), json!({"a": {"b": 2, "c": [1, 2]}}));
        assert_eq!(json(&live, br#"[{"op":"test","path":"/a/b","value":9}]"#).unwrap_err().code, 422);
        assert_eq!(
            merge(&live, br#"{"a":{"b":null,"d":{"e":null}}}"#).unwrap(),
            json!({"a": {"c": [1], "d": {}}})
        );
        assert_eq!(merge(&live, b"[]").unwrap_err().code, 400);
    }

    #[test]
    fn strategic_patches_merge_lists_by_key() {
        let schema = definition("io.k8s.api.core.v1.Pod").unwrap();
        let live = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {
            "containers": [{"name": "x", "image": "1", "env": [{"name": "A", "value": "1"}]}, {"name": "y", "args": ["1"]}],
            "tolerations": [{"key": "k"}], "volumes": [{"name": "v", "emptyDir": {}}]}});
        for (patch, pointer, expected) in [
            (
                json!({"spec": {"containers": [{"name": "x", "image": "2"}]}}),
                "/spec/containers",
                json!([{"name": "x", "image": "2", "env": [{"name": "A", "value": "1"}]}, {"name": "y", "args": ["1"]}]),
            ),
            (json!({"spec": {"containers": [{"name": "z"}]}}), "/spec/containers/2", json!({"name": "z"})),
            (
                json!({"spec": {"containers": [{"name": "x", "$patch": "delete"}]}}),
                "/spec/containers",
                json!([{"name": "y", "args": ["1"]}]),
            ),
            (
                json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "q"}]}}),
                "/spec/containers",
                json!([{"name": "q"}]),
            ),
            (json!({"spec": {"tolerations": [{"key": "z"}]}}), "/spec/tolerations", json!([{"key": "z"}])),
            (
                json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}}),
                "/spec/volumes",
                json!([{"name": "v", "hostPath": {"path": "/"}}]),
            ),
            (json!({"metadata": {"finalizers": ["b", "c"]}}), "/metadata/finalizers", json!(["a", "b", "c"])),
            (
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
                "/metadata/finalizers",
                json!(["b"]),
            ),
            (
                json!({"spec": {"$setElementOrder/containers": [{"name": "y"}, {"name": "x"}]}}),
                "/spec/containers/0/name",
                json!("y"),
            ),
            (
                json!({"spec": {"containers": [{"name": "y", "args": null}]}}),
                "/spec/containers/1",
                json!({"name": "y"}),
            ),
            (json!({"spec": {"$patch": "replace", "nodeName": "n"}}), "/spec", json!({"nodeName": "n"})),
        ] {
            let patched = strategic(schema, &live, patch.to_string().as_bytes()).unwrap();
            assert_eq!(patched.pointer(pointer), Some(&expected), "{patch}");
        }
        let no_key = json!({"spec": {"containers": [{"image": "2"}]}});
        let error = strategic(schema, &live, no_key.to_string().as_bytes()).unwrap_err();
        assert!(error.message.contains("does not contain declared merge key: name"), "{error}");
    }
}
