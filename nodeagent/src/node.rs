//! The Node object: registered, kept up to date, and a Lease as its heartbeat.

mod describe;
mod lease;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use skiff_runtime::view::View;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use lease::keep as keep_lease;

use crate::{config::Config, cri::Runtime, engine::Engine};

/// Makes the Node, or brings the labels of an earlier one up to date; tries until it is done.
pub async fn register(
    config: &Config,
    client: &kube::Client,
    port: u16,
    engine: &Engine,
    shutdown: &CancellationToken,
) {
    let api: Api<Node> = Api::all(client.clone());
    let mut pause = Duration::from_millis(100);
    loop {
        let node = describe::node(config, port, engine, Timestamp::now());
        let done = match api.create(&PostParams::default(), &node).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" || status.code == 409 => {
                let labels = json!({ "metadata": { "labels": node.metadata.labels } });
                api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(labels)).await.map(drop)
            }
            Err(error) => Err(error),
        };
        let Err(error) = done else { return };
        tracing::debug!(%error, "node not registered yet");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
        }
    }
}

/// Writes the Node's status whenever it is another, and now and then though it is not.
pub async fn keep_status(
    config: Config,
    client: kube::Client,
    runtime: Arc<dyn Runtime>,
    port: u16,
    mut engine: watch::Receiver<Engine>,
    view: View<Node>,
    shutdown: CancellationToken,
) {
    let api: Api<Node> = Api::all(client.clone());
    let mut changes = view.changes();
    let mut written: Option<(Timestamp, serde_json::Value)> = None;
    let mut again = Duration::ZERO;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = engine.changed() => if changed.is_err() { return },
            _ = changes.recv() => {}
            () = tokio::time::sleep(again) => {}
        }
        let now = Timestamp::now();
        let state = engine.borrow_and_update().clone();
        let images =
            if state.info.is_some() { runtime.images().await.unwrap_or_default() } else { Vec::new() };
        let live = view.get("", &config.node_name);
        if view.is_synced() && live.is_none() {
            // Deleted under us: a node that still runs makes itself known again.
            register(&config, &client, port, &state, &shutdown).await;
        }
        let status = describe::status(&config, port, &state, &images, live.as_deref(), now);
        let essence = describe::essence(&status);
        let stale = written.as_ref().is_none_or(|(at, old)| {
            *old != essence
                || now.duration_since(*at).as_secs() >= config.status_interval.as_secs().cast_signed()
        });
        let taken_away = live.as_ref().is_some_and(|l| describe::contradicts(l, &status));
        again = config.status_interval;
        if !stale && !taken_away {
            continue;
        }
        let body = json!({ "status": status });
        match api.patch_status(&config.node_name, &PatchParams::default(), &Patch::Merge(body)).await {
            Ok(_) => written = Some((now, essence)),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                register(&config, &client, port, &state, &shutdown).await;
                again = Duration::from_millis(100);
            }
            Err(error) => {
                tracing::debug!(%error, "node status not written");
                again = Duration::from_secs(1);
            }
        }
    }
}
