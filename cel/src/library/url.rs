//! Absolute URLs, taken apart as Go's `net/url` does.

use std::fmt;
use std::sync::Arc;

use super::{Call, Library, Native, Result};
use crate::error::EvaluationError;
use crate::value::Value;

/// A URL.
#[derive(Debug, Clone)]
pub struct Url {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "url" => |call| match parse(call.text(0)?) {
            Ok(url) => Ok(Library::Url(Arc::new(url)).into()),
            Err(why) => {
                let text = call.text(0)?;
                let message = format!("URL parse error during conversion from string: parse {text:?}: {why}");
                Err(EvaluationError::Failed(message))
            }
        },
        "isURL" => |call| Ok(Value::Bool(parse(call.text(0)?).is_ok())),
        "getScheme" => |call| Ok(url(call)?.scheme.clone().into()),
        "getHost" => |call| Ok(url(call)?.host.clone().into()),
        "getHostname" => |call| Ok(split_host(&url(call)?.host).0.to_owned().into()),
        "getPort" => |call| Ok(split_host(&url(call)?.host).1.to_owned().into()),
        "getEscapedPath" => |call| Ok(url(call)?.path.clone().into()),
        "getQuery" => query,
        _ => return None,
    })
}

fn url<'c>(call: &'c Call<'_, '_>) -> Result<&'c Url> {
    match call.library(0)? {
        Library::Url(url) => Ok(url),
        _ => Err(EvaluationError::no_overload()),
    }
}

/// The host without brackets, and the port.
fn split_host(host: &str) -> (&str, &str) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !name.ends_with(':') => {
            if name.contains(':') && !name.ends_with(']') { (host, "") } else { (name, port) }
        }
        _ => (host, ""),
    };
    (name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name), port)
}

/// Reads an absolute URL or an absolute path (`url.ParseRequestURI`).
pub(super) fn parse(text: &str) -> std::result::Result<Url, String> {
    if text.chars().any(|c| c.is_control()) {
        return Err("net/url: invalid control character in URL".into());
    }
    if text.is_empty() {
        return Err("empty url".into());
    }
    let (scheme, after) = scheme(text)?;
    if scheme.is_empty() && !after.starts_with('/') {
        return Err("invalid URI for request".into());
    }
    let after = after.split_once('#').map_or(after, |(before, _)| before);
    let (rest, query) = after.split_once('?').unwrap_or((after, ""));
    if !rest.starts_with('/') {
        // What follows a scheme without a slash is opaque.
        let (host, path) = (String::new(), String::new());
        return Ok(Url { text: text.into(), scheme, host, path, query: query.into() });
    }
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) if !scheme.is_empty() || !rest.starts_with('/') => {
            let end = rest.find('/').unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        }
        _ => ("", rest),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    check_host(host)?;
    check_escapes(path)?;
    Ok(Url { text: text.into(), scheme, host: host.into(), path: escaped_path(path), query: query.into() })
}

fn scheme(text: &str) -> std::result::Result<(String, &str), String> {
    for (at, character) in text.char_indices() {
        match character {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".into()),
            ':' => return Ok((text[..at].to_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    // A colon in the first segment of a path would be a scheme.
    Ok((String::new(), text))
}

fn check_host(host: &str) -> std::result::Result<(), String> {
    if let Some(after) = host.strip_prefix('[') {
        let Some((_, port)) = after.split_once(']') else { return Err("missing ']' in host".into()) };
        return check_port(port);
    }
    if let Some((_, port)) = host.split_once(':') {
        check_port(&format!(":{port}"))?;
    }
    match host.chars().find(|c| matches!(c, ' ' | '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        Some(bad) => Err(format!("invalid character {:?} in host name", bad.to_string())),
        None => check_escapes(host),
    }
}

fn check_port(port: &str) -> std::result::Result<(), String> {
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => Ok(()),
        _ => Err(format!("invalid port {port:?} after host")),
    }
}

fn check_escapes(text: &str) -> std::result::Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let digits: String = text[at + 1..].chars().take(2).collect();
        if digits.len() != 2 || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!("invalid URL escape {:?}", format!("%{digits}")));
        }
    }
    Ok(())
}

/// The path with everything escaped that must be.
fn escaped_path(path: &str) -> String {
    let mut escaped = String::new();
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&byte);
        if plain {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn query<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let mut found: Vec<(String, Vec<Value<'a>>)> = Vec::new();
    for part in url(call)?.query.split('&').filter(|part| !part.is_empty() && !part.contains(';')) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (Some(key), Some(value)) = (unescape(key), unescape(value)) else { continue };
        match found.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value.into()),
            None => found.push((key, vec![value.into()])),
        }
    }
    Ok(Value::map(found.into_iter().map(|(key, values)| (key, values.into_iter().collect()))))
}

fn unescape(text: &str) -> Option<String> {
    check_escapes(text).ok()?;
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
