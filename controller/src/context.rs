//! What all controllers share: a client, the views, a recorder.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::runtime::watcher;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skiff_api::bootstrap_token;
use skiff_runtime::event::Recorder;
use skiff_runtime::view::{View, trim};
use tokio_util::sync::CancellationToken;

use crate::Config;

/// Shared by all controllers of a process.
pub(crate) struct Context {
    pub config: Config,
    pub client: kube::Client,
    pub shutdown: CancellationToken,
    pub pods: View<Pod>,
    pub replica_sets: View<ReplicaSet>,
    pub replication_controllers: View<ReplicationController>,
    pub deployments: View<Deployment>,
    pub services: View<Service>,
    pub endpoint_slices: View<EndpointSlice>,
    pub endpoints: View<Endpoints>,
    pub namespaces: View<Namespace>,
    pub nodes: View<Node>,
    pub service_accounts: View<ServiceAccount>,
    pub cluster_roles: View<ClusterRole>,
    /// Only those that hold a service account's token.
    pub token_secrets: View<Secret>,
    /// Only those named `kube-root-ca.crt`.
    pub root_cas: View<ConfigMap>,
    /// Only those of nodes.
    pub node_leases: View<Lease>,
    pub signing_requests: View<CertificateSigningRequest>,
    pub quotas: View<ResourceQuota>,
    pub claims: View<PersistentVolumeClaim>,
    pub volumes: View<PersistentVolume>,
    pub attribute_classes: View<VolumeAttributesClass>,
    /// Only those of bootstrap tokens.
    pub bootstrap_tokens: View<Secret>,
    /// Only that which tells where the cluster is.
    pub cluster_info: View<ConfigMap>,
}

impl Context {
    pub fn new(config: Config, client: kube::Client, shutdown: CancellationToken) -> Self {
        let all = watcher::Config::default;
        let stop = || shutdown.child_token();
        let root_cas = all().fields(&format!("metadata.name={}", crate::rootca::NAME));
        let token_secrets = all().fields(&format!("type={}", crate::serviceaccount::tokens::TYPE));
        let tokens = all().fields(&format!("type={}", bootstrap_token::SECRET_TYPE));
        let info = all().fields(&format!("metadata.name={}", bootstrap_token::CLUSTER_INFO));
        let tokens_of = Api::namespaced(client.clone(), crate::bootstrap::clean::TOKENS);
        let info_of = Api::namespaced(client.clone(), crate::bootstrap::sign::PUBLIC);
        Self {
            pods: View::spawn_trimmed(Api::all(client.clone()), all(), trim::pod, stop()),
            replica_sets: View::spawn(Api::all(client.clone()), all(), stop()),
            replication_controllers: View::spawn(Api::all(client.clone()), all(), stop()),
            deployments: View::spawn(Api::all(client.clone()), all(), stop()),
            services: View::spawn(Api::all(client.clone()), all(), stop()),
            endpoint_slices: View::spawn(Api::all(client.clone()), all(), stop()),
            endpoints: View::spawn(Api::all(client.clone()), all(), stop()),
            namespaces: View::spawn(Api::all(client.clone()), all(), stop()),
            nodes: View::spawn(Api::all(client.clone()), all(), stop()),
            service_accounts: View::spawn(Api::all(client.clone()), all(), stop()),
            cluster_roles: View::spawn(Api::all(client.clone()), all(), stop()),
            token_secrets: View::spawn(Api::all(client.clone()), token_secrets, stop()),
            root_cas: View::spawn(Api::all(client.clone()), root_cas, stop()),
            node_leases: View::spawn(Api::namespaced(client.clone(), crate::nodelife::LEASES), all(), stop()),
            signing_requests: View::spawn(Api::all(client.clone()), all(), stop()),
            quotas: View::spawn(Api::all(client.clone()), all(), stop()),
            claims: View::spawn(Api::all(client.clone()), all(), stop()),
            volumes: View::spawn(Api::all(client.clone()), all(), stop()),
            attribute_classes: View::spawn(Api::all(client.clone()), all(), stop()),
            bootstrap_tokens: View::spawn(tokens_of, tokens, stop()),
            cluster_info: View::spawn(info_of, info, stop()),
            config,
            client,
            shutdown,
        }
    }

    pub fn recorder(&self, component: &str) -> Recorder {
        Recorder::new(self.client.clone(), component, "")
    }

    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// The deletion of this very object, not of a later one with its name.
pub(crate) fn delete_only(uid: Option<&String>) -> DeleteParams {
    let preconditions = Preconditions { uid: uid.cloned(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() }
}

/// What an object must be to be written and awaited.
pub(crate) trait Written:
    kube::Resource<DynamicType = ()>
    + Clone
    + Serialize
    + DeserializeOwned
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Written for K where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
{
}

/// Replaces an object if it is still at the version that `changed` was made from, and waits for the view.
pub(crate) async fn replace<K: Written>(api: &Api<K>, view: &View<K>, changed: &K) -> Result<K, kube::Error> {
    let name = changed.meta().name.clone().unwrap_or_default();
    let written = api.replace(&name, &PostParams::default(), changed).await?;
    view.caught_up(&written).await;
    Ok(written)
}

/// As [`replace`], for the status.
pub(crate) async fn replace_status<K: Written>(
    api: &Api<K>,
    view: &View<K>,
    changed: &K,
) -> Result<K, kube::Error> {
    let name = changed.meta().name.clone().unwrap_or_default();
    let written = api.replace_status(&name, &PostParams::default(), changed).await?;
    view.caught_up(&written).await;
    Ok(written)
}
