//! Ingresses: backends, hosts, paths.

use std::net::IpAddr;

use serde_json::Value;

use super::{PORT, Strategy, list, text};
use crate::status::FieldError;
use crate::{Object, name};

/// The strategy of ingresses.
pub struct Ingress;

impl Strategy for Ingress {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        if list(spec, "rules").is_empty() && !spec["defaultBackend"].is_object() {
            let why = "either `defaultBackend` or `rules` must be specified";
            errors.push(FieldError::invalid("spec", spec["rules"].clone(), why));
        }
        if spec["defaultBackend"].is_object() {
            backend(&spec["defaultBackend"], "spec.defaultBackend", &mut errors);
        }
        for (r, rule) in list(spec, "rules").iter().enumerate() {
            let at = format!("spec.rules[{r}]");
            host(text(rule, "host"), &format!("{at}.host"), &mut errors);
            for (p, path) in list(&rule["http"], "paths").iter().enumerate() {
                let at = format!("{at}.http.paths[{p}]");
                path_errors(path, &at, &mut errors);
                backend(&path["backend"], &format!("{at}.backend"), &mut errors);
            }
        }
        errors
    }
}

fn host(given: &str, at: &str, errors: &mut Vec<FieldError>) {
    if given.is_empty() {
        return;
    }
    if given.parse::<IpAddr>().is_ok() {
        errors.push(FieldError::invalid(at, given, "must be a DNS name, not an IP address"));
    }
    let plain = given.strip_prefix("*.").unwrap_or(given);
    errors.extend(name::dns1123_subdomain(plain).into_iter().map(|why| FieldError::invalid(at, given, why)));
}

fn path_errors(path: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let (own, at) = (text(path, "path"), format!("{at}.path"));
    match text(path, "pathType") {
        "Exact" | "Prefix" => {
            if !own.starts_with('/') {
                errors.push(FieldError::invalid(&at, own, "must be an absolute path"));
            }
            if own.is_empty() {
                return;
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if own.contains(part) {
                    errors.push(FieldError::invalid(&at, own, format!("must not contain '{part}'")));
                }
            }
            for end in ["/..", "/."] {
                if own.ends_with(end) {
                    errors.push(FieldError::invalid(&at, own, format!("cannot end with '{end}'")));
                }
            }
        }
        "ImplementationSpecific" if !own.is_empty() && !own.starts_with('/') => {
            errors.push(FieldError::invalid(at, own, "must be an absolute path"));
        }
        _ => {}
    }
}

fn backend(backend: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let service = &backend["service"];
    match (service.is_object(), backend["resource"].is_object()) {
        (false, false) => errors.push(FieldError::invalid(at, "", "resource or service backend is required")),
        (true, true) => {
            errors.push(FieldError::invalid(at, "", "cannot set both resource and service backends"));
        }
        (true, false) => {
            let number = service["port"]["number"].as_i64().unwrap_or(0);
            match (text(&service["port"], "name").is_empty(), number) {
                (true, 0) => errors.push(FieldError::required(at, "port name or number is required")),
                (false, number) if number != 0 => {
                    errors.push(FieldError::invalid(at, "", "cannot set both port name & port number"));
                }
                (true, number) if !(1..=65535).contains(&number) => {
                    errors.push(FieldError::invalid(format!("{at}.service.port.number"), number, PORT));
                }
                _ => {}
            }
        }
        (false, true) => {}
    }
}
