//! The part of an object that the server itself keeps: identity, times, generation, finalizers.

use rand::Rng;
use serde_json::{Map, Value, json};
use skiff_api::kind::Kind;
use skiff_api::meta;
use skiff_api::status::{FieldError, Status};

use super::{owners, rules};
use crate::app::Call;

/// Fields of `metadata` that clients cannot change.
const KEPT: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"];
/// What generated names end with: no vowels and nothing that looks alike, as upstream.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
const GENERATED_BASE_MAX: usize = 58;

/// Checks the namespace of an object against the path's, and fills it in.
pub fn settle_namespace(call: &Call, object: &mut Value) -> Result<(), Status> {
    if !call.kind.namespaced {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        return Ok(());
    }
    let given = meta::namespace(object);
    if !given.is_empty() && given != call.namespace() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    object["metadata"]["namespace"] = call.namespace().into();
    Ok(())
}

/// What a create needs before it has a name.
pub fn begin(call: &Call, object: &mut Value) -> Result<(), Status> {
    settle_namespace(call, object)?;
    let metadata = object["metadata"].as_object_mut().expect("decoding made metadata an object");
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
        return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    for key in KEPT.into_iter().chain(["resourceVersion"]) {
        metadata.remove(key);
    }
    let empty = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default().is_empty();
    if empty("name") && empty("generateName") {
        let error = FieldError::required("metadata.name", "name or generateName is required");
        return Err(Status::invalid(&call.kind.group, &call.kind.kind, "", &[error]));
    }
    Ok(())
}

/// Gives an object with `generateName` a name.
pub fn generate_name(object: &mut Value) {
    let base: String = object["metadata"]["generateName"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .take(GENERATED_BASE_MAX)
        .collect();
    let mut random = rand::rng();
    let suffix: String =
        (0..SUFFIX_LENGTH).map(|_| char::from(SUFFIX[random.random_range(0..SUFFIX.len())])).collect();
    object["metadata"]["name"] = format!("{base}{suffix}").into();
}

/// Drops owner references that are there twice, and says so.
pub fn drop_twin_owners(call: &Call, object: &mut Value) {
    let Some(list) = object["metadata"]["ownerReferences"].as_array_mut() else { return };
    let (mut kept, mut twins): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
    for owner in list.drain(..) {
        if kept.contains(&owner) {
            twins.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            kept.push(owner);
        }
    }
    *list = kept;
    if !twins.is_empty() {
        call.context.warn(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and \
             may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twins.join(", ")
        ));
    }
}

/// What the server gives a new object.
pub fn create(call: &Call, object: &mut Value) -> Result<(), Status> {
    drop_twin_owners(call, object);
    let metadata = object["metadata"].as_object_mut().expect("decoding made metadata an object");
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), time(call.context.now).into());
    if call.kind.generation {
        metadata.insert("generation".into(), 1.into());
    }
    drop_status(call, object);
    Ok(())
}

/// Takes the status out of a new object: it is set through a view of its own.
pub fn drop_status(call: &Call, object: &mut Value) {
    if call.kind_version().subresources.contains_key("status")
        && let Some(top) = object.as_object_mut()
    {
        match rules::first_status(&call.kind, call.context.now) {
            Some(status) => top.insert("status".into(), status),
            None if rules::keeps_status(&call.kind) => None,
            None => top.remove("status"),
        };
    }
}

/// A time as objects show it: seconds, UTC.
pub fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An update of what is not there makes it, for those who may.
pub async fn may_create(call: &Call, object: &mut Value) -> Result<(), Status> {
    if !call.info.subresource.is_empty() {
        return Err(call.not_found());
    }
    let uid = meta::uid(object);
    if !uid.is_empty() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
        return Err(Status::conflict(&call.kind.group, &call.kind.plural, call.name(), &why));
    }
    owners::may_create(call).await?;
    meta::set(object, "resourceVersion", Value::Null);
    Ok(())
}

/// Refuses a write that was made from another version or another object than the live one.
pub fn check_precondition(call: &Call, new: &Value, old: &Value) -> Result<(), Status> {
    let asked = meta::resource_version(new);
    if matches!(asked, "" | "0") && call.info.verb == "update" && rules::needs_version(&call.kind) {
        let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
        return Err(Status::invalid(&call.kind.group, &call.kind.plural, call.name(), &[error]));
    }
    if !asked.is_empty() && asked.parse::<u64>().is_err() {
        let why = format!("strconv.ParseUint: parsing {asked:?}: invalid syntax");
        return Err(Status::new(500, "", why));
    }
    let stale = !asked.is_empty() && asked != "0" && asked != meta::resource_version(old);
    let (uid, live) = (meta::uid(new), meta::uid(old));
    if !uid.is_empty() && uid != live {
        let key = call.kind.key(call.namespace(), call.name());
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {uid}, UID in object meta: {live}"
        );
        return Err(Status::conflict(&call.kind.group, &call.kind.plural, call.name(), &why));
    }
    if stale {
        return Err(Status::modified(&call.kind.group, &call.kind.plural, call.name()));
    }
    Ok(())
}

/// Restores what clients cannot change.
pub fn update(call: &Call, new: &mut Value, old: &Value) -> Result<(), Status> {
    drop_twin_owners(call, new);
    let before = old["metadata"].as_object().cloned().unwrap_or_default();
    if !new["metadata"].is_object() {
        new["metadata"] = Value::Object(Map::new());
    }
    let metadata = new["metadata"].as_object_mut().expect("it was made one above");
    for key in KEPT.into_iter().chain(["name", "namespace", "resourceVersion"]) {
        match before.get(key) {
            Some(value) => metadata.insert(key.into(), value.clone()),
            None => metadata.remove(key),
        };
    }
    if meta::deletion_timestamp(old).is_some() {
        let had = meta::finalizers(old);
        let added: Vec<_> = meta::finalizers(new).into_iter().filter(|name| !had.contains(name)).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
            );
            let error = FieldError::forbidden("metadata.finalizers", detail);
            return Err(Status::invalid(&call.kind.group, &call.kind.kind, call.name(), &[error]));
        }
    }
    Ok(())
}

/// Counts a change of anything but metadata and status; `own` if it came through the object itself.
pub fn count_generation(kind: &Kind, own: bool, new: &mut Value, old: &Value) {
    if !kind.generation {
        return;
    }
    let also = if own { rules::counts(kind) } else { &[] };
    if !counted(new).eq(counted(old)) || also.iter().any(|key| new["metadata"][*key] != old["metadata"][*key])
    {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        new["metadata"]["generation"] = json!(generation + 1);
    }
}

/// The fields whose changes a generation counts.
fn counted(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status"))
}

/// Whether an object that is being deleted has nothing left to wait for.
pub fn is_finished(kind: &Kind, object: &Value) -> bool {
    if meta::deletion_timestamp(object).is_none() || !meta::finalizers(object).is_empty() {
        return false;
    }
    if kind.graceful {
        return object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    }
    if kind.plural == "namespaces" {
        return object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    }
    true
}
