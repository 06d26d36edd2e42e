//! Which kubeconfig is used: the flag, then `KUBECONFIG`, then `~/.kube/config`, then that of the local Skiff.

use std::path::{Path, PathBuf};

use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::error::{Error, Result};

/// Where `skiff up` writes the local cluster's administrator's kubeconfig when run by root.
pub const LOCAL_CLUSTER: &str = "/var/lib/skiff/kubeconfig";

/// The files to read, first to last; the first one to name a thing wins. Empty if there is none.
pub fn search(
    flag: Option<&Path>,
    variable: Option<&str>,
    home: Option<&Path>,
    exists: impl Fn(&Path) -> bool,
) -> Vec<PathBuf> {
    if let Some(flag) = flag {
        return vec![flag.to_owned()];
    }
    if let Some(variable) = variable.filter(|value| !value.is_empty()) {
        let listed: Vec<PathBuf> =
            std::env::split_paths(variable).filter(|path| !path.as_os_str().is_empty()).collect();
        let found: Vec<PathBuf> = listed.iter().filter(|path| exists(path)).cloned().collect();
        // A file that is named and missing is reported by name rather than passed over in silence.
        return if found.is_empty() { listed } else { found };
    }
    let own = home.map(|home| home.join(".kube/config"));
    own.into_iter().chain([PathBuf::from(LOCAL_CLUSTER)]).find(|path| exists(path)).into_iter().collect()
}

/// The files that this process's environment names.
pub fn paths(flag: Option<&Path>) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let variable = std::env::var("KUBECONFIG").ok();
    search(flag, variable.as_deref(), home.as_deref(), Path::exists)
}

/// The merged kubeconfig.
pub fn load(flag: Option<&Path>) -> Result<Kubeconfig> {
    let mut merged = Kubeconfig::default();
    for path in paths(flag) {
        let next = Kubeconfig::read_from(&path).map_err(|error| Error::Kubeconfig(Box::new(error)))?;
        merged = merged.merge(next).map_err(|error| Error::Kubeconfig(Box::new(error)))?;
    }
    Ok(merged)
}

/// What the command line says about the connection.
#[derive(Debug, Default, Clone)]
pub struct Overrides {
    /// `--kubeconfig`
    pub file: Option<PathBuf>,
    /// `--context`
    pub context: Option<String>,
    /// `--cluster`
    pub cluster: Option<String>,
    /// `--user`
    pub user: Option<String>,
    /// `--server`
    pub server: Option<String>,
    /// `--token`
    pub token: Option<String>,
    /// `--insecure-skip-tls-verify`
    pub insecure: bool,
    /// `--as`
    pub impersonate: Option<String>,
    /// `--as-group`
    pub impersonate_groups: Vec<String>,
}

/// The connection that flags and files describe.
pub async fn config(overrides: &Overrides) -> Result<Config> {
    let files = paths(overrides.file.as_deref());
    let merged = load(overrides.file.as_deref())?;
    // Files without any cluster (`--kubeconfig /dev/null`) leave all to the flags, as with kubectl.
    let bare = merged.contexts.is_empty() && merged.current_context.is_none() && overrides.server.is_some();
    let mut config = if files.is_empty() || bare {
        match (&overrides.server, Config::incluster()) {
            (Some(server), _) => Config::new(uri(server)?),
            (None, Ok(config)) => config,
            (None, Err(_)) => {
                return Err(Error::usage(format!(
                    "no cluster is configured: neither --kubeconfig, KUBECONFIG, ~/.kube/config nor {LOCAL_CLUSTER} names one; start one with `skiff up`"
                )));
            }
        }
    } else {
        let options = KubeConfigOptions {
            context: overrides.context.clone(),
            cluster: overrides.cluster.clone(),
            user: overrides.user.clone(),
        };
        Config::from_custom_kubeconfig(merged, &options)
            .await
            .map_err(|error| Error::Kubeconfig(Box::new(error)))?
    };
    if let Some(server) = &overrides.server {
        config.cluster_url = uri(server)?;
    }
    if let Some(token) = &overrides.token {
        config.auth_info.token = Some(token.clone().into());
    }
    if overrides.insecure {
        config.accept_invalid_certs = true;
        config.root_cert = None;
    }
    if let Some(user) = &overrides.impersonate {
        config.auth_info.impersonate = Some(user.clone());
    }
    if !overrides.impersonate_groups.is_empty() {
        config.auth_info.impersonate_groups = Some(overrides.impersonate_groups.clone());
    }
    // `logs -f` and watches may be silent for hours.
    config.read_timeout = None;
    // A command that cannot reach the server should say so at once.
    config.default_retry = false;
    Ok(config)
}

fn uri(server: &str) -> Result<http::Uri> {
    let server = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    server.parse().map_err(|error| Error::usage(format!("invalid --server {server:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_searched_in_order() {
        let home = Some(Path::new("/h"));
        type Case<'a> = (Option<&'a str>, Option<&'a str>, &'a [&'a str], &'a [&'a str]);
        let cases: [Case; 6] = [
            (Some("/flag"), Some("/env"), &["/env"], &["/flag"]),
            (None, Some("/a:/b"), &["/a", "/b"], &["/a", "/b"]),
            (None, Some("/a:/b"), &["/b"], &["/b"]),
            (None, Some("/gone"), &[], &["/gone"]),
            (None, None, &["/h/.kube/config", LOCAL_CLUSTER], &["/h/.kube/config"]),
            (None, Some(""), &[LOCAL_CLUSTER], &[LOCAL_CLUSTER]),
        ];
        for (flag, variable, present, want) in cases {
            let got = search(flag.map(Path::new), variable, home, |path| {
                present.iter().any(|name| Path::new(name) == path)
            });
            assert_eq!(got, want.iter().map(PathBuf::from).collect::<Vec<_>>());
        }
    }
}
