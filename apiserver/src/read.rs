//! Getting and listing, from the cache.

use std::sync::Arc;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skiff_api::selector::{FieldSelector, LabelSelector};
use skiff_api::status::Status;
use skiff_api::{meta, table};
use skiff_storage::{Range, Revision};

use crate::app::Call;
use crate::cache::{Item, unavailable};
use crate::negotiate::{self, Form};

/// Answers a get: from the cache, after it has caught up unless the client takes any version.
pub async fn get(call: &Call) -> Result<Response<Body>, Status> {
    fresh_enough(call).await?;
    let cache = call.app.cache.of(&call.kind)?;
    let item = cache.get(call.namespace(), call.name()).ok_or_else(|| call.not_found())?;
    one(call, 200, &item)
}

/// The answer that carries one cached object.
pub fn one(call: &Call, code: u16, item: &Item) -> Result<Response<Body>, Status> {
    if call.accept.form == Form::Object && !call.accept.yaml {
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
        Form::Metadata => negotiate::value(code, &negotiate::partial(object), accept),
        Form::Table => {
            let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let rows = std::slice::from_ref(object);
            negotiate::value(code, &table_of(call, rows.iter(), meta, true), accept)
        }
    })
}

/// 406.
pub fn not_acceptable() -> Status {
    let types = "application/json, application/yaml";
    Status::new(406, "NotAcceptable", format!("only the following media types are accepted: {types}"))
}

/// A table; columns are left out of watch events after the first.
pub fn table_of<'a>(
    call: &Call,
    objects: impl Iterator<Item = &'a Value>,
    metadata: Value,
    with_columns: bool,
) -> Value {
    let version = call.kind.version(&call.version).expect("the registry matched this version");
    let include = match call.query.get("includeObject") {
        "" => "Metadata",
        other => other,
    };
    let rows: Vec<Value> = objects
        .map(|object| {
            let mut row = json!({"cells": table::row(&call.kind, version, object, call.context.now)});
            match include {
                "None" => {}
                "Object" => row["object"] = object.clone(),
                _ => row["object"] = negotiate::partial(object),
            }
            row
        })
        .collect();
    let columns = if with_columns { json!(table::columns(version)) } else { Value::Null };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
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
            Some(
                LabelSelector::parse(text)
                    .map_err(|error| Status::bad_request(format!("unable to parse requirement: {error}")))?,
            )
        };
        let mut text = call.query.get("fieldSelector").to_owned();
        if !call.info.name.is_empty() {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&format!("metadata.name={}", call.info.name));
        }
        let fields = if text.is_empty() {
            None
        } else {
            let selector =
                FieldSelector::parse(&text).map_err(|error| Status::bad_request(error.to_string()))?;
            for path in selector.paths() {
                let known = matches!(path, "metadata.name" | "metadata.namespace")
                    || call.kind.selectable.iter().any(|selectable| selectable == path);
                if !known {
                    return Err(Status::bad_request(format!(
                        "Unable to find {:?} that match label selector {:?}, field selector {text:?}: \
                         field label not supported: {path}",
                        format!("{}, Kind={}", call.kind.api_version(&call.version), call.kind.kind),
                        call.query.get("labelSelector"),
                    )));
                }
            }
            Some(selector)
        };
        Ok(Self { namespace: call.namespace().to_owned(), labels, fields })
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
    let found = find(call).await?;
    let mut metadata = json!({"resourceVersion": found.revision.to_string()});
    if let Some(token) = found.token {
        metadata["continue"] = token.into();
        if let Some(remaining) = found.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let api_version = call.kind.api_version(&call.version);
    Ok(match call.accept.form {
        Form::Object if !call.accept.yaml => {
            let head = json!({"kind": call.kind.list_kind, "apiVersion": api_version, "metadata": metadata});
            negotiate::json(200, join(&head, &found.items))
        }
        form => {
            let objects: Vec<Value> =
                found.items.iter().map(|item| item.object(&call.kind, &call.version)).collect();
            let value = match form {
                Form::Table => table_of(call, objects.iter(), metadata, true),
                Form::Metadata => json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata,
                    "items": objects.iter().map(negotiate::partial).collect::<Vec<_>>(),
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

fn join(head: &Value, items: &[Arc<Item>]) -> Bytes {
    let mut out = head.to_string().into_bytes();
    out.pop();
    out.reserve(items.iter().map(|item| item.body.len() + 1).sum::<usize>() + 16);
    out.extend_from_slice(b",\"items\":[");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&item.body);
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

/// Where a list goes on: upstream's token, so that clients may even change servers.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

async fn find(call: &Call) -> Result<Found, Status> {
    let selection = Selection::of(call)?;
    let limit = match call.query.get("limit") {
        "" => 0,
        text => text.parse::<i64>().map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?,
    };
    let limit = usize::try_from(limit).unwrap_or(0);
    let token = call.query.get("continue");
    if !token.is_empty() {
        return resume(call, &selection, limit, token).await;
    }
    let asked = revision_of(call)?;
    match call.query.get("resourceVersionMatch") {
        "" | "NotOlderThan" => fresh_enough(call).await?,
        "Exact" => {
            call.app.cache.catch_up().await?;
            return from_store(call, &selection, limit, None, asked, false).await;
        }
        other => {
            return Err(Status::bad_request(format!(
                "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \
                 \"NotOlderThan\""
            )));
        }
    }
    let snapshot = call.app.cache.of(&call.kind)?.snapshot();
    let mut items = Vec::new();
    let mut more = 0u64;
    let start = if call.namespace().is_empty() { String::new() } else { format!("{}/", call.namespace()) };
    for (key, item) in snapshot.items.range(Arc::from(start.as_str())..) {
        if !key.starts_with(&start) {
            break;
        }
        if selection.takes(call, item) {
            if limit > 0 && items.len() == limit {
                more += 1;
                continue;
            }
            items.push(item.clone());
        }
    }
    let revision = snapshot.revision;
    let token = (more > 0).then(|| token_after(items.last().map_or("", |item| &item.key), revision));
    let selective = selection.labels.is_some() || selection.fields.is_some();
    Ok(Found { items, revision, token, remaining: (!selective).then_some(more) })
}

fn token_after(key: &str, revision: Revision) -> String {
    let token = Token {
        v: TOKEN_VERSION.into(),
        rv: i64::try_from(revision).unwrap_or(-1),
        start: format!("{key}\0"),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data"))
}

async fn resume(call: &Call, selection: &Selection, limit: usize, token: &str) -> Result<Found, Status> {
    let bad = |why: String| Status::bad_request(format!("continue key is not valid: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| bad(error.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    if token.v != TOKEN_VERSION {
        return Err(bad(format!("server does not recognize this encoded version {:?}", token.v)));
    }
    let after = token.start.trim_end_matches('\0');
    if after.split('/').any(|part| part == "..") {
        return Err(bad("the key leaves its kind".into()));
    }
    // A negative revision means: from this key on, as things are now.
    let at = Revision::try_from(token.rv).unwrap_or(0);
    from_store(call, selection, limit, Some(after.to_owned()), at, true).await
}

/// Lists from the store's history: what the cache no longer shows.
async fn from_store(
    call: &Call,
    selection: &Selection,
    limit: usize,
    after: Option<String>,
    at: Revision,
    continued: bool,
) -> Result<Found, Status> {
    let namespace = call.namespace();
    let root = format!("/{}/", call.kind.prefix);
    let prefix = if namespace.is_empty() { root.clone() } else { format!("{root}{namespace}/") };
    let mut after = after.map(|key| format!("{root}{key}"));
    let mut items = Vec::new();
    let mut revision = at;
    loop {
        // One more than asked for tells whether a token is needed.
        let chunk = if limit == 0 { 0 } else { limit + 1 };
        let range = Range { after: after.clone(), limit: chunk, at: (at > 0).then_some(at) };
        let page = call.app.storage.list(&prefix, range).await.map_err(|error| match error {
            skiff_storage::Error::Compacted { .. } if continued => expired_token(after.as_deref(), &root),
            other => unavailable(other),
        })?;
        revision = revision.max(page.revision);
        for entry in &page.entries {
            let Some(item) = Item::read(&call.kind, &entry.key[root.len()..], &entry.value, entry.revision)
            else {
                continue;
            };
            if !selection.takes(call, &item) {
                continue;
            }
            if limit > 0 && items.len() == limit {
                let last: &Arc<Item> = &items[limit - 1];
                let token = Some(token_after(&last.key, revision));
                let remaining = page.remaining.map(|remaining| remaining + 1);
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
    let token = Token { v: TOKEN_VERSION.into(), rv: -1, start: format!("{key}\0") };
    let token = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data"));
    status.continue_token = Some(token);
    status
}

/// The `resourceVersion` of a call; 0 if it has none.
pub fn revision_of(call: &Call) -> Result<Revision, Status> {
    match call.query.get("resourceVersion") {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            let bad = Value::from(text);
            let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            let error = skiff_api::status::FieldError::invalid("resourceVersion", bad, why);
            Status::invalid(&call.kind.group, &call.kind.kind, "", &[error])
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
    if name != call.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    Ok(())
}
