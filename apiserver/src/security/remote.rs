//! Servers outside that authentication and authorization ask: webhooks by a kubeconfig, issuers by their URL.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::{items, text};
use crate::backend::{Backend, Backends, Identity, Place, Trust};
use crate::cache::Cache;

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 4 << 20;

/// A server outside.
pub struct Remote {
    backends: Backends,
    backend: Backend,
    url: String,
    path: String,
    authorization: Option<String>,
    timeout: Duration,
}

impl Remote {
    /// Where a kubeconfig's current context leads.
    ///
    /// # Errors
    /// The file cannot be read, names no server, or what it names cannot be used.
    pub fn of_kubeconfig(path: &Path, timeout: Duration, cache: &Arc<Cache>) -> anyhow::Result<Self> {
        let bad = |why: &str| anyhow::anyhow!("{}: {why}", path.display());
        let bytes = std::fs::read(path).map_err(|error| bad(&error.to_string()))?;
        let (config, _) = skiff_api::yaml::decode_one(&bytes, true).map_err(|why| bad(&why))?;
        let named = |list: &str, part: &str, name: &str| -> Value {
            let all = items(&config, list);
            let found = all.iter().find(|one| text(one, "/name") == name).or(match all {
                [one] if name.is_empty() => Some(one),
                _ => None,
            });
            found.map_or(Value::Null, |one| one[part].clone())
        };
        let context = named("/contexts", "context", text(&config, "/current-context"));
        let cluster = named("/clusters", "cluster", text(&context, "/cluster"));
        let user = named("/users", "user", text(&context, "/user"));
        let dir = path.parent().unwrap_or(Path::new("."));
        let material = |object: &Value, field: &str| -> anyhow::Result<Option<String>> {
            let data = text(object, &format!("/{field}-data"));
            if !data.is_empty() {
                let bytes = STANDARD.decode(data).map_err(|error| bad(&format!("{field}-data: {error}")))?;
                return Ok(Some(String::from_utf8(bytes).map_err(|error| bad(&error.to_string()))?));
            }
            match text(object, &format!("/{field}")) {
                "" => Ok(None),
                file => {
                    let read = std::fs::read_to_string(dir.join(file));
                    read.map(Some).map_err(|error| bad(&format!("{field}: {file}: {error}")))
                }
            }
        };
        let trust = match material(&cluster, "certificate-authority")? {
            _ if cluster["insecure-skip-tls-verify"] == true => Trust::Anyone,
            Some(pem) => Trust::Bundle(pem.into_bytes().into()),
            None => Trust::System,
        };
        let pair = (material(&user, "client-certificate")?, material(&user, "client-key")?);
        let identity = match pair {
            (Some(certificate), Some(key)) => Some(Identity::read(&certificate, &key)?),
            _ => None,
        };
        let authorization = match (text(&user, "/token"), text(&user, "/username")) {
            ("", "") => None,
            ("", name) => {
                let pair = STANDARD.encode(format!("{name}:{}", text(&user, "/password")));
                Some(format!("Basic {pair}"))
            }
            (token, _) => Some(format!("Bearer {token}")),
        };
        let server = text(&cluster, "/server");
        let mut remote = Self::at(server, trust, timeout, cache).map_err(|error| bad(&error.to_string()))?;
        remote.backend.shows_certificate = identity.is_some();
        remote.backends = Backends::new(cache.clone(), identity);
        remote.authorization = authorization;
        Ok(remote)
    }

    /// A server by its URL.
    ///
    /// # Errors
    /// It is no `https` URL.
    pub fn at(url: &str, trust: Trust, timeout: Duration, cache: &Arc<Cache>) -> anyhow::Result<Self> {
        let uri: http::Uri = url.parse().map_err(|error| anyhow::anyhow!("{url:?}: {error}"))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| anyhow::anyhow!("{url:?} is not an https URL"))?;
        let place = Place::Host {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(443),
        };
        Ok(Self {
            backends: Backends::new(cache.clone(), None),
            backend: Backend { place, trust, shows_certificate: false },
            url: url.to_owned(),
            path: uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
            authorization: None,
            timeout,
        })
    }

    /// Posts an object and reads one.
    ///
    /// # Errors
    /// Nothing was answered, or no success, or no JSON.
    pub async fn post(&self, object: &Value) -> Result<Value, String> {
        self.call(Method::POST, Body::from(object.to_string())).await
    }

    /// Posts an object; what is answered besides success is not read.
    ///
    /// # Errors
    /// Nothing was answered, or no success.
    pub async fn tell(&self, object: &Value) -> Result<(), String> {
        self.exchange(Method::POST, Body::from(object.to_string())).await.map(|_| ())
    }

    /// Reads an object.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn get(&self) -> Result<Value, String> {
        self.call(Method::GET, Body::empty()).await
    }

    async fn call(&self, method: Method, body: Body) -> Result<Value, String> {
        let bytes = self.exchange(method, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{:?}: {error}", self.url))
    }

    async fn exchange(&self, method: Method, body: Body) -> Result<bytes::Bytes, String> {
        let verb = if method == Method::POST { "Post" } else { "Get" };
        let told = |why: &dyn std::fmt::Display| format!("{verb} {:?}: {why}", self.url);
        let mut request = Request::builder()
            .method(method)
            .uri(&self.path)
            .header(header::HOST, self.backend.place.authority())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(body).map_err(|error| told(&error))?;
        let answer = async {
            let response = self.backends.send(&self.backend, request).await.map_err(|why| told(&why))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX);
            let bytes = body.collect().await.map_err(|error| told(&error))?.to_bytes();
            if !status.is_success() {
                return Err(told(&format!("unexpected status {status}")));
            }
            Ok(bytes)
        };
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(told(&"context deadline exceeded")),
        }
    }
}
