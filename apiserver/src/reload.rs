//! Files of configuration that are taken in again when they change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Calls `take` whenever a file says something else, until the server stops. One that cannot be used leaves what was;
/// `what` names that in the log.
pub fn follow(
    path: PathBuf,
    every: Duration,
    shutdown: CancellationToken,
    what: &'static str,
    take: impl Fn(&Path) -> anyhow::Result<()> + Send + Sync + 'static,
) {
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        let mut seen = std::fs::read(&path).unwrap_or_default();
        loop {
            tokio::time::sleep(every).await;
            let now = std::fs::read(&path).unwrap_or_default();
            if now == seen {
                continue;
            }
            let file = path.display();
            match take(&path) {
                Ok(()) => tracing::info!(%file, "the {what} are as the file says now"),
                Err(error) => tracing::error!(%error, %file, "the {what} stay as they were"),
            }
            seen = now;
        }
    }));
}
