//! Keeps flow control what the cluster's objects say, and the objects that a cluster cannot be without there.
//!
//! As upstream's `pkg/registry/flowcontrol/rest` and `apiserver/pkg/util/flowcontrol/apf_controller.go`.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use skiff_api::meta;
use skiff_storage::Revision;

use super::defaults::{self, AUTO_UPDATE};
use crate::app::App;
use crate::bootstrap::send;
use crate::cache::KindCache;
use crate::write;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const PATH: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const KINDS: [(&str, &str); 2] =
    [("PriorityLevelConfiguration", "prioritylevelconfigurations"), ("FlowSchema", "flowschemas")];
/// What was deleted is made again after at most this time.
const PERIOD: Duration = Duration::from_secs(60);

/// Reads what is there and follows it until the server stops.
pub fn follow(app: &Arc<App>) {
    let caches: Vec<Arc<KindCache>> =
        KINDS.iter().filter_map(|(_, resource)| app.cache.find(GROUP, resource)).collect();
    let [levels, schemas] = caches.as_slice() else { return };
    app.flow.change(&objects(levels, schemas));
    let (app, levels, schemas) = (app.clone(), levels.clone(), schemas.clone());
    tokio::spawn(async move {
        let (mut of_levels, mut of_schemas) = (levels.subscribe(), schemas.subscribe());
        let mut last = ((0, 0), (0, 0));
        let mut settled = tokio::time::Instant::now();
        loop {
            let now = (newest(&levels), newest(&schemas));
            if now != last {
                last = now;
                let objects = objects(&levels, &schemas);
                app.flow.change(&objects);
                settle(&app, &objects).await;
                settled = tokio::time::Instant::now();
            }
            // Every revision of the store passes by; most are of other kinds.
            tokio::select! {
                changed = of_levels.changed() => if changed.is_err() { return },
                changed = of_schemas.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(settled + PERIOD) => last = ((0, 0), (0, 0)),
                () = app.shutdown.cancelled() => return,
            }
        }
    });
}

/// What tells whether any object changed: how many there are, and the newest of them.
fn newest(cache: &KindCache) -> (usize, Revision) {
    let snapshot = cache.snapshot();
    let newest = snapshot.items.values().map(|item| item.revision).max().unwrap_or(0);
    (snapshot.items.len(), newest)
}

fn objects(levels: &KindCache, schemas: &KindCache) -> Vec<Value> {
    let of = |cache: &KindCache| {
        let kind = cache.kind().clone();
        let snapshot = cache.snapshot();
        snapshot.items.values().map(|item| item.object(&kind, "v1")).collect::<Vec<_>>()
    };
    [of(levels), of(schemas)].concat()
}

/// Makes and mends the objects of a new cluster, and tells of each schema whether its level is there.
async fn settle(app: &Arc<App>, objects: &[Value]) {
    for wanted in defaults::objects() {
        let same =
            |object: &&Value| object["kind"] == wanted["kind"] && meta::name(object) == meta::name(&wanted);
        let found = objects.iter().find(same);
        let path = format!("{PATH}/{}", resource(&wanted));
        let outcome = match found {
            None => send(app, Method::POST, &path, &wanted).await,
            Some(found) if is_ours(found) && !holds(&found["spec"], &wanted["spec"]) => {
                let mut mended = found.clone();
                mended["spec"] = wanted["spec"].clone();
                send(app, Method::PUT, &format!("{path}/{}", meta::name(found)), &mended).await
            }
            Some(_) => continue,
        };
        // Another server may have been faster; what fails is tried again later.
        if let Ok((code, answer)) = outcome
            && code >= 400
            && code != 409
        {
            tracing::warn!(name = meta::name(&wanted), why = %answer["message"], "a flow could not be made");
        }
    }
    for schema in objects.iter().filter(|object| object["kind"] == "FlowSchema") {
        tell(app, schema, objects).await;
    }
}

fn resource(object: &Value) -> &'static str {
    KINDS.iter().find(|(kind, _)| object["kind"] == *kind).map_or("", |(_, resource)| resource)
}

/// Whether the server may mend an object: those it always keeps, and those that no one has taken over.
fn is_ours(object: &Value) -> bool {
    let marked =
        meta::annotations(object).find(|(key, _)| *key == AUTO_UPDATE).map(|(_, value)| value == "true");
    let untouched = object["metadata"]["generation"].as_i64() == Some(1);
    defaults::is_mandatory(meta::name(object)) || marked.unwrap_or(untouched)
}

/// Whether an object has all that is wanted; what was defaulted besides does not count.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| found.get(key).is_some_and(|found| holds(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted))
        }
        _ => found == wanted,
    }
}

/// The condition `Dangling` of a schema.
async fn tell(app: &Arc<App>, schema: &Value, objects: &[Value]) {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let there = objects
        .iter()
        .any(|object| object["kind"] == "PriorityLevelConfiguration" && meta::name(object) == level);
    let (status, reason, end) = if there {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}");
    let conditions = schema["status"]["conditions"].as_array();
    let known = conditions.into_iter().flatten().find(|condition| condition["type"] == "Dangling");
    if known.is_some_and(|known| known["status"] == status && known["message"] == message.as_str()) {
        return;
    }
    let now = write::time(jiff::Timestamp::now());
    let condition = json!({"type": "Dangling", "status": status, "reason": reason, "message": message, "lastTransitionTime": now});
    let mut told = schema.clone();
    let mut all: Vec<Value> = conditions.cloned().unwrap_or_default();
    all.retain(|condition| condition["type"] != "Dangling");
    all.push(condition);
    told["status"]["conditions"] = all.into();
    let path = format!("{PATH}/flowschemas/{}/status", meta::name(schema));
    // One that changed meanwhile comes by again.
    let _ = send(app, Method::PUT, &path, &told).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_took_over_is_left_alone() {
        let object = |name: &str, mark: Value, generation: i64| json!({"metadata": {"name": name, "generation": generation, "annotations": mark}});
        let table = [
            (object("exempt", json!({AUTO_UPDATE: "false"}), 3), true),
            (object("system", json!({AUTO_UPDATE: "true"}), 3), true),
            (object("system", json!({AUTO_UPDATE: "false"}), 1), false),
            (object("system", json!({}), 1), true),
            (object("system", json!({}), 2), false),
        ];
        for (object, expected) in table {
            assert_eq!(is_ours(&object), expected, "{object}");
        }
        assert!(holds(&json!({"a": [{"b": 1, "more": 2}]}), &json!({"a": [{"b": 1}]})));
        assert!(!holds(&json!({"a": [{"b": 1}, {}]}), &json!({"a": [{"b": 1}]})));
    }
}
