//! What a client can find out: groups, resources, versions, health, OpenAPI.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Request, Response, header};
use serde_json::{Value, json};
use skiff_api::kind::{Kind, Registry, Subresource};
use skiff_api::status::Status;

use crate::app::App;
use crate::context::Context;
use crate::negotiate::{self, Accept};
use crate::review;

/// The version of Kubernetes whose API this is.
pub const MINOR: &str = "36";

/// Answers a request for a path that is no resource.
pub fn answer(app: &Arc<App>, request: &Request<Body>, _context: &Context) -> Result<Response<Body>, Status> {
    if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
        return Err(Status::method_not_allowed());
    }
    let path = request.uri().path();
    let accept = Accept::parse(request.headers().get(header::ACCEPT));
    let registry = app.registry.load();
    // Clients up to 1.29 ask for v2beta1 too, which upstream no longer serves: they get the plain form.
    let whole = accept.aggregated.as_deref() == Some("v2");
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let found = match parts.as_slice() {
        ["healthz" | "livez", ..] => return Ok(text(200, "ok")),
        ["readyz", ..] => {
            return Ok(if app.is_ready() {
                text(200, "ok")
            } else {
                text(500, "not ready: still starting\n")
            });
        }
        ["version"] => version(),
        ["api"] if whole => return Ok(aggregated(request, &registry, true)),
        ["apis"] if whole => return Ok(aggregated(request, &registry, false)),
        ["api"] => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{
                "clientCIDR": "0.0.0.0/0",
                "serverAddress": format!("{}:{}", app.config.advertise.0, app.config.advertise.1),
            }],
        }),
        ["apis"] => {
            let groups: Vec<Value> =
                groups(&registry).into_iter().filter(|(group, _)| !group.is_empty()).map(group).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let mut groups = groups(&registry);
            let versions =
                groups.remove(*name).filter(|_| !name.is_empty()).ok_or_else(Status::no_such_path)?;
            let mut found = group(((*name).to_owned(), versions));
            found["kind"] = "APIGroup".into();
            found["apiVersion"] = "v1".into();
            found
        }
        ["api", version] => resources(&registry, "", version)?,
        ["apis", group, version] => resources(&registry, group, version)?,
        ["openapi", "v3"] => skiff_api::openapi::index(&registry),
        ["openapi", "v3", "api", version] => {
            skiff_api::openapi::v3(&registry, "", version).ok_or_else(Status::no_such_path)?
        }
        ["openapi", "v3", "apis", group, version] => {
            skiff_api::openapi::v3(&registry, group, version).ok_or_else(Status::no_such_path)?
        }
        [] => {
            json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]})
        }
        _ => return Err(Status::no_such_path()),
    };
    Ok(negotiate::json(200, found.to_string()))
}

fn text(code: u16, text: &'static str) -> Response<Body> {
    let mut response = negotiate::json(code, text);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "emulationMajor": "1", "emulationMinor": MINOR,
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": format!("v1.{MINOR}.0+skiff-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": format!("linux/{}", arch()),
    })
}

/// The architecture in Go's name, as images and clients write it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Each group with its versions, newest first.
fn groups(registry: &Registry) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in registry.iter() {
        let versions = groups.entry(kind.group.clone()).or_default();
        for version in &kind.versions {
            if !versions.contains(&version.name) {
                versions.push(version.name.clone());
            }
        }
    }
    for (group, version, _) in review::RESOURCES {
        let versions = groups.entry((*group).to_owned()).or_default();
        if !versions.iter().any(|known| known == version) {
            versions.push((*version).to_owned());
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by(|a, b| b.cmp(a));
    }
    groups
}

fn group((name, versions): (String, Vec<String>)) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions[0], "versions": versions})
}

fn served<'a>(registry: &'a Registry, group: &str, version: &str) -> Vec<&'a Arc<Kind>> {
    registry.iter().filter(|kind| kind.group == group && kind.version(version).is_some()).collect()
}

fn resources(registry: &Registry, group: &str, version: &str) -> Result<Value, Status> {
    let mut list = Vec::new();
    for kind in served(registry, group, version) {
        let mut resource = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": kind.verbs,
        });
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        list.push(resource);
        for (name, subresource) in &kind.version(version).expect("it was filtered by this").subresources {
            let mut entry = json!({
                "name": format!("{}/{name}", kind.plural), "singularName": "",
                "namespaced": kind.namespaced, "kind": kind_of(kind, subresource), "verbs": subresource.verbs,
            });
            if !subresource.version.is_empty() {
                entry["group"] = subresource.group.as_str().into();
                entry["version"] = subresource.version.as_str().into();
            }
            list.push(entry);
        }
    }
    for (_, _, resource) in review::RESOURCES.iter().filter(|(g, v, _)| *g == group && *v == version) {
        list.push(json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": ["create"],
        }));
    }
    if list.is_empty() {
        return Err(Status::no_such_path());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
    }))
}

fn kind_of<'a>(kind: &'a Kind, subresource: &'a Subresource) -> &'a str {
    if subresource.kind.is_empty() { &kind.kind } else { &subresource.kind }
}

/// Aggregated discovery: everything in one answer, with an etag.
fn aggregated(request: &Request<Body>, registry: &Registry, core: bool) -> Response<Body> {
    let mut items = Vec::new();
    for (group, versions) in groups(registry) {
        if group.is_empty() != core {
            continue;
        }
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let resources = aggregated_resources(registry, &group, version);
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        let metadata = if core {
            json!({"creationTimestamp": null})
        } else {
            json!({"name": group, "creationTimestamp": null})
        };
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items,
    })
    .to_string();
    let etag = format!("\"{}\"", digest(body.as_bytes()));
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known == Some(etag.as_str()) {
        negotiate::json(304, Body::empty())
    } else {
        negotiate::json(200, body)
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::ETAG, HeaderValue::from_str(&etag).expect("hex digits are a header value"));
    response
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn aggregated_resources(registry: &Registry, group: &str, version: &str) -> Vec<Value> {
    let scope = |namespaced: bool| if namespaced { "Namespaced" } else { "Cluster" };
    let mut list = Vec::new();
    for kind in served(registry, group, version) {
        let mut resource = json!({
            "resource": kind.plural, "singularResource": kind.singular, "scope": scope(kind.namespaced),
            "responseKind": {"group": group, "version": version, "kind": kind.kind}, "verbs": kind.verbs,
        });
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        let subresources: Vec<Value> = kind
            .version(version)
            .expect("it was filtered by this")
            .subresources
            .iter()
            .map(|(name, subresource)| {
                let own = subresource.version.is_empty();
                json!({
                    "subresource": name, "verbs": subresource.verbs,
                    "responseKind": {
                        "group": if own { group } else { &subresource.group },
                        "version": if own { version } else { &subresource.version },
                        "kind": kind_of(kind, subresource),
                    },
                })
            })
            .collect();
        if !subresources.is_empty() {
            resource["subresources"] = subresources.into();
        }
        list.push(resource);
    }
    for (_, _, resource) in review::RESOURCES.iter().filter(|(g, v, _)| *g == group && *v == version) {
        list.push(json!({
            "resource": resource.plural, "singularResource": resource.singular,
            "scope": scope(resource.namespaced), "verbs": ["create"],
            "responseKind": {"group": group, "version": version, "kind": resource.kind},
        }));
    }
    list
}
