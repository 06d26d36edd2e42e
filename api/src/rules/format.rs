//! The forms that text and numbers may have, by the names that the tables use.

use std::net::IpAddr;

use serde_json::Value;

use crate::name;

/// What is wrong with a value of that form; nothing for a value of another type.
pub fn reasons(form: &str, value: &Value) -> Vec<String> {
    if let ("port-or-name", Some(number)) = (form, value.as_i64()) {
        let good = (1..=65535).contains(&number);
        return if good { Vec::new() } else { vec!["must be between 1 and 65535, inclusive".into()] };
    }
    let Some(text) = value.as_str() else {
        return match (form, value.as_i64()) {
            ("amount-or-percent", Some(number)) if number < 0 => {
                vec!["must be greater than or equal to 0".into()]
            }
            _ => Vec::new(),
        };
    };
    match form {
        "label" => name::dns1123_label(text),
        "subdomain" => name::dns1123_subdomain(text),
        "subdomain-or-dot" if text == "." => Vec::new(),
        "subdomain-or-dot" => name::dns1123_subdomain_underscore(text.strip_suffix('.').unwrap_or(text)),
        "dns1035" => name::dns1035_label(text),
        "path-segment" => name::path_segment(text),
        "qualified" => name::qualified(text),
        "label-value" => name::label_value(text),
        "port-name" | "port-or-name" => name::port_name(text),
        "data-key" => name::data_key(text),
        "variable" => refuse(
            !text.chars().all(|c| (' '..='~').contains(&c) && c != '='),
            "a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
        "header" => refuse(
            !text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-'),
            "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used \
             for validation is '[-A-Za-z0-9]+')",
        ),
        "no-backsteps" => backsteps(text),
        "relative" => relative(text),
        "local" => {
            let mut reasons = relative(text);
            if text.starts_with("..") && !text.starts_with("../") {
                reasons.push("must not start with '..'".into());
            }
            reasons
        }
        "absolute" => refuse(!text.starts_with('/'), "must be an absolute path"),
        "trimmed" => refuse(text.trim() != text, "must not have leading or trailing whitespace"),
        "ip" => refuse(
            text.parse::<IpAddr>().is_err(),
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        "cidr" => refuse(!is_cidr(text), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        "amount-or-percent" => refuse(
            !text.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit())),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex \
             used for validation is '[0-9]+%')",
        ),
        "sysctl" => refuse(
            text.len() > 253
                || !text.split(['.', '/']).all(|part| {
                    let ends = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
                    let bytes = part.as_bytes();
                    bytes.first().is_some_and(|c| ends(*c))
                        && bytes.last().is_some_and(|c| ends(*c))
                        && bytes.iter().all(|c| ends(*c) || b"-_".contains(c))
                }),
            "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
        ),
        _ => Vec::new(),
    }
}

fn refuse(bad: bool, why: &str) -> Vec<String> {
    if bad { vec![why.to_owned()] } else { Vec::new() }
}

fn backsteps(text: &str) -> Vec<String> {
    refuse(text.split('/').any(|part| part == ".."), "must not contain '..'")
}

fn relative(text: &str) -> Vec<String> {
    let mut reasons = refuse(text.starts_with('/'), "must be a relative path");
    reasons.extend(backsteps(text));
    reasons
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 32,
        (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 128,
        _ => false,
    }
}
