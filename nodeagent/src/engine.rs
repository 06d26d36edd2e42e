//! Whether the engine answers. Its stream of events tells at once when it goes; a look now and then when it is back.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    cri::{EngineInfo, Runtime},
    field::Allocatable,
};

/// The engine as last seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Engine {
    /// What it is; `None` when it does not answer.
    pub info: Option<EngineInfo>,
    /// Why it does not.
    pub trouble: Option<String>,
    /// The network for pods exists.
    pub network_ready: bool,
    /// Why it does not.
    pub network_trouble: Option<String>,
    /// What the machine has.
    pub capacity: Allocatable,
    /// What pods may take of it.
    pub allocatable: Allocatable,
}

/// What happened in the engine.
pub enum Happened {
    /// Something in this pod.
    Pod(String),
    /// The engine came (back): all must be looked at.
    Back,
}

/// Follows the engine until `shutdown`. `cidr` is the node's range, once known; `reserved` is kept from pods.
pub async fn follow(
    runtime: Arc<dyn Runtime>,
    reserved: Allocatable,
    state: watch::Sender<Engine>,
    mut cidr: watch::Receiver<Option<String>>,
    happened: mpsc::Sender<Happened>,
    shutdown: CancellationToken,
) {
    let mut pause = Duration::from_millis(200);
    while !shutdown.is_cancelled() {
        let begun = tokio::time::Instant::now();
        let trouble = tokio::select! {
            () = shutdown.cancelled() => return,
            trouble = session(&*runtime, reserved, &state, &mut cidr, &happened) => trouble,
        };
        let was_up = state.borrow().info.is_some();
        if was_up || state.borrow().trouble.as_ref() != Some(&trouble) {
            tracing::warn!("{trouble}. {} The node waits for it.", advice(&trouble));
        }
        state.send_modify(|s| {
            s.info = None;
            s.trouble = Some(trouble);
            s.network_ready = false;
        });
        if begun.elapsed() > Duration::from_secs(10) {
            pause = Duration::from_millis(200);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(3));
    }
}

/// What a person can do about an engine that cannot be used.
fn advice(trouble: &str) -> &'static str {
    let denied = ["Permission denied", "permission denied", "os error 13"];
    if denied.iter().any(|words| trouble.contains(words)) {
        return "This user may not use Docker: run skiff as root, or add the user to the group of the socket \
                (usually `usermod -aG docker USER`).";
    }
    "Start Docker (`systemctl start docker`), or say by DOCKER_HOST where it is."
}

/// One time of being connected; returns why it ended.
async fn session(
    runtime: &dyn Runtime,
    reserved: Allocatable,
    state: &watch::Sender<Engine>,
    cidr: &mut watch::Receiver<Option<String>>,
    happened: &mpsc::Sender<Happened>,
) -> String {
    let info = match runtime.info().await {
        Ok(info) => info,
        Err(error) => return error.to_string(),
    };
    let mut events = match runtime.events().await {
        Ok(events) => events,
        Err(error) => return error.to_string(),
    };
    let capacity = Allocatable {
        cpu_millis: info.cpus * 1000,
        memory_bytes: info.memory_bytes,
        storage_bytes: storage(&info.root_dir),
    };
    state.send_modify(|s| {
        s.info = Some(info);
        s.trouble = None;
        s.capacity = capacity;
        s.allocatable = capacity.less(reserved);
    });
    prepare(runtime, state, cidr).await;
    if happened.send(Happened::Back).await.is_err() {
        return "the agent ends".into();
    }
    // Preparing may fail for a passing reason (an address in use); then it is tried again.
    let mut retry = tokio::time::interval(Duration::from_secs(5));
    retry.reset();
    loop {
        let ready = state.borrow().network_ready;
        let known = cidr.borrow().is_some();
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(uid)) => {
                    if happened.send(Happened::Pod(uid)).await.is_err() {
                        return "the agent ends".into();
                    }
                }
                Some(Err(error)) => return error.to_string(),
                None => return "its stream of events ended".into(),
            },
            changed = cidr.changed() => {
                if changed.is_err() {
                    return "the agent ends".into();
                }
                prepare(runtime, state, cidr).await;
            }
            _ = retry.tick(), if !ready && known => prepare(runtime, state, cidr).await,
        }
    }
}

async fn prepare(
    runtime: &dyn Runtime,
    state: &watch::Sender<Engine>,
    cidr: &mut watch::Receiver<Option<String>>,
) {
    let range = cidr.borrow_and_update().clone();
    let result = runtime.prepare(range.as_deref()).await;
    state.send_modify(|s| match result {
        Ok(()) => {
            s.network_ready = range.is_some();
            s.network_trouble = None;
        }
        Err(error) => {
            tracing::warn!(%error, "the node's network is not ready");
            s.network_ready = false;
            s.network_trouble = Some(error.to_string());
        }
    });
}

fn storage(root: &str) -> i64 {
    let path = if std::path::Path::new(root).exists() { root } else { "/" };
    nix::sys::statvfs::statvfs(path)
        .map_or(0, |s| i64::try_from(s.blocks().saturating_mul(s.fragment_size())).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_trouble() {
        for (trouble, expected) in [
            (
                "the container engine does not answer: error: Permission denied (os error 13)",
                "run skiff as root",
            ),
            (
                "the container engine does not answer: No such file or directory (os error 2)",
                "systemctl start docker",
            ),
            (
                "the container engine does not answer: Connection refused (os error 111)",
                "systemctl start docker",
            ),
        ] {
            assert!(advice(trouble).contains(expected), "{trouble}");
        }
    }
}
