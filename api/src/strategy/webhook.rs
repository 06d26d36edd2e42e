//! Where webhooks are, as admission and conversion write it alike. Matched to
//! `apiserver/pkg/util/webhook/validation.go`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{list, text};
use crate::name;
use crate::status::FieldError;

const FORM: &str = "; desired format: https://host[/path]";

/// Checks a `clientConfig` at `at`, which the field is named where exactly one way is missing.
pub fn client_config(config: &Value, at: &str, errors: &mut Vec<FieldError>) {
    match (config["url"].as_str(), config["service"].is_object()) {
        (Some(_), true) | (None, false) => {
            errors.push(FieldError::required(at, "exactly one of url or service is required"));
        }
        (Some(given), false) => url(given, &format!("{at}.url"), errors),
        (None, true) => service(&config["service"], &format!("{at}.service"), errors),
    }
}

fn url(given: &str, at: &str, errors: &mut Vec<FieldError>) {
    let (scheme, rest) = given.split_once("://").unwrap_or(("", ""));
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (place, query) = before.split_once('?').unwrap_or((before, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if let Some(bad) = host.chars().find(|c| c.is_whitespace()) {
        let why = format!(
            "url must be a valid URL: parse {given:?}: invalid character {:?} in host name",
            bad.to_string()
        );
        errors.push(FieldError::required(at, format!("{why}{FORM}")));
        return;
    }
    if scheme != "https" {
        errors.push(FieldError::invalid(at, scheme, format!("'https' is the only allowed URL scheme{FORM}")));
    }
    if host.is_empty() {
        errors.push(FieldError::invalid(at, "", format!("host must be specified{FORM}")));
    }
    for (part, why) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.push(FieldError::invalid(at, part, why));
        }
    }
}

fn service(service: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for key in ["name", "namespace"] {
        if text(service, key).is_empty() {
            errors.push(FieldError::required(format!("{at}.{key}"), ""));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let why = format!("port is not valid: {}", super::PORT);
        errors.push(FieldError::invalid(format!("{at}.port"), port, why));
    }
    let path = text(service, "path");
    let at = format!("{at}.path");
    let mut wrong = |why: String| errors.push(FieldError::invalid(at.as_str(), path, why));
    match path {
        "" | "/" => return,
        "//" => return wrong("segment[0] may not be empty".into()),
        _ => {}
    }
    if !path.starts_with('/') {
        wrong("must start with a '/'".into());
    }
    // The first letter is not looked at, whatever it is.
    let rest = path.char_indices().nth(1).map_or("", |(index, _)| &path[index..]);
    for (index, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            wrong(format!("segment[{index}] may not be empty"));
            continue;
        }
        name::dns1123_subdomain(segment)
            .into_iter()
            .for_each(|why| wrong(format!("segment[{index}]: {why}")));
    }
}

/// The versions of reviews that the server knows.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// Whether a webhook that says which reviews it reads reads one of the known.
pub fn reads_known(versions: &[Value]) -> bool {
    versions.is_empty() || versions.iter().any(|one| one.as_str().is_some_and(|one| REVIEWS.contains(&one)))
}

/// Checks which reviews a webhook reads.
pub fn review_versions(holder: &Value, key: &str, at: &str, needs_known: bool, errors: &mut Vec<FieldError>) {
    let versions = list(holder, key);
    let known = REVIEWS.join(", ");
    if versions.is_empty() {
        errors.push(FieldError::required(at, format!("must specify one of {known}")));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        let version = version.as_str().unwrap_or_default();
        let at = format!("{at}[{index}]");
        if !seen.insert(version) {
            errors.push(FieldError::invalid(at, version, "duplicate version"));
            continue;
        }
        let wrong = name::dns1035_label(version).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(at.as_str(), version, why)));
    }
    if needs_known && !reads_known(versions) {
        let why = format!("must include at least one of {known}");
        errors.push(FieldError::invalid(at, versions.to_vec(), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(config: Value) -> Vec<String> {
        let mut errors = Vec::new();
        client_config(&config, "c", &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_webhook_is_at_one_place() {
        assert_eq!(said(json!({})), ["c: Required value: exactly one of url or service is required"]);
        assert_eq!(said(json!({"url": "https://a/b"})), Vec::<String>::new());
        assert_eq!(said(json!({"service": {"name": "a", "namespace": "b"}})), Vec::<String>::new());
    }

    #[test]
    fn urls_are_plain() {
        assert_eq!(
            said(json!({"url": "http://u@h/p?q#f"})),
            [
                "c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "c.url: Invalid value: \"u\": user information is not permitted in the URL",
                "c.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "c.url: Invalid value: \"q\": query parameters are not permitted in the URL",
            ]
        );
        assert_eq!(
            said(json!({"url": "https:///p"})),
            ["c.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]"]
        );
    }

    #[test]
    fn paths_have_no_empty_segments() {
        let path = |path: &str| said(json!({"service": {"name": "a", "namespace": "b", "path": path}}));
        assert_eq!(path("//"), ["c.service.path: Invalid value: \"//\": segment[0] may not be empty"]);
        assert_eq!(
            path("/a//b/"),
            ["c.service.path: Invalid value: \"/a//b/\": segment[1] may not be empty"]
        );
        assert_eq!(
            path("a"),
            [
                "c.service.path: Invalid value: \"a\": must start with a '/'",
                "c.service.path: Invalid value: \"a\": segment[0] may not be empty"
            ]
        );
        assert!(path("/a/b/").is_empty());
    }
}
