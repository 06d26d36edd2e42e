//! The node's heartbeat.

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use skiff_runtime::view::View;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

const NAMESPACE: &str = "kube-node-lease";

/// Renews the Lease until `shutdown`.
pub async fn keep(
    config: Config,
    client: kube::Client,
    node: View<k8s_openapi::api::core::v1::Node>,
    shutdown: CancellationToken,
) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    loop {
        let renewed = renew(&api, &config, &node).await;
        let pause = match renewed {
            Ok(()) => config.lease_interval(),
            Err(error) => {
                tracing::debug!(%error, "lease not renewed");
                config.lease_interval() / 10
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn renew(
    api: &Api<Lease>,
    config: &Config,
    node: &View<k8s_openapi::api::core::v1::Node>,
) -> Result<(), kube::Error> {
    let name = config.node_name.as_str();
    let now = MicroTime(Timestamp::now());
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: i32::try_from(config.lease_duration_s).ok(),
        renew_time: Some(now),
        ..LeaseSpec::default()
    };
    let patch = json!({ "spec": spec });
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            // Owned by the Node, so that it goes with it.
            let owner = node.get("", name).and_then(|n| n.metadata.uid.clone()).map(|uid| OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: name.to_owned(),
                uid,
                ..OwnerReference::default()
            });
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(NAMESPACE.into()),
                owner_references: owner.map(|o| vec![o]),
                ..ObjectMeta::default()
            };
            api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await.map(drop)
        }
        other => other.map(drop),
    }
}
