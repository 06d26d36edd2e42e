//! Who asks without any credentials, and where that is enough.

/// The paths that answer anyone unless told otherwise; everything else needs credentials. Kubernetes lets anyone in and leaves the rest
/// to authorization.
pub const OPEN_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// Where a node that joins finds out what the cluster's CA is, before it has anything to show; a role lets anyone read it.
pub const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

/// Where nobody in particular may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// On [`OPEN_PATHS`] and single checks below them, and for [`CLUSTER_INFO`].
    #[default]
    Health,
    /// Nowhere (`--anonymous-auth=false`).
    Never,
    /// Everywhere (`--anonymous-auth=true`); authorization has the last word.
    Always,
    /// On these paths exactly (the `conditions` of an AuthenticationConfiguration).
    On(Vec<String>),
}

impl Anonymous {
    /// Whether a path may be asked for without credentials.
    pub fn allows(&self, path: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::On(paths) => paths.iter().any(|own| own == path),
            Self::Health if path == CLUSTER_INFO => true,
            Self::Health => OPEN_PATHS.iter().any(|open| {
                path.strip_prefix(open).is_some_and(|rest| {
                    rest.is_empty() || rest == "/" || (*open != "/version" && rest.starts_with('/'))
                })
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_version_answer_anyone_and_nothing_else_does() {
        let table = [
            ("/healthz", true),
            ("/livez", true),
            ("/readyz/ping", true),
            ("/version", true),
            ("/version/", true),
            ("/version/x", false),
            ("/healthzz", false),
            ("/api", false),
            ("/metrics", false),
            (CLUSTER_INFO, true),
            ("/api/v1/namespaces/kube-public/configmaps/other", false),
        ];
        for (path, open) in table {
            assert_eq!(Anonymous::Health.allows(path), open, "{path}");
            assert!(Anonymous::Always.allows(path) && !Anonymous::Never.allows(path));
        }
        let one = Anonymous::On(vec!["/livez".into()]);
        assert!(one.allows("/livez") && !one.allows("/livez/") && !one.allows("/healthz"));
    }
}
