//! Files of configuration that are taken in again when they change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio_util::sync::CancellationToken;

/// How often a file was taken in again, and how often that failed.
#[derive(Debug, Clone, Default)]
pub struct Count(pub(crate) Family<Outcome, Counter>);

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    status: &'static str,
}

impl Count {
    fn note(&self, status: &'static str) {
        self.0.get_or_create(&Outcome { status }).inc();
    }
}

/// A file that is followed.
#[derive(Debug)]
pub struct Followed {
    /// It.
    pub path: PathBuf,
    /// How often it is looked at.
    pub every: Duration,
    /// What it says, in the log's words.
    pub what: &'static str,
    /// What is counted.
    pub count: Count,
}

/// Calls `take` whenever a file says something else, until the server stops. One that cannot be used leaves what was.
pub fn follow(
    file: Followed,
    shutdown: CancellationToken,
    take: impl Fn(&Path) -> anyhow::Result<()> + Send + Sync + 'static,
) {
    let Followed { path, every, what, count } = file;
    let mut seen = std::fs::read(&path).unwrap_or_default();
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(every).await;
            let now = std::fs::read(&path).unwrap_or_default();
            if now == seen {
                continue;
            }
            let file = path.display();
            match take(&path) {
                Ok(()) => {
                    tracing::info!(%file, "the {what} are as the file says now");
                    count.note("success");
                }
                Err(error) => {
                    tracing::error!(%error, %file, "the {what} stay as they were");
                    count.note("failure");
                }
            }
            seen = now;
        }
    }));
}
