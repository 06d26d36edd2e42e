//! Skiff's scheduler: which node a pod goes to.
//!
//! Deciding is [`schedule::schedule`]: pure, from a pod and an immutable snapshot of the nodes to a
//! node, or to a reason for every node. The shell around it (`shell`) keeps the snapshot, the
//! order of the pods that wait, and binds.
//!
//! It never writes a pod's spec, only binds; and never trusts its own memory longer than the API
//! takes to show what it did.

pub mod company;
mod plugin;
pub mod pod;
pub mod preemption;
pub mod schedule;
mod shell;
pub mod snapshot;
#[cfg(test)]
mod tests;

use tokio_util::sync::CancellationToken;

/// The scheduler's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Pods name it in `spec.schedulerName`.
    pub scheduler_name: String,
    /// Whether to wait for a Lease before doing anything.
    pub leader_elect: bool,
    /// Bindings under way at once.
    pub bindings: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { scheduler_name: "default-scheduler".into(), leader_elect: true, bindings: 64 }
    }
}

/// Schedules pods until `shutdown`. The API server may come later, and go and come back.
///
/// # Errors
/// Leadership was lost: another process has taken over, and this one must not go on.
pub async fn run(config: Config, client: kube::Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let stop = shutdown.child_token();
    let _ends_with_us = stop.clone().drop_guard();
    if !config.leader_elect {
        shell::run(config, client, stop).await;
        return Ok(());
    }
    let lease = skiff_runtime::leader::Config::new("kube-system", "kube-scheduler");
    let leadership = match skiff_runtime::leader::acquire(client.clone(), lease, stop.clone()).await {
        Ok(leadership) => leadership,
        Err(skiff_runtime::Error::Shutdown) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    tokio::select! {
        () = shell::run(config, client, stop) => Ok(()),
        () = leadership.lost() => anyhow::bail!("leadership lost, stopping"),
    }
}
