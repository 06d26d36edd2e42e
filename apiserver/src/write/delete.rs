//! Deleting: at once, gracefully, or after finalizers; one object or a selection.

use axum::body::Body;
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use skiff_api::schema::definition;
use skiff_api::status::{FieldError, Problem, Status};
use skiff_api::{meta, walk};
use skiff_storage::{Error, Expect};

use super::{body, commit, fresh, metadata, rules, stamped};
use crate::admission::{Operation, Review};
use crate::app::Call;
use crate::cache::unavailable;
use crate::conversion;
use crate::read::Selection;
use crate::{negotiate, options as query};

/// How often a delete is tried when others write in between.
const TRIES: usize = 16;
/// The grace period of a pod that names none.
const DEFAULT_GRACE_S: i64 = 30;
const POLICIES: [&str; 3] = ["Orphan", "Background", "Foreground"];
const OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const KNOWN: &str = "the definition is among the built-in ones";
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a client may say of a delete.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    grace_period_seconds: Option<i64>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    preconditions: Preconditions,
    dry_run: Vec<String>,
    /// As it came, for admission.
    #[serde(skip)]
    sent: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// Deletes on behalf of another request, with its `DeleteOptions`.
pub async fn delete_with(call: &Call, options: Value) -> Result<(), Status> {
    let (options, dry_run) = read_options(call, options)?;
    delete_one(call, &options, dry_run).await.map(|_| ())
}

/// The options come in the body, or in the query if there is no body.
async fn options(call: &Call, request: Request<Body>) -> Result<(Options, bool), Status> {
    match body::parse_options(request).await? {
        Some(object) => {
            if let Some(record) = call.context.record() {
                record.request_object(&object);
            }
            read_options(call, object)
        }
        None => {
            let mut object = json!({});
            if let Some(seconds) = query::integer(&call.query, "gracePeriodSeconds")? {
                object["gracePeriodSeconds"] = seconds.into();
            }
            if !call.query.get("propagationPolicy").is_empty() {
                object["propagationPolicy"] = call.query.get("propagationPolicy").into();
            }
            if !call.query.all("orphanDependents").is_empty() {
                object["orphanDependents"] = call.query.flag("orphanDependents").into();
            }
            object["dryRun"] = json!(call.query.all("dryRun"));
            read_options(call, object)
        }
    }
}

fn read_options(call: &Call, mut object: Value) -> Result<(Options, bool), Status> {
    if let Some(mut status) =
        walk::decode_error("DeleteOptions", "v1", definition(OPTIONS).expect(KNOWN), &object)
    {
        // Options are read by themselves, not as an object of a version.
        if let Some((_, why)) = status.message.split_once(" cannot be handled as a DeleteOptions: ") {
            status.message = why.to_owned();
        }
        return Err(status);
    }
    if let Some(map) = object.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    let mut options: Options =
        serde_json::from_value(object.clone()).map_err(|error| Status::bad_request(error.to_string()))?;
    options.sent = object;
    let mut errors = Vec::new();
    if let Some(policy) = &options.propagation_policy {
        if options.orphan_dependents.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", policy.as_str(), why));
        }
        if !POLICIES.contains(&policy.as_str()) {
            let known = r#"supported values: "Foreground", "Background", "Orphan", "nil""#;
            let bad = policy.as_str().into();
            errors.push(FieldError::new(Problem::NotSupported, "propagationPolicy", bad, known));
        }
    }
    errors.extend(query::dry_run_errors(&json!(options.dry_run)));
    if !errors.is_empty() {
        return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
    }
    let dry = call.context.dry_run || !options.dry_run.is_empty();
    Ok((options, dry))
}

/// Answers a delete.
pub async fn delete(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (options, dry_run) = options(call, request).await?;
    if rules::orphans(&call.kind)
        && call.kind.plural == "jobs"
        && options.propagation_policy.is_none()
        && options.orphan_dependents.is_none()
    {
        call.context.warn(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
             remove them or set propagationPolicy=Orphan to suppress this warning",
        );
    }
    let deleted = delete_one(call, &options, dry_run).await?;
    let waits = matches!(deleted, Deleted::Waits(_));
    let answer = match deleted {
        Deleted::Waits(object) => object,
        Deleted::Gone(object) if rules::shows_deleted(&call.kind) => object,
        Deleted::Gone(object) => {
            let mut details =
                json!({"name": call.name(), "kind": call.kind.plural, "uid": meta::uid(&object)});
            if !call.kind.group.is_empty() {
                details["group"] = call.kind.group.as_str().into();
            }
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            })
        }
    };
    // As upstream, only the older way of asking is told that the object is still there.
    let code = if waits && options.orphan_dependents == Some(false) { 202 } else { 200 };
    if answer["kind"] == "Status" {
        return Ok(negotiate::value(code, &answer, &call.accept));
    }
    crate::read::object(call, code, &answer)
}

/// Answers a deletecollection: every selected object, each by the rules of a single delete.
pub async fn delete_collection(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (options, dry_run) = options(call, request).await?;
    let limit = query::list(&call.query, false)?.limit;
    let selection = Selection::of(call)?;
    call.app.cache.catch_up().await?;
    let snapshot = call.app.cache.of(&call.kind)?.snapshot();
    let mut deleted = Vec::new();
    let selected = snapshot.items.values().filter(|item| selection.takes(call, item));
    for item in selected.take(if limit == 0 { usize::MAX } else { limit }) {
        let mut one = call.for_name(item.name());
        item.namespace().clone_into(&mut one.info.namespace);
        match delete_one(&one, &options, dry_run).await {
            Ok(Deleted::Waits(object) | Deleted::Gone(object)) => deleted.push(object),
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let list = json!({
        "kind": call.kind.list_kind, "apiVersion": call.kind.api_version(&call.version),
        "metadata": {"resourceVersion": snapshot.revision.to_string()}, "items": deleted,
    });
    Ok(negotiate::value(200, &list, &call.accept))
}

enum Deleted {
    /// It goes when its finalizers or its grace period are done.
    Waits(Value),
    /// It is gone.
    Gone(Value),
}

async fn delete_one(call: &Call, options: &Options, dry_run: bool) -> Result<Deleted, Status> {
    for _ in 0..TRIES {
        let item = fresh(call).await?.ok_or_else(|| call.not_found())?;
        let old = item.object(&call.kind, &call.version);
        check(call, options, &old)?;
        let review = Review::new(call, Operation::Delete, Some(&old), &options.sent);
        call.app.admission.admit(&review, &mut Value::Null).await?;
        let mut new = mark(call, options, old.clone());
        let gone = metadata::is_finished(&call.kind, &new);
        if dry_run {
            return Ok(if gone { Deleted::Gone(new) } else { Deleted::Waits(new) });
        }
        if !gone && new == old {
            return Ok(Deleted::Waits(new));
        }
        let turn = if gone { call.app.allocator.leave(call, &old).await? } else { None };
        let mut kept = if gone { None } else { conversion::stored(call, &new).await? };
        let kept = kept.as_mut().unwrap_or(&mut new);
        match commit(call, (!gone).then_some(kept), Expect::Revision(item.revision), turn).await {
            Ok(revision) if gone => return Ok(Deleted::Gone(stamped(new, revision))),
            Ok(revision) => return Ok(Deleted::Waits(stamped(new, revision))),
            Err(Error::Mismatch(_)) => {}
            Err(error) => return Err(unavailable(error)),
        }
    }
    Err(Status::modified(&call.kind.group, &call.kind.plural, call.name()))
}

fn check(call: &Call, options: &Options, old: &Value) -> Result<(), Status> {
    let pairs = [
        ("UID", &options.preconditions.uid, meta::uid(old)),
        ("ResourceVersion", &options.preconditions.resource_version, meta::resource_version(old)),
    ];
    for (what, wanted, live) in pairs {
        if let Some(wanted) = wanted
            && wanted != live
        {
            let done = if what == "UID" { "deleted and then recreated" } else { "modified" };
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({live}). The \
                 object might have been {done}"
            );
            return Err(Status::conflict(&call.kind.group, &call.kind.kind, call.name(), &why));
        }
    }
    Ok(())
}

/// The object as a delete leaves it, if anything keeps it.
fn mark(call: &Call, options: &Options, mut object: Value) -> Value {
    let now = call.context.now;
    let deleting = meta::deletion_timestamp(&object).is_some();
    if call.kind.graceful {
        let left = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if deleting && left > 0 && !shorten(options, &mut object, left, now) {
            // It is on its way: nothing else of it may be decided now.
            return object;
        }
        if !deleting {
            let grace = grace_s(options, &object);
            let at = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
            object["metadata"]["deletionTimestamp"] = metadata::time(at).into();
            object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        }
    } else if !deleting {
        object["metadata"]["deletionTimestamp"] = metadata::time(now).into();
        if !is_namespace(call) {
            object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        }
    }
    if !deleting && let Some(generation) = object["metadata"]["generation"].as_i64() {
        object["metadata"]["generation"] = (generation + 1).into();
    }
    set_policy(call, options, &mut object);
    if !deleting && let Some(keeper) = rules::keeper(&call.kind) {
        let mut finalizers: Vec<String> = meta::finalizers(&object).iter().map(ToString::to_string).collect();
        if !finalizers.iter().any(|name| name == keeper) {
            finalizers.push(keeper.to_owned());
            meta::set(&mut object, "finalizers", finalizers);
        }
    }
    if is_namespace(call) {
        object["status"]["phase"] = "Terminating".into();
    }
    object
}

/// A namespace ends by what its `spec` says, and has no grace period.
fn is_namespace(call: &Call) -> bool {
    call.kind.plural == "namespaces" && call.kind.group.is_empty()
}

/// What becomes of the objects that it owns, as a finalizer for the garbage collector.
fn set_policy(call: &Call, options: &Options, object: &mut Value) {
    let had: Vec<String> = meta::finalizers(object).iter().map(ToString::to_string).collect();
    let decided = had.iter().any(|name| name == ORPHAN || name == FOREGROUND);
    let finalizer = match (options.propagation_policy.as_deref(), options.orphan_dependents) {
        (Some("Orphan"), _) | (None, Some(true)) => Some(ORPHAN),
        (Some("Foreground"), _) => Some(FOREGROUND),
        (Some(_), _) | (None, Some(false)) => None,
        (None, None) if decided || !rules::orphans(&call.kind) => return,
        (None, None) => Some(ORPHAN),
    };
    let mut finalizers: Vec<String> =
        had.into_iter().filter(|name| name != ORPHAN && name != FOREGROUND).collect();
    finalizers.extend(finalizer.map(str::to_owned));
    if finalizers.is_empty() {
        meta::set(object, "finalizers", Value::Null);
    } else {
        meta::set(object, "finalizers", finalizers);
    }
}

/// A grace period that runs can only become shorter; whether it did.
fn shorten(options: &Options, object: &mut Value, left: i64, now: Timestamp) -> bool {
    let Some(mut grace) = options.grace_s().filter(|grace| *grace < left) else { return false };
    let old = meta::deletion_timestamp(object).and_then(|text| text.parse::<Timestamp>().ok()).unwrap_or(now);
    let mut at = old.checked_sub(SignedDuration::from_secs(left - grace)).unwrap_or(now);
    if at < now {
        at = now;
        // Whoever stops it still has to say that it is done.
        grace = grace.min(1);
    }
    object["metadata"]["deletionTimestamp"] = metadata::time(at).into();
    object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    true
}

/// How long a pod may take to end. One that no node runs needs no time.
fn grace_s(options: &Options, pod: &Value) -> i64 {
    let unassigned = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unassigned || ended {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(DEFAULT_GRACE_S);
    options.grace_s().unwrap_or(if own < 0 { 1 } else { own })
}

impl Options {
    /// The grace period asked for; less than nothing is a second.
    fn grace_s(&self) -> Option<i64> {
        self.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds })
    }
}
