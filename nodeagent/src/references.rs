//! The ConfigMaps and Secrets that pods refer to, each watched alone: a node may see no others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Pod, Secret},
};
use kube::{Api, Client, Resource, runtime::watcher};
use serde::de::DeserializeOwned;
use skiff_runtime::view::View;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// How long a start waits for an object's first sight.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names of what a pod refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
}

/// What a pod refers to, as found; `None` is absent.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// ConfigMaps.
    pub config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    /// Secrets.
    pub secrets: BTreeMap<String, Option<Arc<Secret>>>,
}

impl Resolved {
    /// A ConfigMap; `None` only if it is absent and optional.
    pub fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Option<Arc<ConfigMap>>> {
        match self.config_maps.get(name).cloned().flatten() {
            None if optional != Some(true) => {
                Err(Error::Reference(format!("configmap \"{name}\" not found")))
            }
            found => Ok(found),
        }
    }

    /// A Secret; `None` only if it is absent and optional.
    pub fn secret(&self, name: &str, optional: Option<bool>) -> Result<Option<Arc<Secret>>> {
        match self.secrets.get(name).cloned().flatten() {
            None if optional != Some(true) => Err(Error::Reference(format!("secret \"{name}\" not found"))),
            found => Ok(found),
        }
    }
}

/// Everything a pod names.
pub fn needed(pod: &Pod) -> Needed {
    let mut needed = Needed::default();
    let Some(spec) = &pod.spec else { return needed };
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        for from in container.env_from.iter().flatten() {
            needed.config_maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
            needed.secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            needed.config_maps.extend(from.config_map_key_ref.iter().map(|r| r.name.clone()));
            needed.secrets.extend(from.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        needed.config_maps.extend(volume.config_map.iter().map(|v| v.name.clone()));
        needed.secrets.extend(volume.secret.iter().filter_map(|v| v.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            needed.config_maps.extend(source.config_map.iter().map(|v| v.name.clone()));
            needed.secrets.extend(source.secret.iter().map(|v| v.name.clone()));
        }
    }
    needed.secrets.extend(spec.image_pull_secrets.iter().flatten().map(|s| s.name.clone()));
    needed.config_maps.remove("");
    needed.secrets.remove("");
    needed
}

/// A view of one object, and what ends it.
type Single<K> = (View<K>, CancellationToken);

/// One view an object, by namespace and name.
struct Watched<K> {
    views: Mutex<HashMap<(String, String), Single<K>>>,
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    fn new() -> Self {
        Self { views: Mutex::new(HashMap::new()) }
    }

    async fn get(
        &self,
        client: &Client,
        changed: &broadcast::Sender<String>,
        ns: &str,
        name: &str,
    ) -> Result<Option<Arc<K>>> {
        let view = self.view(client, changed, ns, name);
        let synced = tokio::time::timeout(PATIENCE, view.synced()).await;
        synced.map_err(|_| {
            let kind = K::kind(&()).to_lowercase();
            Error::Reference(format!("failed to sync {kind} cache: timed out waiting for {kind} {ns}/{name}"))
        })?;
        Ok(view.get(ns, name))
    }

    fn view(&self, client: &Client, changed: &broadcast::Sender<String>, ns: &str, name: &str) -> View<K> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let stop = CancellationToken::new();
            let api = Api::namespaced(client.clone(), ns);
            let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
            let view = View::spawn(api, config, stop.clone());
            let (mut changes, changed, namespace) = (view.changes(), changed.clone(), ns.to_owned());
            let stopped = stop.clone();
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        () = stopped.cancelled() => return,
                        change = changes.recv() => match change {
                            // A receiver that lagged has missed changes, which is a change.
                            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => { let _ = changed.send(namespace.clone()); }
                            Err(broadcast::error::RecvError::Closed) => return,
                        }
                    }
                }
            });
            (view, stop)
        };
        views.entry((ns.to_owned(), name.to_owned())).or_insert_with(make).0.clone()
    }

    fn retain(&self, used: &BTreeSet<(String, String)>) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|key, (_, stop)| {
            let keep = used.contains(key);
            if !keep {
                stop.cancel();
            }
            keep
        });
    }
}

/// All referred objects of the node's pods.
pub struct References {
    client: Client,
    config_maps: Watched<ConfigMap>,
    secrets: Watched<Secret>,
    changed: broadcast::Sender<String>,
}

impl References {
    /// None watched yet.
    pub fn new(client: Client) -> Self {
        let changed = broadcast::channel(256).0;
        Self { client, config_maps: Watched::new(), secrets: Watched::new(), changed }
    }

    /// Namespaces in which a watched object changed.
    pub fn changes(&self) -> broadcast::Receiver<String> {
        self.changed.subscribe()
    }

    /// Looks up all that a pod names, waiting for the first sight of each.
    pub async fn resolve(&self, pod: &Pod) -> Result<Resolved> {
        let needed = needed(pod);
        let ns = pod.metadata.namespace.as_deref().unwrap_or("default");
        let mut resolved = Resolved::default();
        for name in needed.config_maps {
            let found = self.config_maps.get(&self.client, &self.changed, ns, &name).await?;
            resolved.config_maps.insert(name, found);
        }
        for name in needed.secrets {
            let found = self.secrets.get(&self.client, &self.changed, ns, &name).await?;
            resolved.secrets.insert(name, found);
        }
        Ok(resolved)
    }

    /// Stops watching what no pod of these names.
    pub fn retain(&self, pods: &[Arc<Pod>]) {
        let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
        for pod in pods {
            let ns = pod.metadata.namespace.clone().unwrap_or_default();
            let needed = needed(pod);
            maps.extend(needed.config_maps.into_iter().map(|n| (ns.clone(), n)));
            secrets.extend(needed.secrets.into_iter().map(|n| (ns.clone(), n)));
        }
        self.config_maps.retain(&maps);
        self.secrets.retain(&secrets);
    }
}
