//! An API server of one page: objects by path, merge patches, watches. Enough for a node agent.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::broadcast;

type Out = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Default)]
struct State {
    revision: u64,
    /// By path of the object.
    objects: BTreeMap<String, Value>,
}

/// The server; clones are the same one.
#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<(String, Value)>,
}

impl Fake {
    pub fn new() -> Self {
        Self { state: Arc::default(), events: broadcast::channel(1000).0 }
    }

    pub fn client(&self) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// A test that fails says what the server held.
    #[allow(dead_code, reason = "not every test needs it")]
    pub fn tell_on_panic(&self) {
        let (fake, before) = (self.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| {
            for pod in fake.all("/api/v1/pods") {
                println!("{}: {}", pod["metadata"]["name"], pod["status"]);
            }
            for event in fake.all("/api/v1/events") {
                println!("{} {} {}", event["involvedObject"]["name"], event["reason"], event["message"]);
            }
            before(info);
        }));
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    pub fn all(&self, collection: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state.objects.iter().filter(|(path, _)| within(path, collection)).map(|(_, v)| v.clone()).collect()
    }

    pub fn put(&self, path: &str, mut object: Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let kind = if state.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        let known_uid = state.objects.get(path).map(|o| o["metadata"]["uid"].clone());
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] =
                known_uid.unwrap_or_else(|| json!(format!("uid-{}-{}", std::process::id(), state.revision)));
        }
        state.objects.insert(path.to_owned(), object.clone());
        let _ = self.events.send((path.to_owned(), json!({ "type": kind, "object": object })));
        object
    }

    fn remove(&self, path: &str) -> Option<Value> {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let object = state.objects.remove(path)?;
        let _ = self.events.send((path.to_owned(), json!({ "type": "DELETED", "object": object })));
        Some(object)
    }

    /// Marks a pod for deletion, as a client's DELETE does.
    pub fn delete_gracefully(&self, path: &str, grace_s: i64) {
        let mut pod = self.get(path).expect("the pod exists");
        pod["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_s);
        self.put(path, pod);
    }

    async fn answer(&self, request: Request<Body>) -> Response<Out> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().replace("%3D", "=").replace("%2C", ",");
        let collection = is_collection(&path);
        match parts.method {
            Method::GET if collection && query.contains("watch=true") => self.watch(&path, &query),
            Method::GET if collection => {
                let items: Vec<Value> = self.all(&path).into_iter().filter(|o| selected(o, &query)).collect();
                let revision = self.state.lock().unwrap().revision.to_string();
                reply(
                    200,
                    &json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": revision }, "items": items }),
                )
            }
            Method::GET => self.get(&path).map_or_else(|| status(404, "NotFound"), |o| reply(200, &o)),
            Method::POST if path.ends_with("/token") => {
                let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3600);
                let mut token = body;
                token["status"] = json!({ "token": "a.token", "expirationTimestamp": expires.to_string() });
                reply(201, &token)
            }
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default();
                let at = format!("{path}/{name}");
                if self.get(&at).is_some() {
                    status(409, "AlreadyExists")
                } else {
                    reply(201, &self.put(&at, body))
                }
            }
            Method::PATCH => {
                let at = path.trim_end_matches("/status");
                let Some(mut object) = self.get(at) else { return status(404, "NotFound") };
                let uid = &body["metadata"]["uid"];
                if !uid.is_null() && *uid != object["metadata"]["uid"] {
                    return status(409, "Conflict");
                }
                merge(&mut object, &body);
                reply(200, &self.put(at, object))
            }
            Method::DELETE => self.remove(&path).map_or_else(|| status(404, "NotFound"), |o| reply(200, &o)),
            _ => status(405, "MethodNotAllowed"),
        }
    }

    fn watch(&self, path: &str, query: &str) -> Response<Out> {
        let since: u64 = query
            .split('&')
            .find_map(|p| p.strip_prefix("resourceVersion="))
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        let events = self.events.subscribe();
        // What was written between the list and now.
        let missed: Vec<Value> = self
            .all(path)
            .into_iter()
            .filter(|o| {
                o["metadata"]["resourceVersion"]
                    .as_str()
                    .and_then(|v| v.parse::<u64>().ok())
                    .is_some_and(|v| v > since)
            })
            .map(|o| json!({ "type": "MODIFIED", "object": o }))
            .collect();
        let (path, query) = (path.to_owned(), query.to_owned());
        let chosen = query.clone();
        let live = tokio_stream::wrappers::BroadcastStream::new(events).filter_map(move |event| {
            let event = event.ok().filter(|(at, _)| within(at, &path)).map(|(_, e)| e);
            futures::future::ready(event)
        });
        let all = futures::stream::iter(missed)
            .chain(live)
            .filter(move |e| futures::future::ready(selected(&e["object"], &chosen)));
        let frames = all.map(|event| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

fn is_collection(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = if parts[0] == "api" { &parts[2..] } else { &parts[3..] };
    matches!(rest, ["namespaces", _, _] | [_])
}

/// Whether an object's path lies in a collection; `/api/v1/pods` spans all namespaces.
fn within(path: &str, collection: &str) -> bool {
    let Some((parent, _)) = path.rsplit_once('/') else { return false };
    let (base, plural) = collection.rsplit_once('/').unwrap_or_default();
    parent == collection
        || (parent.ends_with(&format!("/{plural}")) && parent.starts_with(&format!("{base}/namespaces/")))
}

fn selected(object: &Value, query: &str) -> bool {
    let Some(selector) = query.split('&').find_map(|p| p.strip_prefix("fieldSelector=")) else { return true };
    let Some((field, value)) = selector.split_once('=') else { return true };
    object.pointer(&format!("/{}", field.replace('.', "/"))).and_then(Value::as_str) == Some(value)
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn reply(code: u16, value: &Value) -> Response<Out> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap();
    answer
}

fn status(code: u16, reason: &str) -> Response<Out> {
    reply(
        code,
        &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "code": code, "message": reason }),
    )
}

/// Waits for a condition; says what it waited for when it does not come.
pub async fn until<T>(what: &str, seconds: u64, mut check: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "{what} did not come within {seconds} s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
