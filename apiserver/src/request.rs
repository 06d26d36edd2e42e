//! What a path and a method ask for. Pure.

use std::collections::BTreeMap;

use http::Method;

/// A request taken apart, as upstream's `RequestInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource.
    pub is_resource: bool,
    /// The path.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the lower
    /// case method for other paths.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// Empty if none.
    pub namespace: String,
    /// The plural.
    pub resource: String,
    /// Empty if none.
    pub subresource: String,
    /// Empty if none.
    pub name: String,
    /// What follows a subresource (`proxy/…`).
    pub rest: String,
}

/// Takes a method, a path and its query apart.
pub fn parse(method: &Method, path: &str, query: &Query) -> RequestInfo {
    // Upstream takes the decoded path apart: `%2F` separates like `/`.
    let path = &percent(path, false);
    let mut info = RequestInfo {
        path: path.to_owned(),
        verb: method.as_str().to_ascii_lowercase(),
        ..RequestInfo::default()
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let mut rest = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => {
            info.version = (*version).to_owned();
            rest
        }
        ["apis", group, version, rest @ ..] if !rest.is_empty() => {
            info.group = (*group).to_owned();
            info.version = (*version).to_owned();
            rest
        }
        _ => return info,
    };
    info.is_resource = true;
    let mut watch = query.flag("watch");
    if rest[0] == "watch" && rest.len() > 1 {
        watch = true;
        rest = &rest[1..];
    }
    if rest[0] == "namespaces" && rest.len() > 1 {
        info.namespace = rest[1].to_owned();
        // A namespace's own subresources are not resources inside it.
        let own = rest.len() == 2 || (rest.len() == 3 && matches!(rest[2], "status" | "finalize"));
        if !own {
            rest = &rest[2..];
        }
    }
    info.resource = rest[0].to_owned();
    info.name = rest.get(1).map(|part| (*part).to_owned()).unwrap_or_default();
    info.subresource = rest.get(2).map(|part| (*part).to_owned()).unwrap_or_default();
    info.rest = rest.get(3..).unwrap_or_default().join("/");
    info.verb = match (method, info.name.is_empty()) {
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, false) => "delete",
        (&Method::DELETE, true) => "deletecollection",
        (&Method::GET | &Method::HEAD, true) if watch => "watch",
        (&Method::GET | &Method::HEAD, true) => "list",
        (&Method::GET | &Method::HEAD, false) if watch && info.subresource.is_empty() => "watch",
        (&Method::GET | &Method::HEAD, false) => "get",
        _ => info.verb.as_str(),
    }
    .to_owned();
    info
}

/// Decodes `%41`, and `+` as a space where `plus`. What is not an escape stays as it is.
pub fn percent(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The query of a URL: each key with all its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    text: String,
    map: BTreeMap<String, Vec<String>>,
}

impl Query {
    /// Reads `a=b&c=d`.
    pub fn parse(text: &str) -> Self {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            map.entry(percent(key, true)).or_default().push(percent(value, true));
        }
        Self { text: text.to_owned(), map }
    }

    /// The query as it was sent.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first value of a key, or the empty string.
    pub fn get(&self, key: &str) -> &str {
        self.map.get(key).and_then(|values| values.first()).map_or("", String::as_str)
    }

    /// All values of a key.
    pub fn all(&self, key: &str) -> &[String] {
        self.map.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether a key is set to something other than `false`, in any case, or `0`.
    pub fn flag(&self, key: &str) -> bool {
        self.map.contains_key(key) && self.get(key) != "0" && !self.get(key).eq_ignore_ascii_case("false")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, query: &str, expected: [&str; 7]) {
        let info = parse(&method, path, &Query::parse(query));
        let got = [
            &info.verb,
            &info.group,
            &info.version,
            &info.namespace,
            &info.resource,
            &info.name,
            &info.subresource,
        ];
        assert_eq!(got.map(String::as_str), expected, "{method} {path}?{query}");
    }

    #[test]
    fn paths_are_taken_apart_as_upstream_does() {
        use Method as M;
        check(M::GET, "/api/v1/pods", "", ["list", "", "v1", "", "pods", "", ""]);
        check(M::GET, "/api/v1/pods", "watch=1", ["watch", "", "v1", "", "pods", "", ""]);
        check(M::GET, "/api/v1/namespaces", "", ["list", "", "v1", "", "namespaces", "", ""]);
        check(M::GET, "/api/v1/namespaces/a", "", ["get", "", "v1", "a", "namespaces", "a", ""]);
        check(
            M::PUT,
            "/api/v1/namespaces/a/finalize",
            "",
            ["update", "", "v1", "a", "namespaces", "a", "finalize"],
        );
        check(
            M::POST,
            "/apis/apps/v1/namespaces/a/deployments",
            "",
            ["create", "apps", "v1", "a", "deployments", "", ""],
        );
        check(
            M::PATCH,
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            "",
            ["patch", "apps", "v1", "a", "deployments", "d", "scale"],
        );
        check(M::DELETE, "/api/v1/nodes", "", ["deletecollection", "", "v1", "", "nodes", "", ""]);
        check(M::GET, "/healthz", "", ["get", "", "", "", "", "", ""]);
    }

    #[test]
    fn escapes_are_decoded_and_rubbish_stays() {
        assert_eq!(percent("a%3Db+c%2", true), "a=b c%2");
    }
}
