//! What every cluster has from its first second: namespaces, roles, the `kubernetes` Service.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::app::{App, Identity};
use crate::security::{self, User};
use crate::write;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// How often an object is written when others write it too.
const PUT_TRIES: usize = 8;

/// Makes what is missing, through the same pipeline as any client.
pub async fn install(app: &Arc<App>) -> anyhow::Result<()> {
    for name in NAMESPACES {
        ensure(app, "/api/v1/namespaces", json!({"metadata": {"name": name}})).await?;
    }
    for object in security::bootstrap::objects() {
        let path = path_of(app, &object)?;
        ensure(app, &path, object).await?;
    }
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
    {
        let class = json!({
            "metadata": {"name": name}, "value": value,
            "description": "Used for system critical pods that must not be moved from where they run.",
        });
        ensure(app, "/apis/scheduling.k8s.io/v1/priorityclasses", class).await?;
    }
    api_service(app).await
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

async fn ensure(app: &Arc<App>, path: &str, object: Value) -> anyhow::Result<()> {
    match send(app, Method::POST, path, &object).await? {
        (code, _) if code < 300 || code == 409 => {
            // The next may need this one.
            app.cache.catch_up().await?;
            Ok(())
        }
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

async fn send(app: &Arc<App>, method: Method, path: &str, object: &Value) -> anyhow::Result<(u16, Value)> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, "application/json")
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
