//! The three patches: JSON patch, JSON merge patch, strategic merge patch. Each is a function
//! from an object and a patch to a new object.

mod strategic;

use serde_json::{Map, Value};

use crate::go_json::syntax_error;
use crate::status::{Details, Status};
use crate::{Object, walk};

pub use strategic::{merge as strategic_value, strategic};

/// Applies a JSON patch (RFC 6902).
pub fn json(live: &Object, patch: &[u8]) -> Result<Object, Status> {
    let operations = match decode(patch).map_err(|why| undecodable(&why))? {
        Value::Array(operations) => operations,
        Value::Null => Vec::new(),
        other => {
            let sort = walk::sort(&other);
            return Err(undecodable(&format!(
                "json: cannot unmarshal {sort} into Go value of type []handlers.jsonPatchOp"
            )));
        }
    };
    if operations.len() > OPERATIONS {
        let found = operations.len();
        let why = format!("The allowed maximum operations in a JSON patch is {OPERATIONS}, got {found}");
        return Err(Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: {why}")));
    }
    let mut object = live.clone();
    for mut operation in operations {
        // As in upstream's library, what replaces a member that is not there is it.
        if operation["op"] == "replace"
            && has_map_above(&object, operation["path"].as_str().unwrap_or_default())
        {
            operation["op"] = "add".into();
        }
        let operation: json_patch::PatchOperation =
            serde_json::from_value(operation).map_err(|_| rejected())?;
        json_patch::patch(&mut object, &[operation]).map_err(|_| rejected())?;
    }
    Ok(object)
}

/// The most operations of a JSON patch.
const OPERATIONS: usize = 10_000;

/// 422 for a patch that does not fit the object; upstream says no more.
fn rejected() -> Status {
    let why = "the server rejected our request due to an error in our request";
    let mut status = Status::new(422, "Invalid", why);
    status.details = Some(Details::default());
    status
}

fn undecodable(why: &str) -> Status {
    Status::bad_request(format!("error decoding patch: {why}"))
}

/// JSON, or what Go would say of it.
fn decode(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| syntax_error(bytes).unwrap_or_else(|| error.to_string()))
}

/// Whether a pointer names a member of an object, and not an item of a list.
fn has_map_above(object: &Value, pointer: &str) -> bool {
    let above = pointer.rsplit_once('/').map(|(above, _)| above);
    above.and_then(|above| object.pointer(above)).is_some_and(Value::is_object)
}

/// Applies a JSON merge patch (RFC 7386).
pub fn merge(live: &Object, patch: &[u8]) -> Result<Object, Status> {
    let patch = read(patch).map_err(|why| undecodable(&why))?;
    let mut object = live.clone();
    merge_value(&mut object, &patch);
    Ok(object)
}

/// An object, or what Go would say of anything else.
pub(crate) fn read(patch: &[u8]) -> Result<Value, String> {
    match decode(patch)? {
        patch if patch.is_object() => Ok(patch),
        other => {
            let sort = walk::sort(&other);
            Err(format!("json: cannot unmarshal {sort} into Go value of type map[string]interface {{}}"))
        }
    }
}

/// A value as Go prints it.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let members = map.iter().map(|(key, value)| format!("{key}:{}", go_text(value)));
            format!("map[{}]", members.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
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
    fn json_patches_are_refused_as_upstream_does() {
        let live = json!({"data": {"a": "1"}, "list": [1]});
        for (patch, code, message) in [
            (
                "{}",
                400,
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            ("[{\"op\":", 400, "error decoding patch: unexpected end of JSON input"),
            (
                r#"[{"op":"what","path":"/a"}]"#,
                422,
                "the server rejected our request due to an error in our request",
            ),
            (
                r#"[{"op":"remove","path":"/data/b"}]"#,
                422,
                "the server rejected our request due to an error in our request",
            ),
            (
                r#"[{"op":"replace","path":"/list/4","value":1}]"#,
                422,
                "the server rejected our request due to an error in our request",
            ),
        ] {
            let status = json(&live, patch.as_bytes()).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, message), "{patch}");
        }
        let many = format!("[{}]", vec![r#"{"op":"test","path":"/data/a","value":"1"}"#; 10_001].join(","));
        assert_eq!(json(&live, many.as_bytes()).unwrap_err().code, 413);
        let made = json(&live, br#"[{"op":"replace","path":"/data/b","value":"2"}]"#).unwrap();
        assert_eq!(made["data"], json!({"a": "1", "b": "2"}));
        let list = merge(&live, b"[]").unwrap_err().message;
        assert_eq!(
            list,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        );
        assert_eq!(go_text(&json!({"b": [1, "x"], "a": null})), "map[a:<nil> b:[1 x]]");
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
            (json!({"spec": {"containers": [{"name": "z"}]}}), "/spec/containers/0", json!({"name": "z"})),
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
