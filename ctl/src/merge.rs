//! Client-side apply: the patch that takes the live object to what the manifest says, without touching what others set.
//!
//! Pure. What was in the last applied manifest and is not in this one is deleted; what this one says and the live
//! object does not have is set; all else stays. Upstream: `apimachinery/pkg/util/strategicpatch` and `jsonmergepatch`.

pub mod schema;

use serde_json::{Map, Value, json};

use self::schema::Schema;

/// The annotation that keeps the manifest as last applied, shared with kubectl.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manifest with its own JSON in the annotation, as it is sent.
pub fn with_last_applied(manifest: &Value) -> Value {
    let mut bare = manifest.clone();
    if let Some(annotations) = bare["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    // kubectl writes the mapping even when it is empty, so the text is the same whoever applied.
    if let Some(meta) = bare["metadata"].as_object_mut() {
        let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
        if annotations.is_null() {
            *annotations = json!({});
        }
    }
    let text = format!("{bare}\n");
    bare["metadata"]["annotations"][LAST_APPLIED] = Value::String(text);
    bare
}

/// The manifest as last applied, if the live object tells.
pub fn last_applied(live: &Value) -> Option<Value> {
    serde_json::from_str(live["metadata"]["annotations"][LAST_APPLIED].as_str()?).ok()
}

/// A three-way patch: JSON merge if there is no schema, strategic if there is. `{}` if nothing changes.
pub fn three_way(
    original: Option<&Value>,
    modified: &Value,
    current: &Value,
    schema: Option<&Schema>,
) -> Value {
    let nothing = Map::new();
    let original = original.and_then(Value::as_object).unwrap_or(&nothing);
    let (Some(modified), Some(current)) = (modified.as_object(), current.as_object()) else {
        return json!({});
    };
    Value::Object(object(original, modified, current, schema))
}

/// One mapping's patch. A field is compared by what its schema says of it.
fn object(
    original: &Map<String, Value>,
    modified: &Map<String, Value>,
    current: &Map<String, Value>,
    schema: Option<&Schema>,
) -> Map<String, Value> {
    let mut patch = Map::new();
    // Null in a manifest says nothing, as with kubectl: it is dropped before it is compared.
    for (key, wanted) in modified.iter().filter(|(_, value)| !value.is_null()) {
        let before = original.get(key);
        let field = schema.and_then(|schema| schema.field(key));
        let Some(live) = current.get(key).filter(|live| !live.is_null()) else {
            patch.insert(key.clone(), wanted.clone());
            continue;
        };
        match (wanted, live) {
            (Value::Object(wanted_map), Value::Object(live_map)) => {
                let nothing = Map::new();
                let before = before.and_then(Value::as_object).unwrap_or(&nothing);
                let inner = field.as_ref().and_then(|field| field.schema.as_ref());
                let mut inside = object(before, wanted_map, live_map, inner);
                if !inside.is_empty() {
                    if field.as_ref().is_some_and(|field| field.retain_keys) {
                        inside.insert("$retainKeys".to_owned(), keys(wanted_map));
                    }
                    patch.insert(key.clone(), Value::Object(inside));
                }
            }
            (Value::Array(wanted_items), Value::Array(live_items))
                if field.as_ref().is_some_and(|field| field.merge) =>
            {
                let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let field = field.unwrap_or_default();
                list(key, before, wanted_items, live_items, &field, &mut patch);
            }
            (wanted, live) if same(wanted, live) => {}
            (wanted, _) => {
                patch.insert(key.clone(), wanted.clone());
            }
        }
    }
    let gone = |key: &String| modified.get(key).is_none_or(Value::is_null);
    for key in original.keys().filter(|key| gone(key)) {
        // What is gone already need not be deleted; the patch would never become empty.
        if current.contains_key(key) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    patch
}

/// A list that merges: by its key, or as a set of plain values.
fn list(
    name: &str,
    before: &[Value],
    wanted: &[Value],
    live: &[Value],
    field: &schema::Field,
    patch: &mut Map<String, Value>,
) {
    let Some(key) = &field.merge_key else {
        let added: Vec<Value> = wanted.iter().filter(|value| !live.contains(value)).cloned().collect();
        let removed: Vec<Value> =
            before.iter().filter(|value| !wanted.contains(value) && live.contains(value)).cloned().collect();
        if !added.is_empty() {
            patch.insert(name.to_owned(), Value::Array(added));
        }
        if !removed.is_empty() {
            patch.insert(format!("$deleteFromPrimitiveList/{name}"), Value::Array(removed));
        }
        return;
    };
    let find = |items: &[Value], id: &Value| items.iter().find(|item| &item[key.as_str()] == id).cloned();
    let mut changes = Vec::new();
    for item in wanted {
        let id = &item[key.as_str()];
        let (Some(item_map), Some(live_item)) = (item.as_object(), find(live, id)) else {
            changes.push(item.clone());
            continue;
        };
        let before_item = find(before, id);
        let nothing = Map::new();
        let before_map = before_item.as_ref().and_then(Value::as_object).unwrap_or(&nothing);
        let live_map = live_item.as_object().unwrap_or(&nothing);
        let mut change = object(before_map, item_map, live_map, field.schema.as_ref());
        if !change.is_empty() {
            change.insert(key.clone(), id.clone());
            if field.retain_keys {
                change.insert("$retainKeys".to_owned(), keys(item_map));
            }
            changes.push(Value::Object(change));
        }
    }
    for item in before {
        let id = &item[key.as_str()];
        if find(wanted, id).is_none() && find(live, id).is_some() {
            changes.push(json!({"$patch": "delete", key.as_str(): id}));
        }
    }
    if !changes.is_empty() {
        // The order is the manifest's, with what only the server has after it.
        if wanted.iter().all(|item| item.get(key.as_str()).is_some()) {
            let order: Vec<Value> =
                wanted.iter().map(|item| json!({key.as_str(): item[key.as_str()]})).collect();
            patch.insert(format!("$setElementOrder/{name}"), Value::Array(order));
        }
        patch.insert(name.to_owned(), Value::Array(changes));
    }
}

fn keys(map: &Map<String, Value>) -> Value {
    Value::Array(map.keys().cloned().map(Value::String).collect())
}

/// Equal, where `1` and `1.0` are.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        name: &str,
        schema: Option<&Schema>,
        original: Value,
        modified: Value,
        current: Value,
        want: Value,
    ) {
        assert_eq!(three_way(Some(&original), &modified, &current, schema), want, "{name}");
    }

    #[test]
    fn without_a_schema_it_is_a_json_merge() {
        let none = None;
        check("nothing", none, json!({"a": 1}), json!({"a": 1}), json!({"a": 1, "b": 2}), json!({}));
        check("change", none, json!({"a": 1}), json!({"a": 2}), json!({"a": 1}), json!({"a": 2}));
        check(
            "someone else changed it",
            none,
            json!({"a": 1}),
            json!({"a": 1}),
            json!({"a": 5}),
            json!({"a": 1}),
        );
        check(
            "delete",
            none,
            json!({"a": 1, "b": 2}),
            json!({"a": 1}),
            json!({"a": 1, "b": 2}),
            json!({"b": null}),
        );
        check("deleted already", none, json!({"a": 1, "b": 2}), json!({"a": 1}), json!({"a": 1}), json!({}));
        check(
            "deep",
            none,
            json!({"a": {"x": 1, "y": 2}}),
            json!({"a": {"x": 3}}),
            json!({"a": {"x": 1, "y": 2, "z": 4}}),
            json!({"a": {"x": 3, "y": null}}),
        );
        check(
            "lists are replaced",
            none,
            json!({}),
            json!({"l": [1]}),
            json!({"l": [1, 2]}),
            json!({"l": [1]}),
        );
        check("numbers by value", none, json!({}), json!({"l": [1.0]}), json!({"l": [1]}), json!({}));
        check("null says nothing", none, json!({}), json!({"a": null}), json!({"a": 1}), json!({}));
        check("empty mapping", none, json!({}), json!({"a": {}}), json!({"b": 1}), json!({"a": {}}));
    }

    #[test]
    fn with_a_schema_lists_merge_by_their_key() {
        let schema = schema::tests::pod();
        let schema = Some(&schema);
        let containers = |items: Value| json!({"spec": {"containers": items}});
        let order = |names: &[&str]| Value::Array(names.iter().map(|name| json!({"name": name})).collect());
        check(
            "defaults of the server stay",
            schema,
            containers(json!([{"name": "a", "image": "x"}])),
            containers(json!([{"name": "a", "image": "x"}])),
            containers(
                json!([{"name": "a", "image": "x", "imagePullPolicy": "Always"}, {"name": "injected"}]),
            ),
            json!({}),
        );
        check(
            "one container changes",
            schema,
            containers(json!([{"name": "a", "image": "x"}])),
            containers(json!([{"name": "a", "image": "y"}])),
            containers(json!([{"name": "a", "image": "x", "imagePullPolicy": "Always"}])),
            json!({"spec": {"$setElementOrder/containers": order(&["a"]), "containers": [{"name": "a", "image": "y"}]}}),
        );
        check(
            "one goes, one comes",
            schema,
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"name": "a"}, {"name": "c", "image": "z"}])),
            containers(json!([{"name": "a"}, {"name": "b"}, {"name": "other"}])),
            json!({"spec": {"$setElementOrder/containers": order(&["a", "c"]),
                "containers": [{"name": "c", "image": "z"}, {"$patch": "delete", "name": "b"}]}}),
        );
        check(
            "plain values",
            schema,
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["a", "c"]}}),
            json!({"metadata": {"finalizers": ["a", "b", "d"]}}),
            json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["b"]}}),
        );
        check(
            "a union keeps only its keys",
            schema,
            json!({"spec": {"strategy": {"type": "RollingUpdate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"type": "Recreate", "$retainKeys": ["type"]}}}),
        );
        check(
            "an atomic list is replaced",
            schema,
            json!({}),
            containers(json!([{"name": "a", "args": ["x"]}])),
            containers(json!([{"name": "a", "args": ["y", "z"]}])),
            json!({"spec": {"$setElementOrder/containers": order(&["a"]), "containers": [{"name": "a", "args": ["x"]}]}}),
        );
    }

    #[test]
    fn the_annotation_does_not_contain_itself() {
        let manifest = json!({"kind": "Pod", "metadata": {"name": "a"}});
        let once = with_last_applied(&manifest);
        assert_eq!(with_last_applied(&once), once);
        assert_eq!(
            last_applied(&once),
            Some(json!({"kind": "Pod", "metadata": {"name": "a", "annotations": {}}}))
        );
    }
}
