//! A proxy in front that has found out who asks and says so in headers. It is believed only with a certificate of its own CA
//! (`--requestheader-client-ca-file`): the headers of anyone else mean nothing.

use std::path::PathBuf;

use http::HeaderMap;

use super::credentials::extra_key;
use crate::security::User;

/// The `--requestheader-*` flags.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The CA of proxies; none is believed without it.
    pub client_ca_file: Option<PathBuf>,
    /// The common names that a proxy's certificate may have; empty for any.
    pub allowed_names: Vec<String>,
    /// The headers that name the user; the first that is there counts.
    pub username_headers: Vec<String>,
    /// The headers that carry the uid.
    pub uid_headers: Vec<String>,
    /// The headers that name groups; all of them count.
    pub group_headers: Vec<String>,
    /// What the headers of further facts begin with.
    pub extra_headers_prefix: Vec<String>,
}

/// The headers that upstream's own proxy sets; nobody behind authentication sees them, whatever the flags say.
pub const STANDARD: [&str; 3] = ["X-Remote-User", "X-Remote-Uid", "X-Remote-Group"];
/// The same for further facts.
pub const STANDARD_EXTRA: &str = "X-Remote-Extra-";

impl Options {
    /// Every header that may carry an identity.
    pub fn headers(&self) -> Vec<String> {
        let own = [&self.username_headers, &self.uid_headers, &self.group_headers];
        own.into_iter().flatten().cloned().chain(STANDARD.map(str::to_owned)).collect()
    }

    /// What headers that carry further facts begin with.
    pub fn prefixes(&self) -> Vec<String> {
        self.extra_headers_prefix.iter().cloned().chain([STANDARD_EXTRA.to_owned()]).collect()
    }

    /// Whether a proxy's certificate may have this common name.
    pub fn allows(&self, name: &str) -> bool {
        self.allowed_names.is_empty() || self.allowed_names.iter().any(|allowed| allowed == name)
    }

    /// Whom the headers name, if they do.
    pub fn user(&self, headers: &HeaderMap) -> Option<User> {
        let all = |names: &[String]| -> Vec<String> {
            let values = names.iter().flat_map(|name| headers.get_all(name.as_str()));
            values
                .filter_map(|value| value.to_str().ok())
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let first = |names: &[String]| all(names).into_iter().next();
        let mut user = User {
            name: first(&self.username_headers)?,
            uid: first(&self.uid_headers).unwrap_or_default(),
            groups: all(&self.group_headers),
            ..User::default()
        };
        for prefix in &self.extra_headers_prefix {
            for (name, value) in headers {
                let Some(rest) = name.as_str().strip_prefix(prefix.to_ascii_lowercase().as_str()) else {
                    continue;
                };
                let value = value.to_str().unwrap_or_default().to_owned();
                user.extra.entry(extra_key(rest)).or_default().push(value);
            }
        }
        Some(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_user_groups_uid_and_more() {
        let options = Options {
            username_headers: vec!["X-Remote-User".into(), "X-User".into()],
            uid_headers: vec!["X-Remote-Uid".into()],
            group_headers: vec!["X-Remote-Group".into()],
            extra_headers_prefix: vec!["X-Remote-Extra-".into()],
            ..Options::default()
        };
        let mut headers = HeaderMap::new();
        assert!(options.user(&headers).is_none());
        for (name, value) in [
            ("x-remote-user", ""),
            ("x-user", "jane"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-extra-acme.com%2fproject", "one"),
            ("x-remote-extra-acme.com%2fproject", "two"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let user = options.user(&headers).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "7"), "an empty header is none");
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.extra["acme.com/project"], ["one", "two"]);
    }

    #[test]
    fn a_proxy_has_one_of_the_names() {
        let mut options = Options::default();
        assert!(options.allows("any"));
        options.allowed_names = vec!["front".into()];
        assert!(options.allows("front") && !options.allows("any"));
    }
}
