//! Getting and listing, from the cache.

mod token;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use skiff_api::selector::{FieldSelector, LabelSelector};
use skiff_api::status::Status;
use skiff_api::{meta, table};
use skiff_storage::{Range, Revision};

use crate::app::Call;
use crate::cache::{Item, shows_otherwise, unavailable};
use crate::conversion;
use crate::encryption::Unreadable;
use crate::negotiate::{self, Form};
use crate::options::{self, Match};

/// Answers a get: from the cache, after it has caught up unless the client takes any version.
pub async fn get(call: &Call) -> Result<Response<Body>, Status> {
    fresh_enough(call).await?;
    let cache = call.app.cache.of(&call.kind)?;
    let Some(item) = cache.get(call.namespace(), call.name()) else {
        cache.check_readable(call.namespace(), call.name())?;
        return Err(call.not_found());
    };
    one(call, 200, &*conversion::item(call, item).await?)
}

/// The answer that carries one cached object.
pub fn one(call: &Call, code: u16, item: &Item) -> Result<Response<Body>, Status> {
    if call.accept.form == Form::Object && call.accept.is_json() {
        return Ok(negotiate::json(code, item.whole(&call.kind, &call.version)));
    }
    object(call, code, &item.object(&call.kind, &call.version))
}

/// The answer that carries one object.
pub fn object(call: &Call, code: u16, object: &Value) -> Result<Response<Body>, Status> {
    let accept = &call.accept;
    if accept.refused {
        return Err(not_acceptable());
    }
    Ok(match accept.form {
        Form::Object => negotiate::value(code, object, accept),
        Form::Metadata if accept.list => {
            let group = negotiate::package(&call.kind.group);
            let what = format!("not a list (*{group}.{})", call.kind.kind);
            return Err(negotiate::wrong_form("PartialObjectMetadataList", &what));
        }
        Form::Metadata => negotiate::value(code, &accept.partial(object), accept),
        Form::Table => {
            let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let rows = std::slice::from_ref(object);
            negotiate::value(code, &table_of(call, rows.iter(), meta, true)?, accept)
        }
    })
}

/// 406.
pub fn not_acceptable() -> Status {
    let types = crate::write::MEDIA_TYPES;
    Status::new(406, "NotAcceptable", format!("only the following media types are accepted: {types}"))
}

/// A table; columns are left out of watch events after the first.
pub fn table_of<'a>(
    call: &Call,
    objects: impl Iterator<Item = &'a Value>,
    metadata: Value,
    with_columns: bool,
) -> Result<Value, Status> {
    let version = call.kind.version(&call.version).expect("the registry matched this version");
    let include = call.query.get("includeObject");
    if !matches!(include, "" | "None" | "Metadata" | "Object") {
        return Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {include:?}: must be \
             'Metadata', 'Object', 'None', or empty"
        )));
    }
    let rows: Vec<Value> = objects
        .map(|object| {
            let mut row = json!({"cells": table::row(&call.kind, version, object, call.context.now)});
            row["object"] = match include {
                "None" => Value::Null,
                "Object" => object.clone(),
                _ => call.accept.partial(object),
            };
            row
        })
        .collect();
    let columns = if with_columns { json!(table::columns(version)) } else { Value::Null };
    Ok(json!({
        "kind": "Table", "apiVersion": call.accept.meta_version(), "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    }))
}

/// What a list or a watch selects.
pub struct Selection {
    namespace: String,
    labels: Option<LabelSelector>,
    fields: Option<FieldSelector>,
}

impl Selection {
    /// Reads the selectors of a call; a name in the path selects that object.
    pub fn of(call: &Call) -> Result<Self, Status> {
        let text = call.query.get("labelSelector");
        let labels = if text.is_empty() {
            None
        } else {
            Some(LabelSelector::parse(text).map_err(|error| Status::bad_request(error.to_string()))?)
        };
        let text = call.query.get("fieldSelector");
        let mut fields = None;
        if !text.is_empty() {
            let selector =
                FieldSelector::parse(text).map_err(|error| Status::bad_request(error.to_string()))?;
            for path in selector.paths() {
                let known = matches!(path, "metadata.name" | "metadata.namespace")
                    || call.kind.selectable.iter().any(|selectable| selectable == path);
                if !known && call.kind.selectable.is_empty() {
                    return Err(Status::bad_request(format!(
                        "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )));
                } else if !known {
                    return Err(Status::bad_request(format!("field label not supported: {path}")));
                }
            }
            fields = Some(selector);
        }
        let name = &call.info.name;
        if !name.is_empty() {
            match &fields {
                Some(fields) if fields.exact("metadata.name") != Some(name.as_str()) => {
                    let why = "fieldSelector metadata.name doesn't match requested name";
                    return Err(Status::bad_request(why));
                }
                Some(_) => {}
                None => fields = Some(FieldSelector::equal("metadata.name", name)),
            }
        }
        Ok(Self { namespace: call.namespace().to_owned(), labels, fields })
    }

    /// Whether nothing but the namespace selects.
    fn takes_all(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether an object is selected.
    pub fn takes(&self, call: &Call, item: &Item) -> bool {
        (self.namespace.is_empty() || item.namespace() == self.namespace)
            && self.labels.as_ref().is_none_or(|labels| labels.matches(&item.labels))
            && self.fields.as_ref().is_none_or(|fields| {
                fields.matches(|path| match path {
                    "metadata.name" => item.name().to_owned(),
                    "metadata.namespace" => item.namespace().to_owned(),
                    _ => {
                        let at = call.kind.selectable.iter().position(|selectable| selectable == path);
                        at.and_then(|at| item.fields.get(at)).cloned().unwrap_or_default()
                    }
                })
            })
    }
}

/// Answers a list.
pub async fn list(call: &Call) -> Result<Response<Body>, Status> {
    if call.accept.refused {
        return Err(not_acceptable());
    }
    if call.accept.form == Form::Metadata && !call.accept.list {
        let group = negotiate::package(&call.kind.group);
        return Err(negotiate::wrong_form(
            "PartialObjectMetadata",
            &format!("a list (*{group}.{})", call.kind.list_kind),
        ));
    }
    let mut found = find(call).await?;
    found.items = conversion::items(&call.app, &call.kind, found.items, &call.version).await?;
    let mut metadata = json!({"resourceVersion": found.revision.to_string()});
    if let Some(token) = found.token {
        metadata["continue"] = token.into();
        if let Some(remaining) = found.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let api_version = call.kind.api_version(&call.version);
    Ok(match call.accept.form {
        Form::Object if call.accept.is_json() && !shows_otherwise(&call.kind, &call.version) => {
            let head = json!({"kind": call.kind.list_kind, "apiVersion": api_version, "metadata": metadata});
            negotiate::json(200, join(call, &head, &found.items))
        }
        form => {
            let mut objects: Vec<Value> =
                found.items.iter().map(|item| item.object(&call.kind, &call.version)).collect();
            if form == Form::Object && !is_custom(call) {
                for object in objects.iter_mut().filter_map(Value::as_object_mut) {
                    object.retain(|key, _| key != "kind" && key != "apiVersion");
                }
            }
            let value = match form {
                Form::Table => table_of(call, objects.iter(), metadata, true)?,
                Form::Metadata => json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": call.accept.meta_version(),
                    "metadata": metadata,
                    "items": objects.iter().map(|object| call.accept.partial(object)).collect::<Vec<_>>(),
                }),
                Form::Object => json!({
                    "kind": call.kind.list_kind, "apiVersion": api_version,
                    "metadata": metadata, "items": objects,
                }),
            };
            negotiate::value(200, &value, &call.accept)
        }
    })
}

/// Whether a kind is a user's own. Each item of a list of these says what it is, as upstream.
fn is_custom(call: &Call) -> bool {
    call.kind.stored().validator.is_some()
}

fn join(call: &Call, head: &Value, items: &[Arc<Item>]) -> Bytes {
    let whole = is_custom(call);
    let mut out = head.to_string().into_bytes();
    out.pop();
    out.reserve(items.iter().map(|item| item.body.len() + 1).sum::<usize>() + 16);
    out.extend_from_slice(b",\"items\":[");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if whole {
            item.write_whole(&call.kind, &call.version, &mut out);
        } else {
            out.extend_from_slice(&item.body);
        }
    }
    out.extend_from_slice(b"]}");
    out.into()
}

struct Found {
    items: Vec<Arc<Item>>,
    revision: Revision,
    token: Option<String>,
    remaining: Option<u64>,
}

/// What is selected, in the version that the call asks for.
async fn find(call: &Call) -> Result<Found, Status> {
    let options = options::list(&call.query, false)?;
    let selection = Selection::of(call)?;
    let asked = revision_of(call)?;
    let from_history = |after, at, continued| {
        from_store(call, &selection, History { limit: options.limit, after, at, continued })
    };
    if !options.continue_token.is_empty() {
        if asked > 0 {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(why));
        }
        let root = &root_of(call);
        let from = token::decode(&options.continue_token)
            .map_err(|why| Status::bad_request(format!("invalid continue token: {why}")))?;
        // A negative revision means: from this key on, as things are now.
        let at = Revision::try_from(from.revision).unwrap_or(0);
        return from_history(Some(format!("{root}{}", from.key)), at, true).await;
    }
    // A page of a version that is named shows that version, unless the client says otherwise.
    let exact = options.matching == Match::Exact
        || (options.matching == Match::Unset && asked > 0 && options.limit > 0);
    if exact {
        call.app.cache.catch_up().await?;
        return from_history(None, asked, false).await;
    }
    fresh_enough(call).await?;
    let snapshot = call.app.cache.of(&call.kind)?.snapshot();
    let mut items: Vec<Arc<Item>> = Vec::new();
    let mut more = 0u64;
    let start = if call.namespace().is_empty() { String::new() } else { format!("{}/", call.namespace()) };
    // As upstream: a list that leaves out what it cannot read would be taken for the whole.
    let unreadable = snapshot.unreadable.range(Arc::from(start.as_str())..).next();
    if let Some((key, why)) = unreadable.filter(|(key, _)| key.starts_with(&start)) {
        return Err(why.status_at(&format!("/{}/{key}", call.kind.prefix)));
    }
    for (key, item) in snapshot.items.range(Arc::from(start.as_str())..) {
        if !key.starts_with(&start) {
            break;
        }
        if selection.takes(call, item) {
            if options.limit > 0 && items.len() == options.limit {
                more += 1;
                continue;
            }
            items.push(item.clone());
        }
    }
    let revision = snapshot.revision;
    let after = items.last().map_or("", |item| &item.key[start.len()..]);
    let token = (more > 0).then(|| token::encode(after, revision));
    Ok(Found { items, revision, token, remaining: selection.takes_all().then_some(more) })
}

/// The prefix of all that a list of this call may show, in the store.
fn root_of(call: &Call) -> String {
    match call.namespace() {
        "" => format!("/{}/", call.kind.prefix),
        namespace => format!("/{}/{namespace}/", call.kind.prefix),
    }
}

/// Which part of the store's history a list shows.
struct History {
    limit: usize,
    after: Option<String>,
    /// 0 is now.
    at: Revision,
    continued: bool,
}

/// Lists from the store's history: what the cache no longer shows.
async fn from_store(call: &Call, selection: &Selection, history: History) -> Result<Found, Status> {
    let History { limit, mut after, at, continued } = history;
    let root = root_of(call);
    let kind_root = call.kind.prefix.len() + 2;
    let cache = call.app.cache.of(&call.kind)?;
    let mut items: Vec<Arc<Item>> = Vec::new();
    let mut revision = at;
    loop {
        // One more than asked for tells whether a token is needed.
        let chunk = if limit == 0 { 0 } else { limit + 1 };
        let range = Range { after: after.clone(), limit: chunk, at: (at > 0).then_some(at) };
        let page = call.app.storage.list(&root, range).await.map_err(|error| match error {
            skiff_storage::Error::Compacted { .. } if continued => expired_token(after.as_deref(), &root),
            skiff_storage::Error::Future { asked, newest } => Status::too_large_version(asked, newest),
            other => unavailable(other),
        })?;
        revision = revision.max(page.revision);
        for entry in &page.entries {
            if let Some(why) = Unreadable::of(&entry.value) {
                return Err(why.status_at(&entry.key));
            }
            let Some(item) = Item::read(cache.kind(), &entry.key[kind_root..], &entry.value, entry.revision)
            else {
                continue;
            };
            if !selection.takes(call, &item) {
                continue;
            }
            if limit > 0 && items.len() == limit {
                let last = format!("/{}/{}", call.kind.prefix, items[limit - 1].key);
                let token = Some(token::encode(&last[root.len()..], revision));
                let remaining = page.remaining.map(|remaining| remaining + 1);
                let remaining = remaining.filter(|_| selection.takes_all());
                return Ok(Found { items, revision, token, remaining });
            }
            items.push(Arc::new(item));
        }
        if !page.more {
            return Ok(Found { items, revision, token: None, remaining: None });
        }
        after = page.entries.last().map(|entry| entry.key.clone());
    }
}

/// 410 with a token that goes on from the same key in the present.
fn expired_token(after: Option<&str>, root: &str) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a \
         new list without the continue parameter, or use the continue token in this response to retrieve \
         the remainder of the results. Continuing with the provided token results in an inconsistent list \
         - objects that were created, modified, or deleted between the time the first chunk was returned \
         and now may show up in the list.",
    );
    let key = after.and_then(|after| after.strip_prefix(root)).unwrap_or_default();
    status.continue_token = Some(token::present(key));
    status
}

/// The `resourceVersion` of a call; 0 if it has none.
pub fn revision_of(call: &Call) -> Result<Revision, Status> {
    match call.query.get("resourceVersion") {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            let error = skiff_api::status::FieldError::invalid("resourceVersion", text, why);
            if call.info.verb == "list" {
                return Status::bad_request(format!("invalid resource version: {error}"));
            }
            // Upstream gives neither a reason nor a better code.
            Status::new(500, "", error.to_string())
        }),
    }
}

/// Waits until the cache is as new as the call demands: unset is newest, 0 is anything.
async fn fresh_enough(call: &Call) -> Result<(), Status> {
    match call.query.get("resourceVersion") {
        "" => call.app.cache.catch_up().await,
        _ => call.app.cache.reach(revision_of(call)?).await,
    }
}

/// Checks that an object's metadata names what the path names.
pub fn same_name(call: &Call, object: &Value) -> Result<(), Status> {
    let name = meta::name(object);
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name()
        )));
    }
    if name != call.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    Ok(())
}
