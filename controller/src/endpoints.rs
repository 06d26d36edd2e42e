//! EndpointSlices and Endpoints: where the pods behind a Service are.
//!
//! Behaviour: upstream's `pkg/controller/endpointslice`, `staging/src/k8s.io/endpointslice` and `pkg/controller/endpoint`.

mod legacy;
mod ports;
mod slices;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, PostParams};
use skiff_runtime::Key;
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::{Context, delete_only, replace};
use crate::error::{Error, gone_is_fine, is_already_exists, is_namespace_terminating, is_not_found};

/// What is looked at: a Service, its pods, and what is published of them.
pub(crate) struct World {
    pub service: Arc<Service>,
    /// Those that the Service selects.
    pub pods: Vec<Arc<Pod>>,
    /// Those that this controller made for this Service.
    pub slices: Vec<Arc<EndpointSlice>>,
    pub endpoints: Option<Arc<Endpoints>>,
    /// The zone of each node.
    pub zones: std::collections::HashMap<String, String>,
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("endpoints");
    {
        let queue = queue.clone();
        context.services.follow(context.shutdown.clone(), move |change| {
            if let Some(service) = change.new.as_ref().or(change.old.as_ref()) {
                queue.add(Key::of(service.as_ref()));
            }
        });
    }
    {
        let (queue, services) = (queue.clone(), context.services.clone());
        context.pods.follow(context.shutdown.clone(), move |change| {
            for pod in [&change.old, &change.new].into_iter().flatten() {
                for service in services.list_in(pod.metadata.namespace.as_deref().unwrap_or_default()) {
                    if selects(&service, pod) {
                        queue.add(Key::of(service.as_ref()));
                    }
                }
            }
        });
    }
    {
        // Somebody else changed or deleted what is ours: put it right.
        let queue = queue.clone();
        context.endpoint_slices.follow(context.shutdown.clone(), move |change| {
            for slice in
                [&change.old, &change.new].into_iter().flatten().filter(|slice| slices::is_ours(slice))
            {
                if let Some(name) = slices::service_of(slice) {
                    queue.add(Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name));
                }
            }
        });
    }
    {
        let queue = queue.clone();
        context.endpoints.follow(context.shutdown.clone(), move |change| {
            if let Some(endpoints) = change.new.as_ref().or(change.old.as_ref()) {
                queue.add(Key::of(endpoints.as_ref()));
            }
        });
    }
    let synced = async {
        context.services.synced().await;
        context.pods.synced().await;
        context.endpoint_slices.synced().await;
        context.endpoints.synced().await;
        context.nodes.synced().await;
    };
    tokio::select! { () = synced => {}, () = context.shutdown.cancelled() => return }
    let reconcile = |key| reconcile(&context, key);
    queue::run(queue.clone(), context.config.workers, reconcile, context.shutdown.clone()).await;
}

/// Whether the Service has a selector, and it matches. One without a selector has its endpoints from elsewhere.
fn selects(service: &Service, pod: &Pod) -> bool {
    let Some(selector) = selector(service) else { return false };
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

fn selector(service: &Service) -> Option<&std::collections::BTreeMap<String, String>> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

fn observe(context: &Context, service: Arc<Service>) -> World {
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut pods = context.pods.list_in(&namespace);
    pods.retain(|pod| selects(&service, pod));
    let mut slices = context.endpoint_slices.list_in(&namespace);
    slices.retain(|slice| slices::is_ours(slice) && slices::service_of(slice) == Some(&name));
    let zone = |node: &Arc<k8s_openapi::api::core::v1::Node>| {
        let zone = node.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone")?;
        Some((node.metadata.name.clone()?, zone.clone()))
    };
    let zones = context.nodes.list().iter().filter_map(zone).collect();
    World { pods, slices, endpoints: context.endpoints.get(&namespace, &name), zones, service }
}

async fn reconcile(context: &Context, key: Key) -> Result<Action, Error> {
    let service =
        context.services.by_key(&key).filter(|service| service.metadata.deletion_timestamp.is_none());
    let Some(service) = service else {
        // Slices are owned and go with their Service; Endpoints are not.
        return remove_endpoints(context, &key).await;
    };
    if selector(&service).is_none() {
        return Ok(Action::Done);
    }
    let world = observe(context, service);
    match apply(context, &key, &world).await {
        Err(Error::Api(error)) if is_not_found(&error) || is_namespace_terminating(&error) => {
            Ok(Action::Done)
        }
        other => other.map(|()| Action::Done),
    }
}

async fn apply(context: &Context, key: &Key, world: &World) -> Result<(), Error> {
    let plan = slices::decide(world);
    let api: Api<EndpointSlice> = context.api(&key.namespace);
    let view = &context.endpoint_slices;
    for slice in &plan.update {
        replace(&api, view, slice).await?;
    }
    for slice in &plan.create {
        let written = api.create(&PostParams::default(), slice).await?;
        view.caught_up(&written).await;
    }
    for slice in &plan.delete {
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        gone_is_fine(api.delete(name, &delete_only(slice.metadata.uid.as_ref())).await)?;
        view.caught_up_deleted(&Key::of(slice.as_ref()), slice.metadata.uid.as_deref().unwrap_or_default())
            .await;
    }
    let api: Api<Endpoints> = context.api(&key.namespace);
    match legacy::decide(world) {
        Some(endpoints) if world.endpoints.is_some() => {
            replace(&api, &context.endpoints, &endpoints).await?;
        }
        Some(endpoints) => match api.create(&PostParams::default(), &endpoints).await {
            Ok(written) => context.endpoints.caught_up(&written).await,
            Err(error) if is_already_exists(&error) => {}
            Err(error) => return Err(error.into()),
        },
        None => {}
    }
    Ok(())
}

async fn remove_endpoints(context: &Context, key: &Key) -> Result<Action, Error> {
    let Some(held) = context.endpoints.by_key(key).filter(|held| legacy::is_ours(held)) else {
        return Ok(Action::Done);
    };
    let api: Api<Endpoints> = context.api(&key.namespace);
    gone_is_fine(api.delete(&key.name, &delete_only(held.metadata.uid.as_ref())).await)?;
    Ok(Action::Done)
}
