//! From a kubeconfig to a client.

mod swapping;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio_util::sync::CancellationToken;

pub use swapping::{Swap, following, swapping};

use crate::Error;

/// The kubeconfig that `skiff up` writes when it runs as root.
pub const LOCAL_KUBECONFIG: &str = "/var/lib/skiff/kubeconfig";

/// A client as a kubeconfig file says, with its current context.
///
/// # Errors
/// The file cannot be read, or names what does not exist.
pub async fn from_kubeconfig(path: impl AsRef<Path>) -> Result<kube::Client, Error> {
    from_kubeconfig_with(path, &KubeConfigOptions::default()).await
}

/// As [`from_kubeconfig`], with a context, cluster or user other than the file's.
///
/// # Errors
/// As [`from_kubeconfig`].
pub async fn from_kubeconfig_with(
    path: impl AsRef<Path>,
    options: &KubeConfigOptions,
) -> Result<kube::Client, Error> {
    Ok(kube::Client::try_from(load_config(path, options).await?)?)
}

/// The client configuration of a kubeconfig file.
///
/// # Errors
/// As [`from_kubeconfig`].
pub async fn load_config(path: impl AsRef<Path>, options: &KubeConfigOptions) -> Result<kube::Config, Error> {
    let path = path.as_ref();
    let failed = |source| Error::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, options).await.map_err(failed)?;
    config.headers.push((http::header::USER_AGENT, user_agent()));
    Ok(config)
}

/// This program's name and version: what it writes is then owned under that name.
fn user_agent() -> http::HeaderValue {
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("skiff");
    let text = format!("{name}/{}", env!("CARGO_PKG_VERSION"));
    http::HeaderValue::from_str(&text).unwrap_or(http::HeaderValue::from_static("skiff"))
}

/// Where the user's kubeconfig is: `KUBECONFIG` (its first entry that exists), else `~/.kube/config` if it exists, else
/// [`LOCAL_KUBECONFIG`].
pub fn default_kubeconfig() -> PathBuf {
    choose_kubeconfig(
        std::env::var("KUBECONFIG").ok().as_deref(),
        std::env::home_dir().as_deref(),
        Path::exists,
    )
}

fn choose_kubeconfig(variable: Option<&str>, home: Option<&Path>, exists: impl Fn(&Path) -> bool) -> PathBuf {
    if let Some(list) = variable.filter(|list| !list.is_empty()) {
        let mut entries = list.split(':').filter(|entry| !entry.is_empty()).map(PathBuf::from);
        let first = entries.clone().next().unwrap_or_default();
        return entries.find(|entry| exists(entry)).unwrap_or(first);
    }
    if let Some(path) = home.map(|home| home.join(".kube/config")).filter(|path| exists(path)) {
        return path;
    }
    PathBuf::from(LOCAL_KUBECONFIG)
}

/// Waits until the API server answers, trying again with back-off for ever.
///
/// # Errors
/// Only [`Error::Shutdown`].
pub async fn wait_until_up(client: &kube::Client, shutdown: &CancellationToken) -> Result<(), Error> {
    retry(shutdown, "API server", || client.apiserver_version()).await.map(|_| ())
}

/// Runs `attempt` until it succeeds, with a back-off from 100 ms doubling to 5 s.
///
/// # Errors
/// Only [`Error::Shutdown`].
pub async fn retry<T, F, R, E>(shutdown: &CancellationToken, what: &str, attempt: F) -> Result<T, Error>
where
    F: Fn() -> R,
    R: Future<Output = Result<T, E>>,
    E: std::fmt::Display,
{
    let mut delay = Duration::from_millis(100);
    loop {
        let result = tokio::select! { result = attempt() => result, () = shutdown.cancelled() => return Err(Error::Shutdown) };
        match result {
            Ok(value) => return Ok(value),
            Err(error) => tracing::debug!(what, %error, "not there yet, trying again"),
        }
        tokio::select! { () = tokio::time::sleep(delay) => {}, () = shutdown.cancelled() => return Err(Error::Shutdown) }
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_kubeconfig_that_exists_is_used() {
        let table: [(Option<&str>, &[&str], &str); 5] = [
            (Some("/a:/b"), &["/b"], "/b"),
            (Some("/a:/b"), &[], "/a"),
            (Some(""), &["/home/x/.kube/config"], "/home/x/.kube/config"),
            (None, &["/home/x/.kube/config"], "/home/x/.kube/config"),
            (None, &[], LOCAL_KUBECONFIG),
        ];
        for (variable, existing, expected) in table {
            let chosen = choose_kubeconfig(variable, Some(Path::new("/home/x")), |path| {
                existing.iter().any(|other| Path::new(other) == path)
            });
            assert_eq!(chosen, Path::new(expected), "{variable:?} {existing:?}");
        }
    }
}
