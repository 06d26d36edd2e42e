//! The rules for names, labels and keys, in upstream's words (`util/validation`).

use std::net::IpAddr;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

fn alnum(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => {
            alnum(first) && alnum(last) && bytes.iter().all(|&c| alnum(c) || c == b'-')
        }
        _ => false,
    }
}

fn too_long(text: &str, most: usize, problems: &mut Vec<String>) {
    if text.len() > most {
        problems.push(format!("must be no more than {most} characters"));
    }
}

/// What is wrong with a DNS-1123 label; empty if nothing.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    too_long(text, 63, &mut problems);
    if !is_label(text) && text.split('.').all(is_label) {
        problems.push("must not contain dots".into());
    } else if !is_label(text) {
        problems.push(format!(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
             start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
             validation is '{LABEL}')"
        ));
    }
    problems
}

/// What is wrong with a DNS-1123 subdomain.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    too_long(text, 253, &mut problems);
    if !text.split('.').all(is_label) {
        problems.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
             and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
             validation is '{LABEL}(\\.{LABEL})*')"
        ));
    }
    problems
}

/// What is wrong with a DNS-1123 subdomain whose labels may have underscores.
pub fn dns1123_subdomain_underscore(text: &str) -> Vec<String> {
    const LABEL: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let mut problems = Vec::new();
    too_long(text, 253, &mut problems);
    let good = |label: &str| {
        let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if alnum(first) && alnum(last))
            && bytes.iter().all(|&c| alnum(c) || c == b'-' || c == b'_')
    };
    if !text.split('.').all(good) {
        problems.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or \
             '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
             validation is '{LABEL}(\\.{LABEL})*')"
        ));
    }
    problems
}

/// What is wrong with a DNS-1035 label (it starts with a letter).
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    too_long(text, 63, &mut problems);
    if !is_label(text) || !text.as_bytes()[0].is_ascii_lowercase() {
        problems.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
             alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
             regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .into(),
        );
    }
    problems
}

/// What is wrong with a name that need only fit into a path.
pub fn path_segment(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for whole in [".", ".."] {
        if text == whole {
            problems.push(format!("may not be '{whole}'"));
        }
    }
    for part in ["/", "%"] {
        if text.contains(part) {
            problems.push(format!("may not contain '{part}'"));
        }
    }
    problems
}

/// What is wrong with an address of IP as upstream wants new ones: one way to write each.
pub fn ip(text: &str) -> Vec<String> {
    let Ok(address) = text.parse::<IpAddr>() else {
        // Upstream's older reader takes leading zeros, and tells them apart.
        let sloppy: Vec<&str> = text.split('.').map(|part| part.trim_start_matches('0')).collect();
        let plain: Vec<&str> = sloppy.iter().map(|part| if part.is_empty() { "0" } else { part }).collect();
        let zeros = text.split('.').all(|part| !part.is_empty()) && plain.join(".").parse::<IpAddr>().is_ok();
        let why = if zeros {
            "must not have leading 0s"
        } else {
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        };
        return vec![why.into()];
    };
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".into()]
        }
        address if address.to_string() != text => {
            vec![format!("must be in canonical form ({:?})", address.to_string())]
        }
        _ => Vec::new(),
    }
}

/// The check that a kind's `name_rule` names. With `prefix`, `text` is a generate-name prefix,
/// whose trailing dash counts for nothing.
pub fn by_rule(rule: &str, text: &str, prefix: bool) -> Vec<String> {
    let masked =
        if prefix && text.ends_with('-') { format!("{}a", &text[..text.len() - 1]) } else { text.into() };
    match rule {
        "dns1123-label" => dns1123_label(&masked),
        "dns1035-label" => dns1035_label(&masked),
        "path-segment" => path_segment(text),
        "ip" => ip(text),
        _ => dns1123_subdomain(&masked),
    }
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
        }
        _ => false,
    }
}

const WORD: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// What is wrong with a qualified name, such as a label's key: `[prefix/]name`.
pub fn qualified(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        ["", name] => {
            problems.push("prefix part must be non-empty".into());
            name
        }
        [prefix, name] => {
            problems.extend(dns1123_subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {WORD} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 characters".into());
    }
    if !is_word(name) {
        problems.push(format!("name part {WORD}"));
    }
    problems
}

/// What is wrong with a label's value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    too_long(text, 63, &mut problems);
    if !text.is_empty() && !is_word(text) {
        problems.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
             regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .into(),
        );
    }
    problems
}

/// What is wrong with a port's name (an IANA service name).
pub fn port_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    too_long(text, 15, &mut problems);
    if !text.bytes().all(|c| alnum(c) || c == b'-') {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".into());
    }
    if text.contains("--") {
        problems.push("must not contain consecutive hyphens".into());
    }
    if text.starts_with('-') || text.ends_with('-') {
        problems.push("must not begin or end with a hyphen".into());
    }
    problems
}

/// What is wrong with a key of a ConfigMap or Secret.
pub fn data_key(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    too_long(text, 253, &mut problems);
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) {
        problems.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .into(),
        );
    }
    match text {
        "." => problems.push("must not be '.'".into()),
        ".." => problems.push("must not be '..'".into()),
        _ if text.starts_with("..") => problems.push("must not start with '..'".into()),
        _ => {}
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_pass_and_bad_ones_do_not() {
        type Check = fn(&str) -> Vec<String>;
        let table: &[(Check, &str, bool)] = &[
            (dns1123_label, "web-1", true),
            (dns1123_label, "Web", false),
            (dns1123_label, "a.b", false),
            (dns1123_subdomain, "a.b-c.1", true),
            (dns1123_subdomain, "a..b", false),
            (dns1035_label, "1a", false),
            (dns1035_label, "", false),
            (qualified, "example.com/Name_1", true),
            (qualified, "/x", false),
            (qualified, "a/b/c", false),
            (label_value, "", true),
            (label_value, "-x", false),
            (port_name, "http", true),
            (port_name, "80", false),
            (data_key, "app.conf", true),
            (data_key, "../x", false),
            (ip, "10.0.0.1", true),
            (ip, "fe80::42:1dff:fe84:f9e2", true),
            (ip, "fe80:0::1", false),
            (ip, "::ffff:10.0.0.1", false),
            (ip, "10.00.0.1", false),
            (ip, "ten", false),
        ];
        for (check, text, good) in table {
            assert_eq!(check(text).is_empty(), *good, "{text}");
        }
        assert_eq!(ip("FE80::1"), ["must be in canonical form (\"fe80::1\")"]);
        assert_eq!(ip("10.01.0.1"), ["must not have leading 0s"]);
    }
}
