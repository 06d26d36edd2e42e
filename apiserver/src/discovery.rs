//! What a client can find out: groups, resources, versions, and the way to all else that is no resource.

mod aggregated;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Request, Response, header};
use serde_json::{Value, json};
use skiff_api::kind::{Kind, Registry, Subresource};
use skiff_api::status::Status;

use crate::app::App;
use crate::negotiate::{self, Accept};
use crate::request::Query;
use crate::{aggregation, health, review};

/// The version of Kubernetes whose API this is.
pub const MINOR: &str = "36";

/// Answers a request for a path that is no resource.
pub async fn answer(app: &Arc<App>, request: &Request<()>, query: &Query) -> Result<Response<Body>, Status> {
    if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
        return Err(Status::method_not_allowed());
    }
    let path = request.uri().path();
    let accept = Accept::parse(request.headers().get(header::ACCEPT));
    let registry = app.registry.load_full();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let (["api" | "apis"], Some(version)) = (parts.as_slice(), &accept.aggregated) {
        return Ok(aggregated::answer(request, app, &registry, parts[0] == "api", version));
    }
    let found = match parts.as_slice() {
        [name @ ("healthz" | "livez" | "readyz"), check @ ..] => {
            return Ok(health::answer(app, name, &check.join("/"), query).await);
        }
        ["metrics"] => {
            let mut response = health::text(200, app.metrics.render(app));
            let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
            return Ok(response);
        }
        [".well-known", "openid-configuration"] => {
            let (ip, port) = app.config.advertise;
            let address = std::net::SocketAddr::new(ip, port).to_string();
            let Some(found) = app.authenticator.accounts.openid_configuration(&address) else {
                return Ok(no_page());
            };
            return Ok(published("application/json", &found));
        }
        ["openid", "v1", "jwks"] => {
            return Ok(published("application/jwk-set+json", &app.authenticator.accounts.key_set()));
        }
        ["openapi", rest @ ..] => return app.documents.answer(app, &registry, request, rest),
        ["version"] => version(),
        ["api"] => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{
                "clientCIDR": "0.0.0.0/0",
                "serverAddress": format!("{}:{}", app.config.advertise.0, app.config.advertise.1),
            }],
        }),
        ["apis"] => {
            let groups: Vec<Value> = aggregation::groups(app, &registry)
                .into_iter()
                .filter(|(name, _)| !name.is_empty())
                .map(group)
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let known = aggregation::groups(app, &registry).into_iter().find(|(known, _)| known == name);
            let Some(known) = known.filter(|_| !name.is_empty()) else {
                return Ok(no_page());
            };
            let mut found = group(known);
            found["kind"] = "APIGroup".into();
            found["apiVersion"] = "v1".into();
            found
        }
        ["api", version] if is_served(&registry, "", version) => resources(&registry, "", version)?,
        ["apis", group, version] if is_served(&registry, group, version) => {
            resources(&registry, group, version)?
        }
        // The group is there, and answers as a resource would.
        ["apis", group, _] if groups(&registry).contains_key(*group) => return Err(Status::no_such_path()),
        [] => json!({"paths": paths(&registry)}),
        _ => return Ok(no_page()),
    };
    Ok(negotiate::value(200, &found, &accept))
}

/// What others verify service-account tokens with; good for an hour.
fn published(media: &'static str, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    let cache = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    response
}

/// What upstream says of a path that leads nowhere.
pub fn no_page() -> Response<Body> {
    health::text(404, "404 page not found\n".into())
}

/// Whether anything is served in that group and version.
pub fn is_served(registry: &Registry, group: &str, version: &str) -> bool {
    groups(registry).get(group).is_some_and(|versions| versions.iter().any(|known| known == version))
}

/// Whether anything is served in that group.
pub fn is_group(registry: &Registry, group: &str) -> bool {
    groups(registry).contains_key(group)
}

/// Every path that is no resource.
fn paths(registry: &Registry) -> Vec<String> {
    let mut paths: Vec<String> = health::paths().collect();
    let fixed = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/version",
    ];
    paths.extend(fixed.map(str::to_owned));
    for (group, versions) in groups(registry) {
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        for version in versions {
            paths.push(format!("{root}/{version}"));
            if !served(registry, &group, &version).is_empty() {
                paths.push(format!("/openapi/v3{root}/{version}"));
            }
        }
        if !group.is_empty() {
            paths.push(root);
        }
    }
    paths.sort();
    paths
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
pub fn groups(registry: &Registry) -> BTreeMap<String, Vec<String>> {
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
        versions.sort_by_key(|version| std::cmp::Reverse(rank(version)));
    }
    groups
}

/// How a version stands among others: `v2`, `v1`, `v2beta1`, `v1beta2`, `v1alpha1`.
pub fn rank(version: &str) -> (u8, u32, u32) {
    let rest = version.trim_start_matches('v');
    let (stability, word) = match rest {
        _ if rest.contains("alpha") => (0, "alpha"),
        _ if rest.contains("beta") => (1, "beta"),
        _ => (2, "-"),
    };
    let (major, minor) = rest.split_once(word).unwrap_or((rest, ""));
    (stability, major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

/// What clients compare to see whether two resources are stored alike, as upstream makes it.
fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    use base64::Engine;
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
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
        resource["storageVersionHash"] = match &kind.presents {
            Some(stored) => storage_hash(&stored.group, &stored.version, &kind.kind),
            None => storage_hash(group, &kind.stored().name, &kind.kind),
        }
        .into();
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
    list.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    if group.is_empty() {
        // As upstream, the core group does not say what this list is a list of.
        return Ok(json!({"kind": "APIResourceList", "groupVersion": version, "resources": list}));
    }
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"),
        "resources": list,
    }))
}

fn kind_of<'a>(kind: &'a Kind, subresource: &'a Subresource) -> &'a str {
    if subresource.kind.is_empty() { &kind.kind } else { &subresource.kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_upstreams_order_and_hashes_are_upstreams() {
        let mut versions = ["v1alpha1", "v1beta2", "v1", "v2beta1", "v10", "v2"];
        versions.sort_by_key(|version| std::cmp::Reverse(rank(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1"]);
        assert_eq!(storage_hash("", "v1", "Pod"), "xPOwRZ+Yhw8=");
    }
}
