//! Serving OpenAPI documents: each made once, told apart by its hash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use serde_json::json;
use skiff_api::kind::Registry;
use skiff_api::openapi;
use skiff_api::status::Status;

use crate::aggregation::{self, ApiService, Published};
use crate::app::App;
use crate::negotiate;
use crate::request::Query;

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const JSON: &str = "application/json";

/// A document as it is sent.
#[derive(Clone)]
struct Document {
    bytes: Bytes,
    hash: String,
}

/// The documents of one registry that were asked for; a new registry begins anew.
#[derive(Default)]
pub struct Documents(Mutex<Held>);

#[derive(Default)]
struct Held {
    of: Option<Arc<Registry>>,
    documents: HashMap<String, Document>,
}

impl Documents {
    fn get(
        &self,
        registry: &Arc<Registry>,
        key: &str,
        make: impl FnOnce() -> Option<(Vec<u8>, Option<String>)>,
    ) -> Result<Document, Status> {
        let mut held = self.0.lock().expect("no holder of this lock panics");
        if held.of.as_ref().is_none_or(|known| !Arc::ptr_eq(known, registry)) {
            *held = Held { of: Some(registry.clone()), ..Held::default() };
        }
        if let Some(document) = held.documents.get(key) {
            return Ok(document.clone());
        }
        let (bytes, hash) = make().ok_or_else(Status::no_such_path)?;
        let hash = hash.unwrap_or_else(|| digest(&bytes));
        let document = Document { bytes: bytes.into(), hash };
        held.documents.insert(key.to_owned(), document.clone());
        Ok(document)
    }

    /// Answers `/openapi/…`; `parts` is what follows.
    pub fn answer(
        &self,
        app: &App,
        registry: &Arc<Registry>,
        request: &Request<()>,
        parts: &[&str],
    ) -> Result<Response<Body>, Status> {
        let group = |group: &str, version: &str| {
            let key = format!("v3/{group}/{version}");
            self.get(registry, &key, || {
                let document = openapi::v3(registry, group, version)?;
                Some((document.to_string().into_bytes(), Some(openapi::hash(registry, group, version))))
            })
        };
        match parts {
            ["v2"] => self.v2(app, registry, request.headers()),
            ["v3"] => {
                let mut index = openapi::index(registry);
                for (service, published) in others(app) {
                    let Some((_, hash)) = &published.v3 else { continue };
                    let path = format!("apis/{}/{}", service.group, service.version);
                    index["paths"][&path] =
                        json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")});
                }
                let bytes = index.to_string().into_bytes();
                let hash = digest(&bytes);
                Ok(send(&Document { bytes: bytes.into(), hash }, JSON, request.headers()))
            }
            ["v3", "apis", group, version]
                if let Some(service) =
                    app.aggregation.find(&app.cache, &format!("/apis/{group}/{version}")) =>
            {
                let published = app.aggregation.published(&service.name);
                let found = published.and_then(|published| published.v3.clone());
                let (bytes, hash) = found.ok_or_else(Status::no_such_path)?;
                hashed(&Document { bytes, hash }, request)
            }
            ["v3", "api", version] => hashed(&group("", version)?, request),
            ["v3", "apis", name, version] => hashed(&group(name, version)?, request),
            _ => Err(Status::no_such_path()),
        }
    }

    fn v2(&self, app: &App, registry: &Arc<Registry>, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
        let clauses = accept.split(',').map(|clause| clause.split(';').next().unwrap_or_default().trim());
        let media = clauses
            .filter_map(|clause| match clause {
                PROTOBUF | PROTOBUF_OLD => Some(PROTOBUF),
                JSON | "application/*" | "*/*" => Some(JSON),
                _ => None,
            })
            .next();
        let others: Vec<_> = others(app).filter(|(_, published)| published.v2.is_some()).collect();
        let names =
            others.iter().filter_map(|(_, published)| published.v2.as_ref().map(|(_, hash)| hash.as_str()));
        let key = names.collect::<Vec<_>>().join(",");
        let make = |media: &str| {
            let mut document = openapi::v2(registry);
            for (service, published) in &others {
                if let Some((other, _)) = &published.v2 {
                    aggregation::merge_v2(&mut document, other, &service.group, &service.version);
                }
            }
            let bytes = if media == PROTOBUF {
                openapi::protobuf(&document)
            } else {
                document.to_string().into_bytes()
            };
            Some((bytes, None))
        };
        let media = media.ok_or_else(|| {
            let text = format!("only the following media types are accepted: {JSON}, {PROTOBUF}");
            Status::new(406, "NotAcceptable", text)
        })?;
        Ok(send(&self.get(registry, &format!("{media}{key}"), || make(media))?, media, headers))
    }
}

/// What extension API servers publish.
fn others(app: &App) -> impl Iterator<Item = (Arc<ApiService>, Arc<Published>)> {
    let services = app.aggregation.remote(&app.cache).into_iter();
    services
        .filter_map(|service| app.aggregation.published(&service.name).map(|published| (service, published)))
}

/// The answer to a request that may carry a hash: the right one may be kept for ever, a wrong one leads on.
fn hashed(document: &Document, request: &Request<()>) -> Result<Response<Body>, Status> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let asked = query.get("hash");
    if !asked.is_empty() && asked != document.hash {
        let address = format!("{}?hash={}", request.uri().path(), document.hash);
        let mut response = negotiate::json(301, Body::empty());
        response
            .headers_mut()
            .insert(header::LOCATION, HeaderValue::from_str(&address).map_err(Status::internal)?);
        return Ok(response);
    }
    let mut response = send(document, JSON, request.headers());
    if !asked.is_empty() {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let in_a_year = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(365 * 24);
        let text = in_a_year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        headers.insert(header::EXPIRES, HeaderValue::from_str(&text).map_err(Status::internal)?);
    }
    Ok(response)
}

fn send(document: &Document, media: &'static str, asked: &HeaderMap) -> Response<Body> {
    let mut response = tagged(document.bytes.clone(), &document.hash, asked);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// An answer with an ETag; 304 if the client has it.
pub fn tagged(bytes: Bytes, hash: &str, asked: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{hash}\"");
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has = known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag || one.trim() == "*");
    let mut response =
        if has { negotiate::json(304, Body::empty()) } else { negotiate::json(200, Body::from(bytes)) };
    let value = HeaderValue::from_str(&tag).expect("hex digits are a header value");
    response.headers_mut().insert(HeaderName::from_static("etag"), value);
    response
}

/// A name for these bytes.
pub fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}
