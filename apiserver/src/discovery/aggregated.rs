//! Aggregated discovery: everything in one answer, with an ETag.

use axum::body::Body;
use http::{HeaderValue, Request, Response, header};
use serde_json::{Value, json};
use skiff_api::kind::Registry;

use super::{kind_of, served};
use crate::app::App;
use crate::{aggregation, openapi, review};

/// Answers `/api` (`core`) or `/apis` in this version of the discovery API.
pub fn answer(
    request: &Request<()>,
    app: &App,
    registry: &Registry,
    core: bool,
    version: &str,
) -> Response<Body> {
    let mut items = Vec::new();
    for (group, versions) in aggregation::groups(app, registry) {
        if group.is_empty() != core {
            continue;
        }
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                if let Some(other) = app.aggregation.find(&app.cache, &format!("/apis/{group}/{version}")) {
                    return app.aggregation.published(&other.name).unwrap_or_default().shown(version);
                }
                let resources = aggregated_resources(registry, &group, version);
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        let metadata = if core { json!({}) } else { json!({"name": group}) };
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items,
    })
    .to_string();
    let hash = openapi::digest(body.as_bytes());
    let mut response = openapi::tagged(body.into(), &hash, request.headers());
    let headers = response.headers_mut();
    let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&media).expect("a version is plain text"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

/// The resources of a group and version. As upstream, a kind of that very group and version is named without them.
fn aggregated_resources(registry: &Registry, group: &str, version: &str) -> Vec<Value> {
    let scope = |namespaced: bool| if namespaced { "Namespaced" } else { "Cluster" };
    let mut list = Vec::new();
    for kind in served(registry, group, version) {
        let mut resource = json!({
            "resource": kind.plural, "singularResource": kind.singular, "scope": scope(kind.namespaced),
            "responseKind": {"group": "", "version": "", "kind": kind.kind}, "verbs": kind.verbs,
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
                json!({
                    "subresource": name, "verbs": subresource.verbs,
                    "responseKind": {
                        "group": subresource.group, "version": subresource.version,
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
            "responseKind": {"group": "", "version": "", "kind": resource.kind},
        }));
    }
    list.sort_by(|a, b| a["resource"].as_str().cmp(&b["resource"].as_str()));
    list
}
