//! The last touch to an answer: indented for people, compressed where that pays.

use std::io::Write;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;

use crate::request::Query;

/// Answers shorter than this are not compressed, as upstream, in bytes.
const GZIP_FROM: u64 = 128 << 10;

/// What a request wants of its answer's encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pretty: bool,
    gzip: bool,
}

impl Wish {
    /// Reads a request's query and headers.
    pub fn of(request: &Request<Body>) -> Self {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let headers = request.headers();
        Self {
            pretty: pretty(query.get("pretty"), headers),
            gzip: request.method() == Method::GET && gzip(headers),
        }
    }

    /// Does it to an answer that is there as a whole; a stream stays as it is.
    pub async fn fulfil(self, mut response: Response<Body>) -> Response<Body> {
        use axum::body::HttpBody;
        let Some(length) = response.body().size_hint().exact() else { return response };
        let json = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|media| media.starts_with("application/json"));
        let (pretty, gzip) = (self.pretty && json, self.gzip && length >= GZIP_FROM);
        if !(pretty || gzip) || response.headers().contains_key(header::CONTENT_ENCODING) {
            return response;
        }
        let Ok(body) = std::mem::take(response.body_mut()).collect().await else { return response };
        let mut bytes = body.to_bytes();
        if pretty {
            bytes = indent(&bytes).into();
        }
        if gzip && let Ok(packed) = pack(&bytes) {
            bytes = packed;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        *response.body_mut() = Body::from(bytes);
        response
    }
}

/// People's tools get indented answers unless they say otherwise.
fn pretty(asked: &str, headers: &HeaderMap) -> bool {
    if !asked.is_empty() {
        return matches!(asked, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|person| agent.starts_with(person))
}

fn gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim() == "gzip" && weight.trim() != "q=0"
    })
}

fn pack(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut packed = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    packed.write_all(bytes)?;
    Ok(packed.finish()?.into())
}

/// Two spaces a level, as Go indents. The text must be JSON.
fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let mut bytes = json.iter().copied().filter(|byte| *byte != b'\n').peekable();
    while let Some(byte) = bytes.next() {
        if quoted {
            out.push(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                quoted = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                if !matches!(bytes.peek(), Some(b'}' | b']')) {
                    depth += 1;
                    line(&mut out, depth);
                } else if let Some(close) = bytes.next() {
                    out.push(close);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            byte => out.push(byte),
        }
    }
    out
}

fn line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 2));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_indented_as_go_does() {
        let value = serde_json::json!({"a": [1, {"b": "x,{\"y\":\\"}], "c": {}, "d": [], "e": null});
        let text = indent(value.to_string().as_bytes());
        assert_eq!(String::from_utf8(text).unwrap(), serde_json::to_string_pretty(&value).unwrap());
    }

    #[test]
    fn people_and_those_who_ask_get_indented_answers() {
        let with = |agent: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
            headers
        };
        assert!(pretty("", &with("curl/8")) && pretty("1", &with("kubectl")));
        assert!(!pretty("false", &with("curl/8")) && !pretty("", &with("kubectl")));
    }
}
