//! Who owns the fields of what is written: `metadata.managedFields` through every write, and
//! server-side apply.

use serde_json::Value;
use skiff_api::ownership::{self, Tracker};
use skiff_api::status::Status;
use skiff_api::{meta, yaml};

use super::{body, metadata};
use crate::app::Call;
use crate::conversion::{self, Known};
use crate::security::Attributes;

/// The longest name of a manager, in bytes.
const NAME_BYTES: usize = 128;

/// Where a write's managers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// What the write changes becomes its client's.
    Tracked,
    /// They stand in the object already: applied, computed by its maker, or kept.
    Given,
}

/// The manager that a request names: its `fieldManager`, or what its user agent begins with.
pub fn manager_of(field_manager: &str, user_agent: &str) -> String {
    if !field_manager.is_empty() {
        return field_manager.to_owned();
    }
    let mut name = String::new();
    for letter in user_agent.split('/').next().unwrap_or_default().chars().filter(|&c| is_printable(c)) {
        if name.len() + letter.len_utf8() > NAME_BYTES {
            break;
        }
        name.push(letter);
    }
    name
}

fn is_printable(letter: char) -> bool {
    letter == ' ' || !(letter.is_control() || letter.is_whitespace())
}

/// Runs `act` with the tracker of this call, as often as it needs objects in versions that have to be asked for.
async fn with_tracker<T>(call: &Call, act: impl Fn(&Tracker<'_>) -> T) -> Result<T, Status> {
    conversion::run(call, |versions| with_versions(call, versions, &act)).await
}

fn with_versions<T>(call: &Call, versions: &Known<'_>, act: &impl Fn(&Tracker<'_>) -> T) -> T {
    let reset = ownership::reset(&call.kind, &call.version, &call.info.subresource);
    act(&Tracker {
        versions,
        api_version: &call.kind.api_version(&call.version),
        kind: &call.kind.kind,
        subresource: &call.info.subresource,
        reset: &reset,
        now: &metadata::time(call.context.now),
    })
}

/// An object of which nothing is set: what a create starts from.
fn nothing(call: &Call) -> Value {
    ownership::empty(call.schema(), &call.kind.api_version(&call.version), &call.kind.kind)
}

/// Whether the client asks for a new start of the managers. To be asked before the object is
/// normalised, which drops an empty list.
pub fn asks_reset(object: &Value) -> bool {
    object.get("metadata").and_then(|meta| meta.get("managedFields")).is_some_and(ownership::is_reset)
}

/// Sets the managers of an object that this call creates or updates.
pub async fn track(
    call: &Call,
    new: &mut Value,
    old: Option<&Value>,
    asks_reset: bool,
) -> Result<(), Status> {
    if !ownership::is_tracked(&call.kind, &call.version, &call.info.subresource) {
        return Ok(());
    }
    let empty = if old.is_none() { nothing(call) } else { Value::Null };
    let old = old.unwrap_or(&empty);
    if call.kind.conversion.is_none() {
        // Nothing has to be asked for: done in place.
        let known = Known::nothing(&call.kind);
        let update =
            |tracker: &Tracker<'_>, new: &mut Value| tracker.update(old, new, &call.manager, asks_reset);
        let new = std::cell::RefCell::new(new);
        with_versions(call, &known, &|tracker: &Tracker<'_>| update(tracker, &mut new.borrow_mut()));
        return Ok(());
    }
    let given: &Value = new;
    *new = with_tracker(call, |tracker| {
        let mut new = given.clone();
        tracker.update(old, &mut new, &call.manager, asks_reset);
        new
    })
    .await?;
    Ok(())
}

/// A write that changed nothing but the time of a manager changed nothing.
pub fn ignore_times(new: &mut Value, old: &Value) {
    let entries = |object: &Value| object["metadata"].get("managedFields").cloned().unwrap_or(Value::Null);
    let (before, after) = (entries(old), entries(new));
    if before == after || !ownership::same_but_times(&before, &after) {
        return;
    }
    new["metadata"]["managedFields"] = before;
    if new != old {
        new["metadata"]["managedFields"] = after;
    }
}

/// A configuration that a client applies.
pub struct Configuration {
    object: Value,
    force: bool,
}

impl Configuration {
    /// What is applied.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// Whether it takes what others own.
    pub fn force(&self) -> bool {
        self.force
    }
}

/// Reads an applied configuration.
pub fn read(call: &Call, bytes: &[u8], validation: body::FieldValidation) -> Result<Configuration, Status> {
    let (object, duplicates) = yaml::decode_one(bytes, true)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    if !object.is_object() {
        return Err(Status::bad_request("error decoding YAML: the configuration must be an object"));
    }
    if !duplicates.is_empty() && validation != body::FieldValidation::Ignore {
        if validation == body::FieldValidation::Strict {
            let error = yaml::duplicate_error(bytes, &duplicates);
            return Err(Status::bad_request(format!("error strict decoding YAML: {error}")));
        }
        yaml::duplicate_lines(bytes, &duplicates).into_iter().for_each(|text| call.context.warn(text));
    }
    Ok(Configuration { object, force: call.query.flag("force") })
}

/// The object as it is after a configuration is applied to the live one, or to nothing.
pub async fn apply(
    call: &Call,
    configuration: &Configuration,
    live: Option<&Value>,
) -> Result<Value, Status> {
    let empty = if live.is_none() { nothing(call) } else { Value::Null };
    let mut object = with_tracker(call, |tracker| {
        tracker.apply(live.unwrap_or(&empty), &configuration.object, &call.manager, configuration.force)
    })
    .await??;
    if live.is_none() && !meta::uid(&object).is_empty() {
        let uid = meta::uid(&object);
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(&call.kind.group, &call.kind.plural, call.name(), &why));
    }
    crate::read::same_name(call, &object)?;
    metadata::settle_namespace(call, &mut object)?;
    body::check_fields(call, &mut object, &body::Source::default(), body::FieldValidation::Ignore)?;
    Ok(object)
}

/// Whether the client may create what it applies.
pub async fn may_create(call: &Call) -> Result<(), Status> {
    let info = crate::request::RequestInfo { verb: "create".into(), ..call.info.clone() };
    call.app.decide(&Attributes::of(&call.context.user, &info, "", "")).await
}
