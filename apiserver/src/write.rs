//! Writing: one pipeline for every kind and verb.
//!
//! decode → field validation → prune → default → normalise → owners → mutating admission → prepare →
//! validate → validating admission → write with a precondition → answer. An apply merges its
//! configuration into the live object before all this.

mod body;
mod definition;
mod delete;
mod metadata;
mod owners;
mod rules;
mod signing_request;
mod views;

use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use serde_json::{Value, json};
use skiff_api::status::Status;
use skiff_api::{convert, meta, patch, walk};
use skiff_storage::{Error, Expect, Op, Revision};

use crate::admission::{Operation, Review, policy};
use crate::allocate::{Claimed, Contention, Turn};
use crate::app::Call;
use crate::cache::{Item, unavailable};
use crate::conversion;
use crate::encryption::Unreadable;
use crate::read;

pub use body::{MEDIA_TYPES, PatchSort, decode, parse, patch as patch_body, read_all};
pub use delete::{delete, delete_collection, delete_with};
pub use metadata::{generate_name, time};
pub use owners::{Owners, manager_of, read as read_configuration};

/// How often a patch is computed anew when others write in between.
const PATCH_TRIES: usize = 8;

/// Answers a create.
pub async fn create(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let object = decode(call, request).await?;
    let (code, object) = create_object(call, object, Owners::Tracked).await?;
    read::object(call, code, &object)
}

/// Stores a new object that has been decoded; answers with the code and what was stored.
pub async fn create_object(call: &Call, mut object: Value, owners: Owners) -> Result<(u16, Value), Status> {
    metadata::begin(call, &mut object)?;
    let generate = meta::name(&object).is_empty();
    let mut tries = if generate { 8 } else { 1 };
    let mut contention = Contention::default();
    loop {
        tries -= 1;
        let mut candidate = object.clone();
        if generate {
            metadata::generate_name(&mut candidate);
        }
        let candidate = admit(call, candidate, None, owners).await?;
        let target = call.for_name(meta::name(&candidate));
        let turn = call.app.allocator.lock(&target).await;
        // What an order protects is up to date in the cache: a name that is taken must be said
        // before its own address looks taken too.
        let name = meta::name(&candidate);
        if call.app.allocator.orders(&call.kind)
            && call.app.cache.of(&call.kind)?.get(call.namespace(), name).is_some()
        {
            return Err(Status::already_exists(&call.kind.group, &call.kind.plural, name));
        }
        let mut candidate = settle(call, candidate, None).await?;
        let name = meta::name(&candidate).to_owned();
        if call.context.dry_run {
            if let Some(item) = call.app.cache.of(&call.kind)?.get(call.namespace(), &name) {
                let there = item.object(&call.kind, &call.version);
                return Err(clash(call, &name, meta::deletion_timestamp(&there).is_some()));
            }
            return Ok((201, candidate));
        }
        let claimed = call.app.allocator.claim(turn, None, Some(&candidate), &mut contention).await?;
        let Claimed::All(turn) = claimed else {
            tries += 1;
            continue;
        };
        let mut kept = conversion::stored(call, &candidate).await?;
        let kept = kept.as_mut().unwrap_or(&mut candidate);
        match commit(&target, Some(kept), Expect::Absent, turn).await {
            Ok(revision) => return Ok((201, stamped(candidate, revision))),
            Err(Error::Mismatch(_)) if generate && tries > 0 => {}
            Err(Error::Mismatch(_)) if generate => {
                let mut status = Status::already_exists(&call.kind.group, &call.kind.plural, &name);
                status.message.push_str(", the server was not able to generate a unique name for the object");
                return Err(status);
            }
            Err(Error::Mismatch(existing)) => {
                let there =
                    existing.and_then(|entry| skiff_api::protobuf::stored(&entry.value).ok().flatten());
                let deleting = there.is_some_and(|object| meta::deletion_timestamp(&object).is_some());
                return Err(clash(call, &name, deleting));
            }
            Err(error) => return Err(unavailable(error)),
        }
    }
}

fn clash(call: &Call, name: &str, deleting: bool) -> Status {
    let mut status = Status::already_exists(&call.kind.group, &call.kind.plural, name);
    if deleting {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

/// Answers an update.
pub async fn update(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let mut object = decode(call, request).await?;
    if meta::name(&object).is_empty() && !call.info.subresource.is_empty() {
        object["metadata"]["name"] = call.name().into();
    }
    read::same_name(call, &object)?;
    metadata::settle_namespace(call, &mut object)?;
    let mut tries = PATCH_TRIES;
    loop {
        tries -= 1;
        match change(call, Owners::Tracked, |_: &Value| Ok(object.clone())).await {
            Err(missing) if missing.code == 404 && rules::makes_on_update(&call.kind) => {}
            changed => return read::object(call, 200, &changed?),
        }
        let mut new = object.clone();
        metadata::may_create(call, &mut new).await?;
        match create_object(call, new, Owners::Tracked).await {
            // Another made it in between: then it is changed after all.
            Err(clash) if clash.reason == "AlreadyExists" && tries > 0 => {}
            made => {
                let (code, object) = made?;
                return read::object(call, code, &object);
            }
        }
    }
}

/// Answers a patch.
pub async fn patch(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (sort, bytes, validation) = body::patch(call, request).await?;
    if sort == PatchSort::Apply {
        return apply(call, &owners::read(call, &bytes, validation)?).await;
    }
    let object = change(call, Owners::Tracked, |live: &Value| {
        let mut patched = match sort {
            body::PatchSort::Apply => return Err(Status::not_implemented("a second way to apply")),
            body::PatchSort::Json => patch::json(live, &bytes)?,
            body::PatchSort::Merge => patch::merge(live, &bytes)?,
            body::PatchSort::Strategic => patch::strategic(call.schema(), live, &bytes)?,
        };
        let shown = match sort {
            body::PatchSort::Strategic => patch::go_text(&serde_json::from_slice(&bytes).unwrap_or_default()),
            _ => patched.to_string(),
        };
        body::same_kind(call, &patched)
            .and_then(|()| body::check_fields(call, &mut patched, &body::Source::default(), validation))
            .map_err(|status| body::unpatched(&shown, status))?;
        read::same_name(call, &patched)?;
        metadata::settle_namespace(call, &mut patched)?;
        Ok(patched)
    })
    .await?;
    read::object(call, 200, &object)
}

/// Answers an apply: changes what is there, or creates what is not.
async fn apply(call: &Call, configuration: &owners::Configuration) -> Result<Response<Body>, Status> {
    for _ in 0..PATCH_TRIES {
        let changed = change(call, Owners::Given, Applying { call, configuration });
        match changed.await {
            Err(status) if status.reason == "NotFound" && call.info.subresource.is_empty() => {}
            outcome => return read::object(call, 200, &outcome?),
        }
        let object = owners::apply(call, configuration, None).await?;
        owners::may_create(call).await?;
        match create_object(call, object, Owners::Given).await {
            Err(status) if status.reason == "AlreadyExists" && !call.context.dry_run => {}
            outcome => {
                let (code, object) = outcome?;
                return read::object(call, code, &object);
            }
        }
    }
    Err(Status::modified(&call.kind.group, &call.kind.plural, call.name()))
}

/// What a live object becomes; a function where nothing has to be waited for.
#[async_trait::async_trait]
pub trait Make: Sync {
    /// From what is there to what shall be.
    async fn make(&self, live: &Value) -> Result<Value, Status>;
}

#[async_trait::async_trait]
impl<F: Fn(&Value) -> Result<Value, Status> + Sync> Make for F {
    async fn make(&self, live: &Value) -> Result<Value, Status> {
        self(live)
    }
}

/// What an apply makes of a live object.
struct Applying<'a> {
    call: &'a Call,
    configuration: &'a owners::Configuration,
}

#[async_trait::async_trait]
impl Make for Applying<'_> {
    async fn make(&self, live: &Value) -> Result<Value, Status> {
        owners::apply(self.call, self.configuration, Some(live)).await
    }
}

/// Changes a live object by `make(live) → new`, again from a fresh read if it was computed from
/// an old one. Answers with what is stored then.
pub async fn change(call: &Call, owners: Owners, make: impl Make) -> Result<Value, Status> {
    let mut cached = call.app.cache.of(&call.kind)?.get(call.namespace(), call.name());
    let mut contention = Contention::default();
    for _ in 0..PATCH_TRIES {
        let (live, fresh) = match cached.take() {
            Some(item) => (conversion::item(call, item).await?, false),
            None => (fresh(call).await?.ok_or_else(|| call.not_found())?, true),
        };
        let old = live.object(&call.kind, &call.version);
        let computed = make.make(&old).await.and_then(|new| {
            metadata::check_precondition(call, &new, &old)?;
            Ok(new)
        });
        let computed = match computed {
            Ok(new) => admit(call, new, Some(&old), owners).await,
            refused => refused,
        };
        let turn = call.app.allocator.lock(call).await;
        let computed = match computed {
            Ok(new) => settle(call, new, Some(&old)).await,
            refused => refused,
        };
        // A refusal or a no-op counts only if it was computed from the newest state.
        let mut new = match computed {
            Ok(new) if new == old && !fresh => continue,
            Ok(new) => new,
            Err(_) if !fresh => continue,
            Err(status) => return Err(status),
        };
        let key = call.kind.key(call.namespace(), call.name());
        // What is kept in an old form is written anew though nothing else changes.
        let idle =
            new == old && !live.is_stale() && !call.app.storage.is_stale(&key).await.map_err(unavailable)?;
        if idle || call.context.dry_run {
            return Ok(stamped(new, live.revision));
        }
        let expect = Expect::Revision(live.revision);
        let gone = metadata::is_finished(&call.kind, &new);
        let kept = (!gone).then_some(&new);
        let claimed = call.app.allocator.claim(turn, Some(&old), kept, &mut contention).await?;
        let Claimed::All(turn) = claimed else { continue };
        let mut kept = if gone { None } else { conversion::stored(call, &new).await? };
        let kept = kept.as_mut().unwrap_or(&mut new);
        match commit(call, (!gone).then_some(kept), expect, turn).await {
            Ok(revision) => return Ok(stamped(new, revision)),
            Err(Error::Mismatch(_)) => {}
            Err(error) => return Err(unavailable(error)),
        }
    }
    Err(Status::modified(&call.kind.group, &call.kind.plural, call.name()))
}

/// The newest state of this call's object, from the store itself.
pub async fn fresh(call: &Call) -> Result<Option<Arc<Item>>, Status> {
    let key = call.kind.key(call.namespace(), call.name());
    let (entry, _) = call.app.storage.get(&key).await.map_err(unavailable)?;
    if let Some(why) = entry.as_ref().and_then(|entry| Unreadable::of(&entry.value)) {
        return Err(why.status());
    }
    let root = call.kind.prefix.len() + 2;
    let read = |entry: skiff_storage::Entry| {
        Item::read(&call.kind, &entry.key[root..], &entry.value, entry.revision)
    };
    match entry.and_then(read) {
        Some(item) => conversion::item(call, Arc::new(item)).await.map(Some),
        None => Ok(None),
    }
}

/// From what was decoded to what mutating admission leaves.
async fn admit(call: &Call, mut new: Value, old: Option<&Value>, owners: Owners) -> Result<Value, Status> {
    let schema = call.schema();
    let asks_reset = owners::asks_reset(&new);
    walk::default(schema, &mut new);
    if owners == Owners::Tracked {
        walk::normalise(schema, &mut new);
        owners::track(call, &mut new, old, asks_reset).await?;
    }
    match old {
        None => {
            metadata::create(call, &mut new)?;
            signing_request::create(call, &mut new);
        }
        Some(old) => {
            views::restrict(call, &mut new, old);
            metadata::update(call, &mut new, old)?;
            signing_request::update(call, &mut new, old);
        }
    }
    if !call.admitted {
        let review = review(call, old);
        call.app.admission.mutate(&review, &mut new).await?;
        if review.reinvocation.has_changed() {
            // What this call may not change, no one may change for it.
            metadata::drop_twin_owners(call, &mut new);
            match old {
                Some(old) => views::restrict(call, &mut new, old),
                None => metadata::drop_status(call, &mut new),
            }
        }
    }
    Ok(new)
}

/// From there to what is stored: the server's own part, and all that can refuse it.
async fn settle(call: &Call, mut new: Value, old: Option<&Value>) -> Result<Value, Status> {
    if call.info.subresource.is_empty() {
        call.app.allocator.allocate(call, &mut new, old)?;
    }
    let strategy = skiff_api::strategy::of(&call.kind);
    strategy.prepare(&mut new, old);
    walk::normalise(call.schema(), &mut new);
    if let Some(old) = old {
        // A binding gives a pod what its spec left open; nobody changed what is wanted.
        if call.info.subresource != "binding" {
            metadata::count_generation(&call.kind, call.info.subresource.is_empty(), &mut new, old);
        }
        owners::ignore_times(&mut new, old);
    }
    let compared = old.map(|old| views::compared(call, &new, old));
    let mut errors =
        skiff_api::validate::validate(&call.kind, call.kind_version(), &new, compared.as_deref());
    errors.extend(policy::check(&call.kind, &new));
    if let Some(old) = old {
        errors.extend(views::check(call, &new, old));
        errors.extend(signing_request::check(call, &new, old));
    }
    errors.extend(definition::rules(call, &new, old, &errors));
    let found = skiff_api::validate::check_rules(call.kind_version(), &new, compared.as_deref(), &errors);
    errors.extend(found.errors);
    for warning in found.warnings {
        call.context.warn(warning);
    }
    if !errors.is_empty() {
        let name = meta::name(&new);
        return Err(Status::invalid(&call.kind.group, &call.kind.kind, name, &errors));
    }
    if call.kind.group == crate::security::rbac::GROUP {
        // No one gives away a permission that he has not got.
        let user = &call.context.user;
        call.app.authorizer.read(|roles| roles.check_escalation(user, &call.kind.kind, old, &new))?;
    }
    if !call.admitted {
        call.app.admission.validate(&review(call, old), &new).await?;
    }
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    if old.is_none_or(|old| generation(old) != generation(&new)) {
        for warning in strategy.warnings(&new) {
            call.context.warn(warning);
        }
    }
    if call.kind.inert && old.is_none() {
        call.context.warn(format!(
            "{} is stored and served, but nothing in this cluster acts on it yet",
            call.kind.qualified()
        ));
    }
    Ok(new)
}

fn review<'a>(call: &'a Call, old: Option<&'a Value>) -> Review<'a> {
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    Review::new(call, operation, old, &Value::Null)
}

/// Writes (or, for `None`, deletes) in a task of its own, so that a caller who hangs up cannot
/// tear it. The `turn` of a kind whose writes go one after the other belongs to that task: it ends
/// when the cache shows the write, whatever became of the caller.
pub async fn commit(
    call: &Call,
    object: Option<&mut Value>,
    expect: Expect,
    turn: Option<Turn>,
) -> Result<Revision, Error> {
    let key = call.kind.key(call.namespace(), call.name());
    let op = match object {
        Some(object) => Op::Put { value: stored(call, object).into(), ttl_s: call.kind.ttl_s },
        None => Op::Delete,
    };
    let app = call.app.clone();
    let write = tokio::spawn(async move {
        let written = app.storage.write(&key, expect, op).await;
        if let Some(turn) = turn {
            turn.settle(&written, &app.cache).await;
        }
        written
    });
    write.await.map_err(|error| Error::Unavailable(error.to_string()))?
}

/// The bytes of an object as they are kept: its version is the store's to tell.
fn stored(call: &Call, object: &mut Value) -> Vec<u8> {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    if let Some(presents) = &call.kind.presents {
        return views::stored(call, presents, object.clone());
    }
    if convert::differs(&call.kind, &call.version) {
        let mut object = object.clone();
        convert::store(&call.kind, &call.version, &mut object);
        return serde_json::to_vec(&object).expect("a value is valid JSON");
    }
    // Not `to_string`, which goes through the slower machinery of `Display`.
    serde_json::to_vec(object).expect("a value is valid JSON")
}

fn stamped(mut object: Value, revision: Revision) -> Value {
    object["metadata"]["resourceVersion"] = json!(revision.to_string());
    object
}

impl Call {
    /// The same call for an object of that name.
    pub fn for_name(&self, name: &str) -> Self {
        let mut call = self.clone();
        call.info.name = name.to_owned();
        call
    }
}
