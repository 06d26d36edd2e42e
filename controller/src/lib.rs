//! Skiff's controllers: what upstream's kube-controller-manager does.
//!
//! Each controller is `observe → World`, `decide(&World, now) → Plan`, `apply(Plan)`. `decide` is synchronous and pure,
//! and tested by tables; `apply` has no choices left to make, and writes with preconditions (resource versions, uids), so
//! that a plan made from old news fails instead of doing harm. Views are shared: one watch a kind, whatever the number of
//! controllers. After a write a controller waits until its view holds it, before the same key is looked at again.
//!
//! Controllers never talk to each other, only through objects, and keep no state that a restart would lose.

mod aggregation;
mod bootstrap;
mod certificates;
mod claim;
mod config;
mod context;
mod deployment;
mod endpoints;
mod error;
mod garbage;
mod ipam;
mod namespace;
mod nodelife;
mod per_namespace;
mod podgc;
mod pods;
mod protection;
mod quota;
mod replicaset;
mod resources;
mod rootca;
mod serviceaccount;
mod taint;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use skiff_runtime::leader;
use tokio_util::sync::CancellationToken;

pub use certificates::Signer;
pub use config::Config;
pub use error::Error;
pub use serviceaccount::tokens::SigningKey;

use context::Context;

/// Runs every controller until `shutdown`. The API server may come later, and go and come back.
///
/// # Errors
/// Leadership was lost: another process has taken over, and this one must not go on.
pub async fn run(config: Config, client: kube::Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Everything below ends with this token, also when leadership is lost.
    let stop = shutdown.child_token();
    let _ends_with_us = stop.clone().drop_guard();
    let mut elected = None;
    if config.leader_elect {
        let lease = leader::Config::new("kube-system", "kube-controller-manager");
        match leader::acquire(client.clone(), lease, stop.clone()).await {
            Ok(leadership) => elected = Some(leadership),
            Err(skiff_runtime::Error::Shutdown) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    if skiff_runtime::client::wait_until_up(&client, &stop).await.is_err() {
        return Ok(());
    }
    let context = Arc::new(Context::new(config, client, stop.clone()));
    let all = async {
        tokio::join!(
            replicaset::run::<ReplicaSet>(context.clone()),
            replicaset::run::<ReplicationController>(context.clone()),
            deployment::run(context.clone()),
            endpoints::run(context.clone()),
            namespace::run(context.clone()),
            garbage::run(context.clone()),
            serviceaccount::run(context.clone()),
            serviceaccount::tokens::run(context.clone()),
            aggregation::run(context.clone()),
            rootca::run(context.clone()),
            nodelife::run(context.clone()),
            taint::run(context.clone()),
            ipam::run(context.clone()),
            podgc::run(context.clone()),
            quota::run(context.clone()),
            protection::run(context.clone()),
            certificates::approve::run(context.clone()),
            certificates::sign::run(context.clone()),
            certificates::clean::run(context.clone()),
            bootstrap::sign::run(context.clone()),
            bootstrap::clean::run(context.clone()),
        );
    };
    match elected {
        None => all.await,
        Some(leadership) => tokio::select! {
            () = all => {}
            () = leadership.lost() => anyhow::bail!("leadership lost, stopping"),
        },
    }
    Ok(())
}
