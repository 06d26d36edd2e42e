//! What a write through a view may change, by the paths in the kind's data; and how an object that is
//! shown in other words is stored.

use std::borrow::Cow;

use serde_json::Value;
use skiff_api::kind::{Action, Presents};
use skiff_api::ownership::left_alone;
use skiff_api::status::FieldError;
use skiff_api::walk;

use crate::app::Call;

/// Leaves of `new` what this call may change: a view's own fields, or all that no view owns.
pub fn restrict(call: &Call, new: &mut Value, old: &Value) {
    match call.action() {
        Some(Action::View(paths)) => {
            let mut result = old.clone();
            result["metadata"] = new["metadata"].take();
            for path in left_alone(&call.kind, &call.version, &call.info.subresource) {
                if *path == "metadata" {
                    let owners = result["metadata"].get("managedFields").cloned();
                    result["metadata"] = old["metadata"].clone();
                    if let Some(owners) = owners {
                        result["metadata"]["managedFields"] = owners;
                    }
                } else if path.starts_with("metadata.") {
                    copy(path, old, &mut result);
                }
            }
            paths.iter().for_each(|path| copy(path, new, &mut result));
            *new = result;
        }
        Some(Action::Part(paths)) => {
            let mut result = old.clone();
            paths.iter().for_each(|path| copy(path, new, &mut result));
            // Who owns what is all of the metadata that such a write changes.
            copy("metadata.managedFields", new, &mut result);
            *new = result;
        }
        _ if call.info.subresource.is_empty() => {
            let owned = [("status", "status"), ("finalize", "spec.finalizers")];
            owned.iter().filter(|(view, _)| has(call, view)).for_each(|(_, path)| copy(path, old, new));
        }
        _ => {}
    }
}

fn has(call: &Call, view: &str) -> bool {
    call.kind_version().subresources.contains_key(view)
}

/// The object that a kind's own rules compare the new one with: what a part may change is not compared.
pub fn compared<'a>(call: &Call, new: &Value, old: &'a Value) -> Cow<'a, Value> {
    let Some(Action::Part(paths)) = call.action() else { return Cow::Borrowed(old) };
    let mut result = old.clone();
    paths.iter().for_each(|path| copy(path, new, &mut result));
    Cow::Owned(result)
}

/// What is wrong with a change through a part. Ephemeral containers are only ever added.
pub fn check(call: &Call, new: &Value, old: &Value) -> Vec<FieldError> {
    if call.info.subresource != "ephemeralcontainers" {
        return Vec::new();
    }
    let path = "spec.ephemeralContainers";
    let all = |pod: &Value| pod["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default();
    let now = all(new);
    let mut errors = Vec::new();
    for before in all(old) {
        let name = before["name"].as_str().unwrap_or_default();
        let why = match now.iter().find(|container| container["name"] == before["name"]) {
            None => "removed",
            Some(after) if *after != before => "changed",
            Some(_) => continue,
        };
        let detail = format!("existing ephemeral containers {name:?} may not be {why}\n");
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

/// Copies a path of one object to another; what is absent is removed.
fn copy(path: &str, from: &Value, to: &mut Value) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(rest) = rest else {
        match from.get(first) {
            Some(value) => to[first] = value.clone(),
            None => {
                if let Some(object) = to.as_object_mut() {
                    object.remove(first);
                }
            }
        }
        return;
    };
    let Some((list, key)) = first.strip_suffix(']').and_then(|text| text.split_once('[')) else {
        if from.get(first).is_some() || to.get(first).is_some() {
            copy(rest, &from[first], &mut to[first]);
        }
        return;
    };
    let sources = from[list].as_array().cloned().unwrap_or_default();
    for item in to.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(source) = sources.iter().find(|source| source[key] == item[key]) {
            copy(rest, source, item);
        }
    }
}

/// The bytes of an object of a kind that shows another's: as that other keeps it.
pub fn stored(call: &Call, presents: &Presents, mut object: Value) -> Vec<u8> {
    presents.store(&mut object);
    let registry = call.app.registry.load();
    if let Some(kind) = registry.resource(&presents.group, &presents.version, &presents.plural) {
        object["kind"] = kind.kind.as_str().into();
        object["apiVersion"] = kind.api_version(&presents.version).into();
        walk::normalise(&kind.stored().schema, &mut object);
    }
    serde_json::to_vec(&object).expect("a value is valid JSON")
}

#[cfg(test)]
mod tests {
    use super::copy;
    use serde_json::json;

    #[test]
    fn paths_reach_into_items_that_both_sides_know() {
        let from = json!({"a": [{"k": 1, "x": 5, "y": 6}, {"k": 3, "x": 7}], "b": {"c": 1}});
        let mut to = json!({"a": [{"k": 2, "x": 0}, {"k": 1, "x": 0, "y": 0}], "b": {"d": 2}});
        copy("a[k].x", &from, &mut to);
        copy("b.c", &from, &mut to);
        copy("b.d", &from, &mut to);
        copy("z.z", &from, &mut to);
        assert_eq!(to, json!({"a": [{"k": 2, "x": 0}, {"k": 1, "x": 5, "y": 0}], "b": {"c": 1}}));
    }
}
