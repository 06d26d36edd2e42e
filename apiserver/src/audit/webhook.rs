//! Events to a server outside, many at once. No request waits for it: what finds the buffer full, or is not taken
//! after some tries, is lost, and counted in the log.
//!
//! Behaviour and defaults as upstream's `apiserver/plugin/pkg/audit/webhook` in its batching mode.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::security::remote::Remote;

/// How often a batch is sent before it is given up.
const TRIES: u32 = 5;
/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where events are sent and how they are gathered.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// A kubeconfig that says where the server is.
    pub config_file: PathBuf,
    /// The most events that wait to be sent.
    pub buffer: usize,
    /// The most events that are sent at once.
    pub batch: usize,
    /// The longest that an event waits for others.
    pub wait: Duration,
    /// How long to wait before the second try; each further one waits half as long again.
    pub backoff: Duration,
}

/// The way to the server.
pub struct Webhook(mpsc::Sender<Value>);

impl Webhook {
    /// Begins to send; ends with the server.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub fn start(
        options: WebhookOptions,
        cache: &Arc<Cache>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let remote = Remote::of_kubeconfig(&options.config_file, TIMEOUT, cache)?;
        let (sender, receiver) = mpsc::channel(options.buffer.max(1));
        tokio::spawn(run(remote, options, receiver, shutdown));
        Ok(Self(sender))
    }

    /// Gives an event on its way.
    pub fn add(&self, event: Value) {
        if self.0.try_send(event).is_err() {
            tracing::error!("an audit event is lost: as many as may wait for the webhook do so already");
        }
    }
}

async fn run(
    remote: Remote,
    options: WebhookOptions,
    mut events: mpsc::Receiver<Value>,
    shutdown: CancellationToken,
) {
    let mut items = Vec::new();
    while gather(&mut events, &mut items, &options, &shutdown).await {
        let count = items.len();
        let list = json!({
            "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": std::mem::take(&mut items),
        });
        let mut wait = options.backoff;
        for attempt in 1..=TRIES {
            let Err(why) = remote.tell(&list).await else { break };
            if attempt == TRIES || shutdown.is_cancelled() {
                tracing::error!(why, count, "audit events are lost");
                break;
            }
            tracing::warn!(why, count, "the audit webhook did not take its events; they are sent again");
            let _ = tokio::time::timeout(wait, shutdown.cancelled()).await;
            wait = wait.mul_f64(1.5);
        }
    }
}

/// Waits for a batch: as many as may be sent at once, or what came in the time that the first may wait. False when no
/// more will come.
async fn gather(
    events: &mut mpsc::Receiver<Value>,
    items: &mut Vec<Value>,
    options: &WebhookOptions,
    shutdown: &CancellationToken,
) -> bool {
    let first = tokio::select! {
        biased;
        first = events.recv() => first,
        () = shutdown.cancelled() => events.try_recv().ok(),
    };
    let Some(first) = first else { return false };
    items.push(first);
    let deadline = tokio::time::Instant::now() + options.wait;
    while items.len() < options.batch {
        let left = options.batch - items.len();
        tokio::select! {
            biased;
            received = events.recv_many(items, left) => if received == 0 { break },
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep_until(deadline) => break,
        }
    }
    true
}
