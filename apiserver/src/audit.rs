//! What happened: every request that the policy names, to a file and to a webhook.
//!
//! A request that is recorded has a [`Record`], which its context carries: whoever learns something of the
//! request (a plugin, the authorizer) adds an annotation. An event is made from it at each stage. Events
//! are in the file before the answer is sent; what goes to a webhook is gathered and sent later.

mod event;
mod log;
mod policy;
mod webhook;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use skiff_api::meta;
use skiff_api::status::Status;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::security::{Attributes, User};
use event::{Event, ObjectRef, Person, micro};
pub use event::{Level, Stage};
pub use log::{Log, LogOptions};
pub use policy::{Measure, Policy};
pub use webhook::{Webhook, WebhookOptions};

/// The id of a request, which a client may choose and every answer names.
pub const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// The longest `User-Agent` that is recorded, in bytes, as upstream.
const AGENT_MAX: usize = 1024;
/// The longest id that a client may choose, in bytes.
const ID_MAX: usize = 64;
/// The longest answer that is looked at to see whether it is a `Status`, in bytes.
const STATUS_MAX: usize = 512;
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What the API server is told about auditing.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is recorded; nothing if there is none.
    pub policy: Option<Policy>,
    /// Where to, if to a file.
    pub log: Option<LogOptions>,
    /// Where to, if to a server outside.
    pub webhook: Option<WebhookOptions>,
}

/// The policy and where events go.
#[derive(Default)]
pub struct Audit {
    policy: Option<Policy>,
    log: Option<Log>,
    webhook: Option<Webhook>,
}

/// The address that a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl Audit {
    /// Opens what events are written to.
    pub fn new(options: &Options, cache: &Arc<Cache>, shutdown: &CancellationToken) -> anyhow::Result<Self> {
        let log = options.log.clone().map(Log::open).transpose()?;
        let webhook = options.webhook.clone();
        let webhook = webhook.map(|webhook| Webhook::start(webhook, cache, shutdown.clone())).transpose()?;
        if (log.is_some() || webhook.is_some()) && options.policy.is_none() {
            tracing::warn!("without an audit policy no request is recorded");
        }
        Ok(Self { policy: options.policy.clone(), log, webhook })
    }

    /// Begins the record of a request, if the policy wants one.
    pub fn begin(
        self: &Arc<Self>,
        request: &Attributes<'_>,
        id: &str,
        sent: &Request<Body>,
        received: Timestamp,
    ) -> Option<Arc<Record>> {
        if self.log.is_none() && self.webhook.is_none() {
            return None;
        }
        let measure = self.policy.as_ref()?.measure(request);
        if measure.level == Level::None {
            return None;
        }
        let text = |name| sent.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut agent = text(header::USER_AGENT).to_owned();
        if agent.len() > AGENT_MAX {
            agent.truncate(AGENT_MAX);
            agent.push_str("...TRUNCATED");
        }
        let object_ref = request.resource_request.then(|| ObjectRef {
            resource: request.resource.to_owned(),
            namespace: request.namespace.to_owned(),
            name: request.name.to_owned(),
            api_group: request.group.to_owned(),
            api_version: request.version.to_owned(),
            subresource: request.subresource.to_owned(),
            ..ObjectRef::default()
        });
        let record = Record {
            audit: self.clone(),
            measure,
            id: id.to_owned(),
            uri: sent.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            verb: request.verb.to_owned(),
            user: request.user.clone(),
            source_ips: source_ips(sent.headers(), sent.extensions().get::<Peer>()),
            agent,
            received: micro(received),
            state: Mutex::new(State { object_ref, ..State::default() }),
        };
        record.emit(Stage::RequestReceived);
        Some(Arc::new(record))
    }
}

/// The id that a client chose, or a fresh one.
pub fn id(headers: &HeaderMap) -> String {
    let chosen = headers.get(AUDIT_ID).and_then(|value| value.to_str().ok());
    match chosen.filter(|text| !text.is_empty() && text.len() <= ID_MAX) {
        Some(text) => text.to_owned(),
        None => uuid::Uuid::new_v4().to_string(),
    }
}

/// Where a request came from: what proxies say, then the connection's own end, each once.
fn source_ips(headers: &HeaderMap, peer: Option<&Peer>) -> Vec<String> {
    let named = ["x-forwarded-for", "x-real-ip"].into_iter().find_map(|name| {
        let text = headers.get(name)?.to_str().ok()?;
        let ips: Vec<String> = text
            .split(',')
            .filter_map(|part| part.trim().parse::<IpAddr>().ok())
            .map(|ip| ip.to_string())
            .collect();
        (!ips.is_empty()).then_some(ips)
    });
    let mut ips = named.unwrap_or_default();
    let own = peer.map(|peer| peer.0.to_canonical().to_string());
    ips.extend(own.filter(|own| ips.last() != Some(own)).into_iter().collect::<Vec<_>>());
    ips
}

/// What is known of one request.
pub struct Record {
    audit: Arc<Audit>,
    measure: Measure,
    id: String,
    uri: String,
    verb: String,
    user: User,
    source_ips: Vec<String>,
    agent: String,
    received: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    impersonated: Option<User>,
    object_ref: Option<ObjectRef>,
    status: Option<Box<RawValue>>,
    request: Option<Box<RawValue>>,
    response: Option<Box<RawValue>>,
    annotations: BTreeMap<String, String>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Record").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Record {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says as whom the request acts.
    pub fn impersonates(&self, user: &User) {
        self.state().impersonated = Some(user.clone());
    }

    /// Adds what is known; of two values for one key the first stays.
    pub fn annotate(&self, key: &str, value: &str) {
        self.state().annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// The object that was sent, or the options of a delete.
    pub fn request_object(&self, object: &Value) {
        let mut state = self.state();
        let about = state.object_ref.get_or_insert_default();
        let fill = |field: &mut String, text: &str| {
            if field.is_empty() {
                text.clone_into(field);
            }
        };
        fill(&mut about.namespace, meta::namespace(object));
        fill(&mut about.name, meta::name(object));
        fill(&mut about.uid, meta::uid(object));
        fill(&mut about.resource_version, meta::resource_version(object));
        if self.measure.level >= Level::Request {
            state.request = self.raw(object);
        }
    }

    /// The patch that was sent.
    pub fn request_patch(&self, patch: &[u8]) {
        if self.measure.level < Level::Request {
            return;
        }
        let object = skiff_api::yaml::decode_one(patch, true).ok();
        self.state().request = object.and_then(|(object, _)| to_raw_value(&object).ok());
    }

    fn raw(&self, object: &Value) -> Option<Box<RawValue>> {
        if !self.measure.omit_managed_fields {
            return to_raw_value(object).ok();
        }
        let mut object = object.clone();
        let items = object.get_mut("items").and_then(Value::as_array_mut);
        let items = items.into_iter().flatten().collect::<Vec<_>>();
        let drop = |object: &mut Value| {
            object.get_mut("metadata").and_then(Value::as_object_mut).map(|all| all.remove("managedFields"));
        };
        items.into_iter().for_each(drop);
        drop(&mut object);
        to_raw_value(&object).ok()
    }

    fn refused(&self, status: &Status) {
        let mut object = status.to_object();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        self.state().status = to_raw_value(&object).ok();
    }

    /// The credentials were not worth anything; no one is named in the event.
    pub fn unauthenticated(&self, status: &Status) {
        self.refused(status);
        self.emit(Stage::ResponseStarted);
    }

    /// Takes note of a refusal or an answer, and records the stage or the stages that this ends. A `long`
    /// answer, a watch or a stream, ends when its body is dropped.
    pub async fn answered(
        self: Arc<Self>,
        response: Response<Body>,
        refusal: Option<&Status>,
        long: bool,
    ) -> Response<Body> {
        let (parts, mut body) = response.into_parts();
        if let Some(status) = refusal {
            self.refused(status);
        } else {
            let status = json!({"metadata": {}, "code": parts.status.as_u16()});
            self.state().status = to_raw_value(&status).ok();
            if long {
                self.emit(Stage::ResponseStarted);
                return Response::from_parts(parts, Body::new(Followed { body, _end: End(self) }));
            }
            // An answer that is there as a whole; none of these waits.
            if body.size_hint().exact().is_some()
                && let Ok(whole) = std::mem::take(&mut body).collect().await
            {
                let bytes = whole.to_bytes();
                self.response_object(parts.headers.get(header::CONTENT_TYPE), &bytes, parts.status.as_u16());
                body = Body::from(bytes);
            }
        }
        self.emit(Stage::ResponseComplete);
        Response::from_parts(parts, body)
    }

    fn response_object(&self, media: Option<&HeaderValue>, bytes: &[u8], code: u16) {
        let whole = self.measure.level >= Level::RequestResponse;
        if !whole && bytes.len() > STATUS_MAX {
            return;
        }
        let media = media.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let object = if media.starts_with(PROTOBUF) {
            skiff_api::protobuf::decode(bytes).ok()
        } else {
            skiff_api::yaml::decode_one(bytes, media.starts_with("application/yaml"))
                .ok()
                .map(|(object, _)| object)
        };
        let Some(mut object) = object else { return };
        if whole {
            self.state().response = self.raw(&object);
        }
        if object["kind"] == "Status"
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("kind");
            fields.remove("apiVersion");
            fields.entry("code").or_insert_with(|| code.into());
            self.state().status = to_raw_value(&object).ok();
        }
    }

    /// Writes the event of a stage, if the policy wants that stage.
    fn emit(&self, stage: Stage) {
        if !self.measure.records(stage) {
            return;
        }
        let state = self.state();
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: self.measure.level.as_str(),
            audit_id: &self.id,
            stage: stage.as_str(),
            request_uri: &self.uri,
            verb: &self.verb,
            user: Person::from(&self.user),
            impersonated_user: state.impersonated.as_ref().map(Person::from),
            source_ips: &self.source_ips,
            user_agent: &self.agent,
            object_ref: state.object_ref.as_ref(),
            response_status: state.status.as_deref(),
            request_object: state.request.as_deref(),
            response_object: state.response.as_deref(),
            request_received_timestamp: &self.received,
            stage_timestamp: &micro(Timestamp::now()),
            annotations: &state.annotations,
        };
        if let Some(webhook) = &self.audit.webhook {
            webhook.add(serde_json::to_value(&event).expect("an event is valid JSON"));
        }
        let Some(log) = &self.audit.log else { return };
        let mut line = serde_json::to_vec(&event).expect("an event is valid JSON");
        drop(state);
        line.push(b'\n');
        if let Err(error) = log.add(&line) {
            tracing::error!(%error, id = self.id, "an audit event could not be written");
        }
    }
}

/// Ends the record of a long answer when it is dropped.
struct End(Arc<Record>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.emit(if std::thread::panicking() { Stage::Panic } else { Stage::ResponseComplete });
    }
}

/// A body with the record that it ends.
struct Followed {
    body: Body,
    _end: End,
}

impl HttpBody for Followed {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
