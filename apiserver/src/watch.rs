//! Watching: a list that goes on as a stream of changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::Response;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use skiff_api::status::Status;
use skiff_api::{protobuf, walk};
use skiff_storage::Revision;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::app::Call;
use crate::cache::{Change, Item, KindCache};
use crate::conversion;
use crate::negotiate::{self, Encoding, Form};
use crate::read::{self, Selection};
use crate::{metrics, options};

/// How often a client that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// How long a watch lasts if the client does not say.
const DEFAULT_TIMEOUT_S: u64 = 1800;

/// Answers a watch.
pub async fn watch(call: &Call) -> Result<Response<Body>, Status> {
    if call.accept.refused || call.accept.encoding == Encoding::Yaml {
        let types = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        let text = format!("only the following media types are accepted: {types}");
        return Err(Status::new(406, "NotAcceptable", text));
    }
    let protobuf = call.accept.in_protobuf(&call.kind.api_version(&call.version), &call.kind.kind)?;
    let options = options::list(&call.query, true)?;
    let selection = Selection::of(call)?;
    let cache = call.app.cache.of(&call.kind)?;
    let asked = read::revision_of(call)?;
    if options.resource_version.is_empty() || (options.initial_events && asked == 0) {
        call.app.cache.catch_up().await?;
    } else if asked > 0 && options.initial_events {
        call.app.cache.reach(asked).await?;
    }
    let timeout_s = if options.timeout_s == 0 { DEFAULT_TIMEOUT_S } else { options.timeout_s };
    let mut bookmarks = tokio::time::interval(BOOKMARK_EVERY);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    bookmarks.reset();
    let mut watcher = Watcher {
        call: call.clone(),
        selection,
        revisions: cache.subscribe(),
        cache,
        after: asked,
        pending: VecDeque::new(),
        bookmarks: options.bookmarks.then_some(bookmarks),
        until: Instant::now() + Duration::from_secs(timeout_s),
        bookmark_due: false,
        columns_sent: false,
        ended: false,
        protobuf,
        sent: call.app.metrics.watch_events(&call.info),
        _open: call.app.metrics.long_running(&metrics::labels(&call.info, true, false)),
    };
    // Without a version, or from 0, a watch begins with what is there, as made-up additions.
    if options.initial_events {
        watcher.begin(options.bookmarks).await?;
    } else if asked == 0 {
        watcher.after = watcher.cache.snapshot().revision;
    }
    let frames = stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), watcher))
    });
    let media = if protobuf { PROTOBUF_STREAM } else { "application/json" };
    Ok(negotiate::encoded(200, Body::from_stream(frames), media))
}

/// A change as one watcher sees it.
struct Event {
    sort: &'static str,
    item: Arc<Item>,
    /// When it went, if it did.
    gone: Option<Revision>,
}

struct Watcher {
    call: Call,
    selection: Selection,
    cache: Arc<KindCache>,
    revisions: tokio::sync::watch::Receiver<Revision>,
    after: Revision,
    pending: VecDeque<Bytes>,
    bookmarks: Option<Interval>,
    until: Instant,
    bookmark_due: bool,
    columns_sent: bool,
    ended: bool,
    /// Whether frames are protobuf; lines of JSON otherwise.
    protobuf: bool,
    sent: Counter,
    _open: metrics::Open,
}

impl Watcher {
    async fn begin(&mut self, mark_end: bool) -> Result<(), Status> {
        let snapshot = self.cache.snapshot();
        let taken = snapshot.items.values().filter(|item| self.selection.takes(&self.call, item));
        let items = taken.cloned().collect();
        let call = &self.call;
        for item in conversion::items(&call.app, &call.kind, items, &call.version).await? {
            let frame = self.frame("ADDED", &item);
            self.pending.push_back(frame);
        }
        self.after = snapshot.revision;
        if mark_end {
            let frame = self.bookmark(true);
            self.pending.push_back(frame);
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                // Frames that wait are sent in one piece: fewer wake-ups for both sides.
                if self.pending.is_empty() {
                    return Some(frame);
                }
                let mut batch = frame.to_vec();
                while batch.len() < 64 << 10
                    && let Some(frame) = self.pending.pop_front()
                {
                    batch.extend_from_slice(&frame);
                }
                return Some(batch.into());
            }
            if self.ended {
                return None;
            }
            self.revisions.borrow_and_update();
            self.gather().await;
            // A quiet kind wakes nobody: how far it is has only just been asked.
            if self.pending.is_empty() && std::mem::take(&mut self.bookmark_due) {
                let frame = self.bookmark(false);
                self.pending.push_back(frame);
            }
            if !self.pending.is_empty() {
                continue;
            }
            let shutdown = self.call.app.shutdown.clone();
            tokio::select! {
                changed = self.revisions.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.until) => self.ended = true,
                () = shutdown.cancelled() => self.ended = true,
                () = self.cache.ended() => {
                    // What came before the end is still told.
                    self.gather().await;
                    self.ended = true;
                }
                () = tick(&mut self.bookmarks) => self.bookmark_due = true,
            }
        }
    }

    /// Makes frames of what has changed since they were made last.
    async fn gather(&mut self) {
        match self.cache.changes(self.after) {
            Ok((changes, revision)) => {
                let events: Vec<_> = changes.iter().filter_map(|change| self.event(change)).collect();
                let items = events.iter().map(|event| event.item.clone()).collect();
                let call = &self.call;
                match conversion::items(&call.app, &call.kind, items, &call.version).await {
                    Ok(items) => {
                        for (Event { sort, gone, .. }, item) in events.into_iter().zip(items) {
                            let item =
                                gone.map_or(item.clone(), |revision| Arc::new(item.deleted_at(revision)));
                            let frame = self.frame(sort, &item);
                            self.pending.push_back(frame);
                        }
                        self.after = revision.max(self.after);
                    }
                    Err(status) => {
                        self.pending.push_back(self.made("ERROR", status.to_object()));
                        self.ended = true;
                    }
                }
            }
            Err(_) => {
                let text = format!("too old resource version: {}", self.after);
                let status = Status::expired(text).to_object();
                self.pending.push_back(self.made("ERROR", status));
                self.ended = true;
            }
        }
    }

    /// What a change is to this watcher: objects may enter and leave its selection.
    fn event(&self, change: &Change) -> Option<Event> {
        let takes = |item: &Option<Arc<Item>>| {
            item.as_ref().filter(|item| self.selection.takes(&self.call, item)).cloned()
        };
        let event = |sort, item, gone| Some(Event { sort, item, gone });
        match (takes(&change.old), takes(&change.new)) {
            (None, None) => None,
            (None, Some(new)) => event("ADDED", new, None),
            (Some(_), Some(new)) => event("MODIFIED", new, None),
            (Some(old), None) => event("DELETED", old, Some(change.revision)),
        }
    }

    fn frame(&mut self, event: &str, item: &Item) -> Bytes {
        self.sent.inc();
        let call = &self.call;
        match call.accept.form {
            Form::Object if self.protobuf => self.made(event, item.object(&call.kind, &call.version)),
            Form::Object => {
                let mut out = Vec::with_capacity(item.body.len() + 128);
                out.extend_from_slice(format!("{{\"type\":\"{event}\",\"object\":").as_bytes());
                item.write_whole(&call.kind, &call.version, &mut out);
                out.extend_from_slice(b"}\n");
                out.into()
            }
            Form::Metadata => {
                let object = item.object(&call.kind, &call.version);
                self.made(event, call.accept.partial(&object))
            }
            Form::Table => {
                let object = item.object(&call.kind, &call.version);
                let meta = json!({"resourceVersion": item.revision.to_string()});
                let first = !std::mem::replace(&mut self.columns_sent, true);
                let table = read::table_of(call, std::iter::once(&object), meta, first)
                    .unwrap_or_else(|status| status.to_object());
                self.made(event, table)
            }
        }
    }

    /// The frame of an object that was made for this watcher.
    fn made(&self, event: &str, object: Value) -> Bytes {
        if self.protobuf {
            match protobuf::encode(&object) {
                Ok(bytes) => return protobuf::frame(event, &bytes).into(),
                // A stored value that does not fit its type; the watch goes on without it.
                Err(error) => tracing::warn!(%error, "an object has no protobuf form"),
            }
            return Bytes::new();
        }
        let mut out =
            serde_json::to_vec(&json!({"type": event, "object": object})).expect("a value is valid JSON");
        out.push(b'\n');
        out.into()
    }

    fn bookmark(&self, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.after.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let call = &self.call;
        let object = match call.accept.form {
            Form::Object => {
                let mut object = json!({
                    "kind": call.kind.kind, "apiVersion": call.kind.api_version(&call.version),
                    "metadata": metadata,
                });
                walk::normalise(call.schema(), &mut object);
                object
            }
            Form::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": call.accept.meta_version(), "metadata": metadata,
            }),
            Form::Table => json!({
                "kind": "Table", "apiVersion": call.accept.meta_version(),
                "metadata": {"resourceVersion": metadata["resourceVersion"]}, "columnDefinitions": null,
                // A bookmark's row has no cells; its metadata carry the annotation.
                "rows": [{"cells": null, "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": call.accept.meta_version(),
                    "metadata": metadata,
                }}],
            }),
        };
        self.made("BOOKMARK", object)
    }
}

async fn tick(bookmarks: &mut Option<Interval>) {
    match bookmarks {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
