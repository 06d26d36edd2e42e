//! Whether the server lives and may be used: `/healthz`, `/livez`, `/readyz`, whole and check by check.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, header};

use crate::app::App;
use crate::negotiate;
use crate::request::Query;

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// It answers.
    Ping,
    /// The store answers; called as upstream calls it, whatever the store.
    Store,
    /// The cache has been filled.
    Informers,
    /// What every cluster has is there.
    Bootstrap,
    /// It is not about to end.
    Shutdown,
}

/// Name, check, and whether it counts for `/healthz` and `/livez` too, not only for `/readyz`.
const CHECKS: [(&str, Check, bool); 5] = [
    ("ping", Check::Ping, true),
    ("etcd", Check::Store, true),
    ("informer-sync", Check::Informers, false),
    ("poststarthook/rbac/bootstrap-roles", Check::Bootstrap, true),
    ("shutdown", Check::Shutdown, false),
];

impl Check {
    async fn run(self, app: &App) -> Result<(), String> {
        match self {
            Self::Ping => Ok(()),
            Self::Store => match tokio::time::timeout(PATIENCE, app.storage.revision()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the store does not answer in time".into()),
            },
            Self::Informers | Self::Bootstrap if !app.is_ready() => Err("not started yet".into()),
            Self::Informers | Self::Bootstrap => Ok(()),
            Self::Shutdown if app.shutdown.is_cancelled() => Err("process is shutting down".into()),
            Self::Shutdown => Ok(()),
        }
    }
}

/// Answers `/NAME` with all of its checks, or `/NAME/CHECK` with that one.
pub async fn answer(app: &App, name: &str, one: &str, query: &Query) -> Response<Body> {
    let checks = CHECKS.iter().filter(|(_, _, everywhere)| *everywhere || name == "readyz");
    if !one.is_empty() {
        let mut checks = checks;
        return match checks.find(|(known, _, _)| *known == one) {
            None => text(404, "404 page not found\n".into()),
            Some((_, check, _)) => match check.run(app).await {
                Ok(()) => text(200, "ok".into()),
                Err(why) => text(500, format!("internal server error: {why}\n")),
            },
        };
    }
    let excluded = query.all("exclude");
    let (mut lines, mut failed) = (String::new(), false);
    for (known, check, _) in checks.clone() {
        if excluded.iter().any(|name| name == known) {
            lines.push_str(&format!("[+]{known} excluded: ok\n"));
            continue;
        }
        match check.run(app).await {
            Ok(()) => lines.push_str(&format!("[+]{known} ok\n")),
            Err(why) => {
                tracing::warn!(check = known, %why, "a health check failed");
                failed = true;
                lines.push_str(&format!("[-]{known} failed: reason withheld\n"));
            }
        }
    }
    let strange: Vec<String> = excluded
        .iter()
        .filter(|name| !checks.clone().any(|(known, _, _)| known == name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !strange.is_empty() {
        let names = strange.join(",");
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    if failed {
        return text(500, format!("{lines}{name} check failed\n"));
    }
    let verbose = !query.all("verbose").is_empty();
    text(200, if verbose { format!("{lines}{name} check passed\n") } else { "ok".into() })
}

/// An answer for people and for probes.
pub fn text(code: u16, text: String) -> Response<Body> {
    let mut response = negotiate::json(code, text);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// Every path that is answered here.
pub fn paths() -> impl Iterator<Item = String> {
    ["healthz", "livez", "readyz"].into_iter().flat_map(|name| {
        let checks = CHECKS.iter().filter(move |(_, _, everywhere)| *everywhere || name == "readyz");
        std::iter::once(format!("/{name}")).chain(checks.map(move |(check, _, _)| format!("/{name}/{check}")))
    })
}
