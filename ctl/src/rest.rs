//! Requests and answers as JSON, over `kube::Client`.
//!
//! `kube::Api` hides the response's headers, where the server's warnings are, and cannot ask for tables; so requests
//! are made here. Everything else about the connection stays with kube.

use bytes::Bytes;
use futures::{AsyncBufRead, AsyncBufReadExt, Stream, StreamExt};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use kube::core::Status;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::term;

/// Asks for a table, and takes plain JSON from a server that has none for the kind.
pub const ACCEPT_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// One request, before it has a body of its own.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    accept: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Call {
    /// A request without query and body.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Call {
            method,
            path: path.into(),
            query: Vec::new(),
            accept: "application/json",
            content_type: "application/json",
            body: Vec::new(),
        }
    }

    /// A GET.
    pub fn get(path: impl Into<String>) -> Self {
        Call::new(Method::GET, path)
    }

    /// Adds a query parameter.
    pub fn query(mut self, key: &str, value: impl Into<String>) -> Self {
        self.query.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a query parameter if there is a value.
    pub fn maybe(self, key: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    /// What the answer should look like.
    pub fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    /// Sets the body and its type.
    pub fn body(mut self, content_type: &'static str, value: &Value) -> Self {
        self.content_type = content_type;
        self.body = value.to_string().into_bytes();
        self
    }

    /// Sets a JSON body.
    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value)
    }

    fn into_request(self) -> Result<Request<Vec<u8>>> {
        let mut target = self.path;
        for (index, (key, value)) in self.query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(&encode(key));
            target.push('=');
            target.push_str(&encode(value));
        }
        let mut builder = Request::builder().method(self.method).uri(target).header("accept", self.accept);
        if !self.body.is_empty() {
            builder = builder.header("content-type", self.content_type);
        }
        builder.body(self.body).map_err(|error| Error::usage(error.to_string()))
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The connection to one server.
#[derive(Clone)]
pub struct Rest {
    client: kube::Client,
    server: String,
}

impl Rest {
    /// Wraps a client of the server at this address, which failures name.
    pub fn new(client: kube::Client, server: String) -> Self {
        Rest { client, server }
    }

    fn failed(&self, error: kube::Error) -> Error {
        Error::from(error).of_server(&self.server)
    }

    /// The client itself, for what kube does well: exec, attach, port-forward.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Sends a request and reads the answer as JSON.
    pub async fn call(&self, call: Call) -> Result<Value> {
        let body = self.bytes(call).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// Sends a request and reads the answer as bytes.
    pub async fn bytes(&self, call: Call) -> Result<Bytes> {
        let request = call.into_request()?.map(kube::client::Body::from);
        let response = self.client.send(request).await.map_err(|error| self.failed(error))?;
        let (parts, body) = response.into_parts();
        for warning in warnings(&parts.headers) {
            term::warn(warning);
        }
        let body = body.collect().await.map_err(|error| self.failed(error))?.to_bytes();
        if parts.status.is_success() {
            return Ok(body);
        }
        Err(Error::Status { status: Box::new(refusal(parts.status.as_u16(), &body)), doing: None })
    }

    /// Sends a request and hands the body over as it arrives.
    pub async fn stream(&self, call: Call) -> Result<impl AsyncBufRead + use<>> {
        self.client.request_stream(call.into_request()?).await.map_err(|error| self.failed(error))
    }

    /// Watches: one event an item, as (`ADDED`…, object).
    pub async fn watch(&self, call: Call) -> Result<impl Stream<Item = Result<(String, Value)>> + use<>> {
        let lines = Box::pin(self.stream(call.query("watch", "true")).await?).lines();
        Ok(lines.map(|line| {
            let line = line.map_err(|source| Error::Io { path: "watch".into(), source })?;
            let mut event: Value = serde_json::from_str(&line)?;
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            let object = event["object"].take();
            if kind == "ERROR" {
                let status: Status = serde_json::from_value(object)?;
                return Err(Error::Status { status: Box::new(status), doing: None });
            }
            Ok((kind, object))
        }))
    }
}

/// A refusal without a `Status` (a proxy's, say) becomes one, so that it can be reported like the others.
fn refusal(code: u16, body: &[u8]) -> Status {
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if !status.message.is_empty() || !status.reason.is_empty() => status,
        _ => {
            let text = String::from_utf8_lossy(body);
            let message = match text.trim() {
                "" => format!("the server answered with code {code}"),
                text => text.to_owned(),
            };
            serde_json::from_value(serde_json::json!({ "code": code, "message": message }))
                .expect("a status has no required field")
        }
    }
}

/// The texts of `Warning: 299 - "text"` headers (RFC 7234, 5.5).
fn warnings(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all("warning")
        .iter()
        .filter_map(|value| {
            let quoted = value.to_str().ok()?.strip_prefix("299 ")?.split_once('"')?.1;
            let text = quoted.rsplit_once('"').map_or(quoted, |(text, _)| text);
            Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded() {
        let call =
            Call::get("/api/v1/pods").query("labelSelector", "a=b,c in (d)").maybe("x", None::<String>);
        let request = call.into_request().expect("valid");
        assert_eq!(request.uri().to_string(), "/api/v1/pods?labelSelector=a%3Db%2Cc%20in%20%28d%29");
    }

    #[test]
    fn warnings_are_unquoted() {
        let mut headers = HeaderMap::new();
        headers.append("warning", r#"299 - "unknown field \"spec.x\"""#.parse().expect("valid"));
        headers.append("warning", r#"199 - "not ours""#.parse().expect("valid"));
        assert_eq!(warnings(&headers), vec![r#"unknown field "spec.x""#]);
    }

    #[test]
    fn a_refusal_that_is_no_status_keeps_its_text() {
        assert_eq!(refusal(502, b"bad gateway\n").message, "bad gateway");
        assert_eq!(refusal(503, b"").message, "the server answered with code 503");
        assert_eq!(refusal(404, br#"{"reason":"NotFound","code":404}"#).reason, "NotFound");
    }
}
