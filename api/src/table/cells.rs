//! Cells that are the same for many kinds.

use serde_json::Value;

use super::at;
use crate::Object;
use crate::selector::LabelSelector;

/// A scalar as text.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A cell by name; the argument is a path mostly.
pub fn cell(name: &str, path: &str, object: &Object) -> Value {
    let or = |fallback: &str| at(object, path).map(text).filter(|t| !t.is_empty()).unwrap_or(fallback.into());
    match name {
        "or-none" => or("<none>").into(),
        "or-unknown" => or("<unknown>").into(),
        "or-na" => or("N/A").into(),
        "or-unset" => or("<unset>").into(),
        "or-0" => or("0").into(),
        "none-or" => at(object, path).cloned().unwrap_or("<none>".into()),
        "bool" => match at(object, path).and_then(Value::as_bool) {
            Some(true) => "True".into(),
            Some(false) => "False".into(),
            None => "<unset>".into(),
        },
        "joined-or-none" => {
            Some(joined(object, path)).filter(|t| !t.is_empty()).unwrap_or("<none>".into()).into()
        }
        "default-name" => default_name(object, path).into(),
        "or-zero" => at(object, path).cloned().unwrap_or(0.into()),
        "or-false" => at(object, path).cloned().unwrap_or(false.into()),
        "count" => path.split('+').map(|path| size(at(object, path))).sum::<usize>().into(),
        "trim" => or("").trim().into(),
        "joined" => joined(object, path).into(),
        "ready-of" => {
            let (ready, wanted) = path.split_once('/').unwrap_or((path, ""));
            let number = |path| at(object, path).and_then(Value::as_i64).unwrap_or(0);
            format!("{}/{}", number(ready), number(wanted)).into()
        }
        "containers" => names(object, path, "name").into(),
        "images" => names(object, path, "image").into(),
        "pairs" => pairs(at(object, path)).into(),
        "selector" => match at(object, path).map(LabelSelector::from_object) {
            Some(Ok(selector)) if !selector.is_empty() => selector.to_string().into(),
            _ => "<none>".into(),
        },
        "claim" => match at(object, ".spec.claimRef") {
            Some(claim) => format!("{}/{}", text(&claim["namespace"]), text(&claim["name"])).into(),
            None => "".into(),
        },
        "role-ref" => {
            format!("{}/{}", text(&object["roleRef"]["kind"]), text(&object["roleRef"]["name"])).into()
        }
        "scale-target" => {
            let target = &object["spec"]["scaleTargetRef"];
            format!("{}/{}", text(&target["kind"]), text(&target["name"])).into()
        }
        "subjects" => subjects(object, path).into(),
        _ => Value::Null,
    }
}

/// The list at `value.key`, or nothing.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Status and reason of the condition of that type.
pub fn condition<'a>(object: &'a Object, of: &str) -> Option<(&'a str, &'a str)> {
    let found = list(&object["status"], "conditions").iter().find(|condition| condition["type"] == of)?;
    Some((found["status"].as_str()?, found["reason"].as_str().unwrap_or_default()))
}

/// The name, marked if an annotation (or its beta form) says that it is the default.
fn default_name(object: &Object, annotation: &str) -> String {
    let beta = annotation.replace(".kubernetes.io/", ".beta.kubernetes.io/");
    let marked = |key: &str| object["metadata"]["annotations"].get(key).is_some_and(|value| value == "true");
    let name = text(&object["metadata"]["name"]);
    if marked(annotation) || marked(&beta) { format!("{name} (default)") } else { name }
}

fn size(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

/// The items of a list, access modes in short.
pub fn joined(object: &Object, path: &str) -> String {
    let list = at(object, path).and_then(Value::as_array);
    let short = |value: &Value| match text(value).as_str() {
        "ReadWriteOnce" => "RWO".to_owned(),
        "ReadOnlyMany" => "ROX".into(),
        "ReadWriteMany" => "RWX".into(),
        "ReadWriteOncePod" => "RWOP".into(),
        other => other.into(),
    };
    list.into_iter().flatten().map(short).collect::<Vec<_>>().join(",")
}

fn names(object: &Object, path: &str, key: &str) -> String {
    let list = at(object, path).and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    list.into_iter().flatten().map(|container| text(&container[key])).collect::<Vec<_>>().join(",")
}

fn pairs(map: Option<&Value>) -> String {
    let map = map.and_then(Value::as_object);
    let pairs: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

fn subjects(object: &Object, kind: &str) -> String {
    let list = object["subjects"].as_array();
    let of_kind = list.into_iter().flatten().filter(|subject| subject["kind"] == kind);
    let shown = of_kind.map(|subject| match kind {
        "ServiceAccount" => format!("{}/{}", text(&subject["namespace"]), text(&subject["name"])),
        _ => text(&subject["name"]),
    });
    shown.collect::<Vec<_>>().join(", ")
}
