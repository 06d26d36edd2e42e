//! The task that looks after APIServices.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::availability::{self, Verdict};
use super::publish::{self, Published};
use super::service::ApiService;
use super::{GROUP, PLURAL, local, proxy};
use crate::app::App;
use crate::backend::{Failure, Place};
use crate::bootstrap::send;
use crate::security::User;
use crate::write;

/// How often a server that answers is asked again.
const EVERY: Duration = Duration::from_secs(30);
/// How soon one that does not answer is asked again at first; each time it is twice as long, up to [`EVERY`].
const AGAIN: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document that is read, in bytes.
const LIMIT_BYTES: usize = 32 << 20;
const DISCOVERY: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// What a server was like when it was last asked.
struct Seen {
    uid: String,
    target: Result<Vec<SocketAddr>, Verdict>,
    due: Instant,
    pause: Duration,
}

/// Looks after APIServices until the server stops.
pub fn keep(app: &Arc<App>) {
    let follow = |group: &str, plural: &str| app.cache.find(group, plural).map(|cache| cache.subscribe());
    let (Some(mut services), Some(mut targets), Some(mut slices)) =
        (follow(GROUP, PLURAL), follow("", "services"), follow("discovery.k8s.io", "endpointslices"))
    else {
        return;
    };
    let app = app.clone();
    tokio::spawn(async move {
        let mut seen = BTreeMap::new();
        if let Err(error) = vouch(&app).await {
            tracing::warn!(%error, "what extension API servers need to know cannot be written");
        }
        tokio::spawn(keep_local(app.clone()));
        loop {
            services.borrow_and_update();
            targets.borrow_and_update();
            slices.borrow_and_update();
            look(&app, &mut seen).await;
            let due = seen.values().map(|seen: &Seen| seen.due).min();
            let remote = !seen.is_empty();
            tokio::select! {
                changed = services.changed() => if changed.is_err() { return },
                // Of no interest while everything is served here.
                changed = targets.changed(), if remote => if changed.is_err() { return },
                changed = slices.changed(), if remote => if changed.is_err() { return },
                () = sleep_until(due) => {}
                () = app.shutdown.cancelled() => return,
            }
        }
    });
}

/// Keeps the APIServices of what this server serves itself, which changes with the definitions of custom kinds.
async fn keep_local(app: Arc<App>) {
    let Some(mut services) = app.cache.find(GROUP, PLURAL).map(|cache| cache.subscribe()) else { return };
    let mut served = app.served.subscribe();
    loop {
        services.borrow_and_update();
        served.borrow_and_update();
        let failed = local::reconcile(&app).await.inspect_err(|error| {
            tracing::warn!(%error, "APIServices of this server cannot be written");
        });
        let due = failed.is_err().then(|| Instant::now() + AGAIN);
        tokio::select! {
            changed = services.changed() => if changed.is_err() { return },
            changed = served.changed() => if changed.is_err() { return },
            () = sleep_until(due) => {}
            () = app.shutdown.cancelled() => return,
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Looks at all whose time has come or whose endpoints changed.
async fn look(app: &Arc<App>, seen: &mut BTreeMap<String, Seen>) {
    let remote = app.aggregation.remote(&app.cache);
    seen.retain(|name, _| remote.iter().any(|service| service.name == *name));
    let mut published = BTreeMap::clone(&app.aggregation.published.load());
    published.retain(|name, _| remote.iter().any(|service| service.name == *name));
    let now = Instant::now();
    let mut asked = Vec::new();
    for service in &remote {
        let target = availability::endpoints(&app.cache, service);
        let known = seen.get(&service.name);
        if known.is_some_and(|known| known.uid == service.uid && known.target == target && known.due > now) {
            continue;
        }
        let before = known.map_or(AGAIN, |known| known.pause);
        let old = published.get(&service.name).cloned();
        asked.push(async move {
            let (verdict, fresh) = match &target {
                Err(verdict) => (verdict.clone(), None),
                Ok(_) => ask(app, service, old.as_deref()).await,
            };
            (service, target, before, verdict, fresh)
        });
    }
    for (service, target, before, verdict, fresh) in join_all(asked).await {
        let pause = if verdict.available { EVERY } else { (before * 2).min(EVERY) };
        let due = Instant::now() + if verdict.available { EVERY } else { before };
        let next = if verdict.available { AGAIN } else { pause };
        let known = Seen { uid: service.uid.clone(), target, due, pause: next };
        seen.insert(service.name.clone(), known);
        let shown = fresh.unwrap_or_else(|| {
            let old = published.get(&service.name).map(|old| Published::clone(old)).unwrap_or_default();
            Published { current: false, ..old }
        });
        published.insert(service.name.clone(), Arc::new(shown));
        if let Err(error) = tell(app, service, &verdict).await {
            tracing::warn!(name = service.name, %error, "whether an API is available cannot be written");
        }
    }
    app.aggregation.published.store(Arc::new(published));
}

/// Writes a verdict, if it is a new one.
async fn tell(app: &Arc<App>, service: &ApiService, verdict: &Verdict) -> anyhow::Result<()> {
    let Some(cache) = app.cache.find(GROUP, PLURAL) else { return Ok(()) };
    let Some(item) = cache.get("", &service.name) else { return Ok(()) };
    let object = item.object(cache.kind(), "v1");
    let now = write::time(jiff::Timestamp::now());
    match availability::told(&object["status"], verdict, &now) {
        Some(status) => local::say(app, &service.name, object, status).await,
        None => Ok(()),
    }
}

/// Asks a server for what it publishes, which is also the test of whether it answers.
async fn ask(app: &App, service: &ApiService, old: Option<&Published>) -> (Verdict, Option<Published>) {
    let ApiService { group, version, .. } = service;
    let path = format!("/apis/{group}/{version}");
    let url = match service.backend.as_ref().map(|backend| &backend.place) {
        Some(Place::Service { .. }) => {
            let place = &service.backend.as_ref().expect("it has just been looked at").place;
            format!("https://{}{path}", place.authority())
        }
        _ => return (Verdict::local(), None),
    };
    let list = match get(app, service, &path, "application/json").await {
        Err(failure) => return (Verdict::failed(&url, &format!("Get {url:?}: {failure}")), None),
        Ok((code, _)) if !(200..300).contains(&code) => {
            return (Verdict::failed(&url, &format!("bad status from {url}: {code}")), None);
        }
        Ok((_, body)) => body,
    };
    let json = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap_or_default();
    let mut published = Published { current: true, ..Published::default() };
    let aggregated = match get(app, service, "/apis", DISCOVERY).await {
        Ok((200, body)) => publish::of_aggregated(&json(&body), group, version),
        _ => None,
    };
    let discovery = aggregated.or_else(|| publish::of_resources(&json(&list), group, version));
    published.current = discovery.is_some();
    published.discovery = discovery.or_else(|| old.map(|old| old.discovery.clone())).unwrap_or_default();
    if let Ok((200, body)) = get(app, service, &format!("/openapi/v3{path}"), "application/json").await {
        published.v3 = Some(publish::named(body));
    }
    if let Ok((200, body)) = get(app, service, "/openapi/v2", "application/json").await {
        let (body, hash) = publish::named(body);
        let same = old.and_then(|old| old.v2.clone()).filter(|(_, known)| *known == hash);
        published.v2 = Some(same.unwrap_or_else(|| (Arc::new(json(&body)), hash)));
    }
    (Verdict::passed(), Some(published))
}

async fn get(
    app: &App,
    service: &ApiService,
    path: &str,
    accept: &'static str,
) -> Result<(u16, Bytes), Failure> {
    let Some(backend) = &service.backend else { return Err(Failure::Closed) };
    let mut headers = HeaderMap::new();
    proxy::identify(&mut headers, &User::new("system:kube-aggregator", &["system:masters"]));
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    if let Ok(host) = HeaderValue::from_str(&backend.place.authority()) {
        headers.insert(header::HOST, host);
    }
    let request = Request::get(path).body(Body::empty());
    let mut request = request.map_err(|error| Failure::Other(error.to_string()))?;
    *request.headers_mut() = headers;
    let exchange = async {
        let response = app.backends.send(backend, request).await?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), LIMIT_BYTES).collect().await;
        Ok((code, body.map_err(|error| Failure::Other(error.to_string()))?.to_bytes()))
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err(Failure::Timeout))
}

/// Tells extension API servers whom to believe about who asks: a ConfigMap that all may read. Several API servers
/// add their CAs to what is there.
async fn vouch(app: &Arc<App>) -> anyhow::Result<()> {
    let ca = &app.config.aggregation.ca_pem;
    if ca.is_empty() {
        return Ok(());
    }
    let maps = "/api/v1/namespaces/kube-system/configmaps";
    let name = "extension-apiserver-authentication";
    for _ in 0..8 {
        let (code, mut live) = send(app, Method::GET, &format!("{maps}/{name}"), &Value::Null).await?;
        let missing = code == 404;
        if missing {
            live = json!({"metadata": {"name": name, "namespace": "kube-system"}, "data": {}});
        }
        let with = |known: &Value, pem: &str| {
            let known = known.as_str().unwrap_or_default();
            if known.contains(pem.trim()) { known.to_owned() } else { format!("{known}{pem}") }
        };
        let data = &live["data"];
        let (clients, proxies) = (
            with(&data["client-ca-file"], &app.config.ca_pem),
            with(&data["requestheader-client-ca-file"], ca),
        );
        let wanted = json!({
            "client-ca-file": clients,
            "requestheader-client-ca-file": proxies,
            "requestheader-allowed-names": "[\"front-proxy-client\"]",
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]",
        });
        if live["data"] == wanted {
            return Ok(());
        }
        live["data"] = wanted;
        let (code, answer) = if missing {
            send(app, Method::POST, maps, &live).await?
        } else {
            send(app, Method::PUT, &format!("{maps}/{name}"), &live).await?
        };
        match code {
            code if code < 300 => return Ok(()),
            // Another server was faster.
            409 => app.cache.catch_up().await?,
            _ => anyhow::bail!("{}", answer["message"]),
        }
    }
    anyhow::bail!("others write it all the time")
}
