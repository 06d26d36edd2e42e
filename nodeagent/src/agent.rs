//! Joining the parts: views, pods' tasks, the engine and the node.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::{Api, runtime::watcher};
use skiff_runtime::{event::Recorder, health, metrics::Metrics, view::View};
use tokio::sync::{broadcast::error::RecvError, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    certificate,
    config::{CertificateFiles, Config, RuntimeKind},
    cri::{Observed, Runtime, State},
    docker::DockerRuntime,
    engine::{self, Engine, Happened},
    node,
    pod::{self, Handle, Shared},
    references::References,
    server,
    simulated::SimulatedRuntime,
    tls::Serving,
    volume,
};

/// The engine that the settings name.
pub fn runtime(config: &Config) -> Arc<dyn Runtime> {
    match &config.runtime {
        RuntimeKind::Docker { host } => {
            Arc::new(DockerRuntime::new(host.as_deref(), &config.node_name, &config.container_log))
        }
        RuntimeKind::Simulated => Arc::new(SimulatedRuntime::new()),
    }
}

/// Runs a node until `shutdown`; its pods go on running afterwards.
pub async fn run(config: Config, client: kube::Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let runtime = runtime(&config);
    let name = config.node_name.clone();
    let on_node = watcher::Config::default().fields(&format!("spec.nodeName={name}"));
    let pods: View<Pod> = View::spawn(Api::all(client.clone()), on_node, shutdown.clone());
    let services: View<Service> =
        View::spawn(Api::all(client.clone()), watcher::Config::default(), shutdown.clone());
    let server = server::bind(&config).await?;
    let port = config
        .advertise_port
        .unwrap_or_else(|| server.as_ref().map_or(config.listen.port(), |s| s.address().port()));
    let (state, engine) = watch::channel(Engine::default());
    let (cidr_sender, cidr) = watch::channel(config.pod_cidr.clone());
    let (happened_sender, happened) = mpsc::channel(1024);
    tokio::spawn(engine::follow(
        runtime.clone(),
        config.reserved,
        state,
        cidr,
        happened_sender,
        shutdown.clone(),
    ));
    if let Some(address) = config.healthz {
        let health = health::bind(address).await?;
        tokio::spawn(health.serve(Arc::new(|| true), Metrics::default(), shutdown.clone()));
    }

    // The first status should tell what the node has, but the node is made known even if the engine is away.
    let mut first = engine.clone();
    let _ = tokio::time::timeout(
        Duration::from_secs(3),
        first.wait_for(|e| e.info.is_some() || e.trouble.is_some()),
    )
    .await;
    let seen = engine.borrow().clone();
    node::register(&config, &client, port, &seen, &shutdown).await;
    let own = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let node: View<Node> = View::spawn(Api::all(client.clone()), own, shutdown.clone());
    tokio::spawn(node::keep_lease(config.clone(), client.clone(), node.clone(), shutdown.clone()));
    tokio::spawn(node::keep_status(
        config.clone(),
        client.clone(),
        runtime.clone(),
        port,
        engine.clone(),
        node.clone(),
        shutdown.clone(),
    ));
    tokio::spawn(follow_cidr(config.clone(), node.clone(), cidr_sender, shutdown.clone()));
    keep_certificates(&config, &client, server.as_ref().map(server::Server::serving), &shutdown);

    let shared = Arc::new(Shared {
        recorder: Recorder::new(client.clone(), "kubelet", name),
        references: References::new(client.clone()),
        config,
        client,
        runtime,
        engine,
        services,
        node,
        shutdown: shutdown.clone(),
    });
    if let Some(server) = server {
        tokio::spawn(server.serve(shared.clone(), pods.clone(), shutdown.clone()));
    }
    Pods { shared, view: pods, workers: Arc::default() }.run(happened, shutdown).await;
    Ok(())
}

/// Renews what the node shows and serves with, or follows the files that hold it.
fn keep_certificates(
    config: &Config,
    client: &kube::Client,
    serving: Option<Arc<Serving>>,
    shutdown: &CancellationToken,
) {
    let (node, ip) = (config.node_name.clone(), config.node_ip);
    if let Some(rotation) = &config.rotation {
        let (rotation, client, stop) = (rotation.clone(), client.clone(), shutdown.clone());
        tokio::spawn(certificate::keep_client(rotation.clone(), node.clone(), client.clone(), stop.clone()));
        if let Some(serving) = serving.clone().filter(|_| config.tls_cert_pem.is_none()) {
            tokio::spawn(certificate::keep_serving(rotation, (node, ip), client, serving, stop));
        }
    }
    let CertificateFiles { tls_cert, tls_key, client_ca } = &config.files;
    if let (Some(files), Some(serving)) = (tls_cert.clone().zip(tls_key.clone()), serving) {
        tokio::spawn(certificate::follow_files(files, client_ca.clone(), serving, shutdown.clone()));
    }
}

/// Removes every container and network made for this node, and the pods' files.
pub async fn clean(config: Config) -> anyhow::Result<()> {
    runtime(&config).clean().await?;
    let pods = config.data_dir.join("pods");
    for entry in std::fs::read_dir(&pods).into_iter().flatten().flatten() {
        volume::tear_down(&entry.path())?;
    }
    Ok(())
}

/// Hands the node's range on, once a controller has given one.
async fn follow_cidr(
    config: Config,
    node: View<Node>,
    cidr: watch::Sender<Option<String>>,
    shutdown: CancellationToken,
) {
    let mut changes = node.changes();
    loop {
        let given = node.get("", &config.node_name).and_then(|n| n.spec.as_ref()?.pod_cidr.clone());
        if let Some(given) = given {
            cidr.send_if_modified(|known| known.replace(given.clone()).as_ref() != Some(&given));
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.recv() => if matches!(change, Err(RecvError::Closed)) { return },
        }
    }
}

struct Pods {
    shared: Arc<Shared>,
    view: View<Pod>,
    workers: Arc<Mutex<HashMap<String, Handle>>>,
}

impl Pods {
    async fn run(self, mut happened: mpsc::Receiver<Happened>, shutdown: CancellationToken) {
        let mut changes = self.view.changes();
        let mut references = self.shared.references.changes();
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = async { tokio::join!(self.view.synced(), self.shared.services.synced()); } => {}
        }
        self.sync();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                change = changes.recv() => {
                    if matches!(change, Err(RecvError::Closed)) { return }
                    self.sync();
                }
                changed = references.recv() => self.refresh(changed.ok().as_deref()),
                event = happened.recv() => match event {
                    Some(Happened::Pod(uid)) => self.wake(&uid),
                    Some(Happened::Back) => self.all_anew().await,
                    None => return,
                },
            }
        }
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Handle>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the tasks in line with the view.
    fn sync(&self) {
        let list = self.view.list();
        let mut workers = self.workers();
        for pod in &list {
            let Some(uid) = pod.metadata.uid.clone() else { continue };
            match workers.get(&uid) {
                Some(handle) => {
                    let revision = |p: &Pod| p.metadata.resource_version.clone();
                    handle.pod.send_if_modified(|known| {
                        let newer = known.as_ref().is_none_or(|k| revision(k) != revision(pod));
                        if newer {
                            *known = Some(pod.clone());
                        }
                        newer
                    });
                }
                None => {
                    let (all, id) = (self.workers.clone(), uid.clone());
                    let end = move || {
                        all.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                    };
                    workers.insert(uid, pod::spawn(self.shared.clone(), pod.clone(), end));
                }
            }
        }
        let present: std::collections::HashSet<&str> =
            list.iter().filter_map(|p| p.metadata.uid.as_deref()).collect();
        for (uid, handle) in workers.iter() {
            if !present.contains(uid.as_str()) {
                handle.pod.send_if_modified(|known| known.take().is_some());
            }
        }
        drop(workers);
        self.shared.references.retain(&list);
    }

    fn wake(&self, uid: &str) {
        if let Some(handle) = self.workers().get(uid) {
            handle.wake.notify_one();
        }
    }

    /// Something changed in a namespace; `None`: anywhere.
    fn refresh(&self, namespace: Option<&str>) {
        for handle in self.workers().values() {
            let here = handle
                .pod
                .borrow()
                .as_ref()
                .is_some_and(|p| namespace.is_none_or(|ns| p.metadata.namespace.as_deref() == Some(ns)));
            if here {
                handle.refresh.store(true, Ordering::Relaxed);
                handle.wake.notify_one();
            }
        }
    }

    /// The engine is back: every pod is looked at, and what belongs to none is removed.
    async fn all_anew(&self) {
        for handle in self.workers().values() {
            handle.wake.notify_one();
        }
        let known = match self.shared.runtime.pods().await {
            Ok(known) => known,
            Err(error) => return tracing::warn!(%error, "pods of the engine not listed"),
        };
        for key in known {
            let wanted = self.view.list().iter().any(|p| p.metadata.uid.as_deref() == Some(&key.uid));
            if !wanted && !self.workers().contains_key(&key.uid) {
                tracing::info!(pod = %key.name, namespace = %key.namespace, "removing containers of a pod that is gone");
                tokio::spawn(remove_orphan(self.shared.clone(), key.uid));
            }
        }
    }
}

/// Ends the containers of a pod that was deleted while the agent was away.
async fn remove_orphan(shared: Arc<Shared>, uid: String) {
    let observed: Observed = match shared.runtime.observe(&uid).await {
        Ok(observed) => observed,
        Err(error) => return tracing::warn!(%uid, %error, "orphan not removed"),
    };
    let running = observed.containers.iter().filter(|c| matches!(c.state, State::Running { .. }));
    futures::future::join_all(running.map(|c| shared.runtime.stop(&c.id, 30))).await;
    let all = observed.containers.iter().map(|c| &c.id).chain(observed.sandboxes.iter().map(|s| &s.id));
    for id in all {
        if let Err(error) = shared.runtime.remove(id).await {
            tracing::warn!(%id, %error, "orphan not removed");
        }
    }
    if let Err(error) = volume::tear_down(&shared.config.pod_dir(&uid)) {
        tracing::warn!(%uid, %error, "orphan's folder not removed");
    }
}
