//! What every cluster has from its first second: namespaces, roles, the `kubernetes` Service.

use std::sync::Arc;

use axum::body::Body;
use futures::{StreamExt, TryStreamExt};
use http::{Method, Request};
use serde_json::{Value, json};

use crate::app::{App, Identity};
use crate::security::bootstrap::{self, reconcile::Outcome};
use crate::security::{self, User};
use crate::write;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Objects that are made at once.
const AT_ONCE: usize = 32;
/// How often an object is written when others write it too.
const PUT_TRIES: usize = 8;

/// Makes what is missing, through the same pipeline as any client.
pub async fn install(app: &Arc<App>) -> anyhow::Result<()> {
    let namespaces = NAMESPACES
        .into_iter()
        .map(|name| ("/api/v1/namespaces".to_owned(), json!({"metadata": {"name": name}})));
    ensure_all(app, namespaces.collect()).await?;
    reconcile_all(app).await?;
    let mut rest = Vec::new();
    for object in crate::flow::defaults() {
        rest.push((path_of(app, &object)?, object));
    }
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
    {
        let class = json!({
            "metadata": {"name": name}, "value": value,
            "description": "Used for system critical pods that must not be moved from where they run.",
        });
        rest.push(("/apis/scheduling.k8s.io/v1/priorityclasses".to_owned(), class));
    }
    for (name, data) in [
        // Whom other API servers and controllers may trust to say who a client is.
        ("extension-apiserver-authentication", json!({"client-ca-file": app.config.ca_pem})),
        // Since when it is recorded that a token kept in a Secret is used; controllers remove those that are not.
        (
            "kube-apiserver-legacy-service-account-token-tracking",
            json!({"since": jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()}),
        ),
    ] {
        let object = json!({"metadata": {"name": name, "namespace": "kube-system"}, "data": data});
        rest.push(("/api/v1/namespaces/kube-system/configmaps".to_owned(), object));
    }
    ensure_all(app, rest).await?;
    api_service(app).await
}

/// Brings the cluster's own roles and bindings up to what they should hold.
async fn reconcile_all(app: &Arc<App>) -> anyhow::Result<()> {
    let mut objects = Vec::new();
    for object in security::bootstrap::objects() {
        objects.push((path_of(app, &object)?, object));
    }
    let reconciled = objects.into_iter().map(|(path, object)| {
        let app = app.clone();
        async move { reconcile(&app, &path, object).await }
    });
    futures::stream::iter(reconciled).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    app.cache.catch_up().await?;
    Ok(())
}

async fn reconcile(app: &Arc<App>, path: &str, expected: Value) -> anyhow::Result<()> {
    let one = format!("{path}/{}", skiff_api::meta::name(&expected));
    for _ in 0..PUT_TRIES {
        let (code, existing) =
            send(app, Method::GET, &format!("{one}?resourceVersion=0"), &Value::Null).await?;
        if code == 404 {
            return ensure(app, path, expected).await;
        }
        let (code, answer) = match bootstrap::reconcile::reconcile(&existing, &expected) {
            Outcome::Keep => return Ok(()),
            Outcome::Update(wanted) => send(app, Method::PUT, &one, &wanted).await?,
            Outcome::Recreate => send(app, Method::DELETE, &one, &Value::Null).await?,
        };
        match code {
            code if code < 300 || code == 404 || code == 409 => app.cache.catch_up().await?,
            _ => anyhow::bail!("cannot write {one}: {}", answer["message"]),
        }
    }
    anyhow::bail!("cannot write {one}: others write it all the time")
}

/// The `kubernetes` Service and its endpoints: where pods reach this API.
async fn api_service(app: &Arc<App>) -> anyhow::Result<()> {
    let (address, port) = app.config.advertise;
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "clusterIP": app.allocator.first_ip().to_string(),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    });
    ensure(app, "/api/v1/namespaces/default/services", service).await?;
    let endpoints = json!({
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{
            "addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    });
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    put(app, "/api/v1/namespaces/default/endpoints", endpoints).await?;
    put(app, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await
}

/// Where objects of this kind are made.
fn path_of(app: &App, object: &Value) -> anyhow::Result<String> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().unwrap_or_default();
    let registry = app.registry.load();
    let found = registry
        .kind(group, kind)
        .ok_or_else(|| anyhow::anyhow!("kind {kind} of {api_version} is not served"))?;
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let namespace = skiff_api::meta::namespace(object);
    Ok(match namespace {
        "" => format!("{root}/{}", found.plural),
        _ => format!("{root}/namespaces/{namespace}/{}", found.plural),
    })
}

/// Makes those that are missing, many at once: a store acknowledges them together.
async fn ensure_all(app: &Arc<App>, objects: Vec<(String, Value)>) -> anyhow::Result<()> {
    let made = objects.into_iter().map(|(path, object)| {
        let app = app.clone();
        async move { ensure(&app, &path, object).await }
    });
    futures::stream::iter(made).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    // The next may need these.
    app.cache.catch_up().await?;
    Ok(())
}

async fn ensure(app: &Arc<App>, path: &str, object: Value) -> anyhow::Result<()> {
    // As a rule all is there: then nothing is written, and nobody is asked but the cache.
    let cached = format!("{path}/{}?resourceVersion=0", skiff_api::meta::name(&object));
    if send(app, Method::GET, &cached, &Value::Null).await?.0 == 200 {
        return Ok(());
    }
    match send(app, Method::POST, path, &object).await? {
        (code, _) if code < 300 || code == 409 => Ok(()),
        (_, answer) => anyhow::bail!("cannot make {path}: {}", answer["message"]),
    }
}

async fn put(app: &Arc<App>, path: &str, object: Value) -> anyhow::Result<()> {
    let name = skiff_api::meta::name(&object).to_owned();
    for _ in 0..PUT_TRIES {
        match send(app, Method::PUT, &format!("{path}/{name}"), &object).await? {
            (404, _) => return ensure(app, path, object).await,
            (code, _) if code < 300 => return Ok(()),
            // Another server that is starting was faster.
            (409, _) => app.cache.catch_up().await?,
            (_, answer) => anyhow::bail!("cannot write {path}/{name}: {}", answer["message"]),
        }
    }
    anyhow::bail!("cannot write {path}/{name}: others write it all the time")
}

/// One request of the server's own, with all rights.
pub async fn send(
    app: &Arc<App>,
    method: Method,
    path: &str,
    object: &Value,
) -> anyhow::Result<(u16, Value)> {
    send_as(app, method, path, "application/json", object).await
}

/// A merge patch of the server's own.
pub async fn patch(app: &Arc<App>, path: &str, patch: &Value) -> anyhow::Result<()> {
    match send_as(app, Method::PATCH, path, "application/merge-patch+json", patch).await? {
        (code, _) if code < 300 => Ok(()),
        (_, answer) => anyhow::bail!("{}", answer["message"]),
    }
}

async fn send_as(
    app: &Arc<App>,
    method: Method,
    path: &str,
    media: &str,
    object: &Value,
) -> anyhow::Result<(u16, Value)> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, media)
        .body(Body::from(object.to_string()))?;
    let user = User {
        name: "system:apiserver".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..User::default()
    };
    let response = app.handle(request, Identity::Known(user)).await;
    let code = response.status().as_u16();
    let body = write::read_all(Request::new(response.into_body())).await?;
    Ok((code, serde_json::from_slice(&body).unwrap_or_default()))
}
