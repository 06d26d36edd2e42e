//! An API server small enough to be read in a minute, for tests of components: what they need of one, in memory,
//! without any checks. It is not the API server that Skiff ships, so that a component is tested against the API and
//! not against our own way of serving it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

/// (group and version, plural, kind, namespaced)
const KINDS: [(&str, &str, &str, bool); 17] = [
    ("v1", "pods", "Pod", true),
    ("v1", "services", "Service", true),
    ("v1", "endpoints", "Endpoints", true),
    ("v1", "configmaps", "ConfigMap", true),
    ("v1", "serviceaccounts", "ServiceAccount", true),
    ("v1", "events", "Event", true),
    ("v1", "namespaces", "Namespace", false),
    ("v1", "nodes", "Node", false),
    ("v1", "resourcequotas", "ResourceQuota", true),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", true),
    ("v1", "persistentvolumes", "PersistentVolume", false),
    ("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass", false),
    ("v1", "replicationcontrollers", "ReplicationController", true),
    ("apps/v1", "replicasets", "ReplicaSet", true),
    ("apps/v1", "deployments", "Deployment", true),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", true),
    ("coordination.k8s.io/v1", "leases", "Lease", true),
];

type Answer = UnsyncBoxBody<Bytes, Infallible>;
type Name = (String, String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Name, Value>,
    /// (revision, type, name, object)
    log: Vec<(u64, &'static str, Name, Value)>,
}

/// The server.
pub struct Api {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
}

struct Target {
    plural: String,
    kind: &'static str,
    api_version: &'static str,
    namespace: String,
    name: String,
    subresource: String,
}

impl Api {
    /// One that holds nothing.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), revision: watch::channel(1).0 })
    }

    /// A client of it, without sockets.
    pub fn client(self: &Arc<Self>) -> kube::Client {
        let api = self.clone();
        kube::Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let api = api.clone();
                async move { Ok::<_, Infallible>(api.answer(request).await) }
            }),
            "default",
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().trim_matches('/').to_owned();
        if let Some(found) = discovery(&path) {
            return whole(200, &found);
        }
        let body = body.collect().await.expect("a body in memory can be read").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let Some(target) = parse(&path) else { return failure(404, "NotFound") };
        let query = parts.uri.query().unwrap_or_default();
        match parts.method {
            Method::GET if query.contains("watch=true") => self.watch(&target, query),
            Method::GET if target.name.is_empty() => whole(200, &self.list(&target, query)),
            Method::GET => match self.lock().objects.get(&target.key()) {
                Some(object) => whole(200, object),
                None => failure(404, "NotFound"),
            },
            Method::POST if target.subresource == "binding" => self.bind(&target, &body),
            Method::POST => self.create(target, body),
            Method::PUT => self.change(&target, |_| body),
            Method::PATCH => self.change(&target, |mut object| {
                merge(&mut object, &body);
                object
            }),
            Method::DELETE if target.name.is_empty() => {
                let names: Vec<_> =
                    self.lock().objects.keys().filter(|key| target.holds(key)).cloned().collect();
                for name in names {
                    self.delete(&name, &body);
                }
                whole(200, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            Method::DELETE => self.delete(&target.key(), &body),
            _ => failure(405, "MethodNotAllowed"),
        }
    }

    fn list(&self, target: &Target, query: &str) -> Value {
        let state = self.lock();
        let items = state.objects.iter().filter(|(key, _)| target.holds(key) && selected(key, query));
        let items: Vec<_> = items.map(|(_, object)| object.clone()).collect();
        let revision = self.revision.borrow().to_string();
        let kind = format!("{}List", target.kind);
        json!({"kind": kind, "apiVersion": target.api_version, "metadata": {"resourceVersion": revision}, "items": items})
    }

    fn watch(self: Arc<Self>, target: &Target, query: &str) -> Response<Answer> {
        let since = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let since = since.and_then(|text| text.parse().ok()).unwrap_or(0);
        let (plural, namespace) = (target.plural.clone(), target.namespace.clone());
        let wanted = move |key: &Name| key.0 == plural && (namespace.is_empty() || key.1 == namespace);
        let query = query.to_owned();
        let events = changes(self).filter_map(move |(revision, type_, name, object)| {
            let line = format!("{}\n", json!({"type": type_, "object": object}));
            let relevant = revision > since && wanted(&name) && selected(&name, &query);
            async move { relevant.then(|| Ok::<_, Infallible>(Frame::data(Bytes::from(line)))) }
        });
        Response::new(Answer::new(StreamBody::new(events)))
    }

    fn commit(&self, state: &mut State, type_: &'static str, key: Name, mut object: Value) -> Value {
        let revision = *self.revision.borrow() + 1;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        if type_ == "DELETED" {
            state.objects.remove(&key);
        } else {
            state.objects.insert(key.clone(), object.clone());
        }
        state.log.push((revision, type_, key, object.clone()));
        self.revision.send_replace(revision);
        object
    }

    fn bind(&self, target: &Target, binding: &Value) -> Response<Answer> {
        let mut state = self.lock();
        let Some(mut pod) = state.objects.get(&target.key()).cloned() else {
            return failure(404, "NotFound");
        };
        if !pod["spec"]["nodeName"].is_null() {
            return failure(409, "Conflict");
        }
        pod["spec"]["nodeName"] = binding["target"]["name"].clone();
        self.commit(&mut state, "MODIFIED", target.key(), pod);
        whole(201, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }

    fn create(&self, mut target: Target, mut object: Value) -> Response<Answer> {
        let id = uuid::Uuid::new_v4().to_string();
        let meta = &mut object["metadata"];
        if meta["name"].is_null() {
            meta["name"] = format!(
                "{}{}",
                meta["generateName"].as_str().expect("an object has a name, or how to make one"),
                &id[..5]
            )
            .into();
        }
        target.name = meta["name"].as_str().expect("a name is text").to_owned();
        meta["uid"] = id.into();
        meta["generation"] = 1.into();
        meta["creationTimestamp"] = jiff::Timestamp::now().to_string().into();
        if !target.namespace.is_empty() {
            meta["namespace"] = target.namespace.clone().into();
        }
        if target.kind == "Namespace" {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
        }
        object["kind"] = target.kind.into();
        object["apiVersion"] = target.api_version.into();
        let mut state = self.lock();
        if state.objects.contains_key(&target.key()) {
            return failure(409, "AlreadyExists");
        }
        whole(201, &self.commit(&mut state, "ADDED", target.key(), object))
    }

    fn change(&self, target: &Target, change: impl FnOnce(Value) -> Value) -> Response<Answer> {
        let mut state = self.lock();
        let Some(old) = state.objects.get(&target.key()).cloned() else { return failure(404, "NotFound") };
        let sent = change(old.clone());
        let sent_revision = &sent["metadata"]["resourceVersion"];
        if !sent_revision.is_null() && *sent_revision != old["metadata"]["resourceVersion"] {
            return failure(409, "Conflict");
        }
        let mut new = if target.subresource == "status" { old.clone() } else { sent.clone() };
        new["status"] =
            if target.subresource == "status" { sent["status"].clone() } else { old["status"].clone() };
        new["metadata"]["generation"] = old["metadata"]["generation"].clone();
        if new["spec"] != old["spec"] {
            new["metadata"]["generation"] =
                (old["metadata"]["generation"].as_i64().expect("create counts from one") + 1).into();
        }
        if new == old {
            return whole(200, &old);
        }
        let type_ = if is_done(&new) { "DELETED" } else { "MODIFIED" };
        whole(200, &self.commit(&mut state, type_, target.key(), new))
    }

    fn delete(&self, key: &Name, options: &Value) -> Response<Answer> {
        let mut state = self.lock();
        let Some(mut object) = state.objects.get(key).cloned() else { return failure(404, "NotFound") };
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return failure(409, "Conflict");
        }
        let finalizer = match options["propagationPolicy"].as_str() {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = jiff::Timestamp::now().to_string().into();
            if let Some(finalizer) = finalizer {
                let mut all = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
                all.push(finalizer.into());
                object["metadata"]["finalizers"] = all.into();
            }
        }
        let type_ = if is_done(&object) { "DELETED" } else { "MODIFIED" };
        whole(200, &self.commit(&mut state, type_, key.clone(), object))
    }
}

/// Every change there was and will be.
fn changes(api: Arc<Api>) -> impl Stream<Item = (u64, &'static str, Name, Value)> {
    let revision = api.revision.subscribe();
    stream::unfold((api, revision, 0), |(api, mut revision, at)| async move {
        loop {
            let next = api.lock().log.get(at).cloned();
            match next {
                Some(event) => return Some((event, (api, revision, at + 1))),
                None => revision.changed().await.ok()?,
            }
        }
    })
}

impl Target {
    fn key(&self) -> Name {
        (self.plural.clone(), self.namespace.clone(), self.name.clone())
    }

    fn holds(&self, key: &Name) -> bool {
        key.0 == self.plural && (self.namespace.is_empty() || key.1 == self.namespace)
    }
}

/// Being deleted, and nothing holds it up.
fn is_done(object: &Value) -> bool {
    let empty = |list: &Value| list.as_array().is_none_or(|list| list.is_empty());
    !object["metadata"]["deletionTimestamp"].is_null()
        && empty(&object["metadata"]["finalizers"])
        && (object["kind"] != "Namespace" || empty(&object["spec"]["finalizers"]))
}

fn selected(key: &Name, query: &str) -> bool {
    let name = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"));
    name.is_none_or(|name| name == key.2)
}

fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().expect("objects are maps").remove(name);
        } else {
            merge(&mut object[name], value);
        }
    }
}

fn parse(path: &str) -> Option<Target> {
    let segments: Vec<_> = path.split('/').collect();
    let (version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ((*version).to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        _ => ("", rest),
    };
    let (api_version, plural, kind, _) =
        KINDS.into_iter().find(|(group, plural, ..)| *group == version && rest.first() == Some(plural))?;
    let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
    Some(Target {
        plural: plural.to_owned(),
        kind,
        api_version,
        namespace: namespace.to_owned(),
        name: part(1),
        subresource: part(2),
    })
}

fn discovery(path: &str) -> Option<Value> {
    let groups = ["apps", "discovery.k8s.io", "coordination.k8s.io"];
    let version = |group: &&str| {
        let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
        json!({"name": group, "versions": [version], "preferredVersion": version})
    };
    let resources = |group_version: &str| {
        let of_group = KINDS.iter().filter(|(group, ..)| *group == group_version);
        let resource = |(_, plural, kind, namespaced): &(&str, &str, &str, bool)| {
            let verbs = ["list", "watch", "get", "create", "update", "patch", "delete", "deletecollection"];
            json!({"name": plural, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": verbs})
        };
        let resources: Vec<_> = of_group.map(resource).collect();
        json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources})
    };
    Some(match path {
        "version" => json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": "",
        }),
        "api" => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        "apis" => json!({"kind": "APIGroupList", "groups": groups.iter().map(version).collect::<Vec<_>>()}),
        "api/v1" => resources("v1"),
        _ => resources(
            path.strip_prefix("apis/").filter(|group| groups.iter().any(|g| *group == format!("{g}/v1")))?,
        ),
    })
}

fn whole(code: u16, object: &Value) -> Response<Answer> {
    Response::builder()
        .status(code)
        .body(Answer::new(Full::from(object.to_string())))
        .expect("the code is valid")
}

fn failure(code: u16, reason: &str) -> Response<Answer> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason,
        "code": code,
    });
    whole(code, &status)
}
