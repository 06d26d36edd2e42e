//! Deployments: ReplicaSets for each revision of a template, and moving from one to the next.
//!
//! Behaviour: upstream's `pkg/controller/deployment`. kubectl's `rollout history` and `undo` read the revisions that
//! `deployment::revision` writes on the ReplicaSets.

mod decide;
mod revision;
mod rolling;
mod scale;
mod status;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{Api, PostParams};
use skiff_runtime::Key;
use skiff_runtime::event::{Recorder, Type, reference};
use skiff_runtime::queue::{self, Action, Queue};

use crate::claim::{self, controller_of};
use crate::context::{Context, delete_only, replace, replace_status};
use crate::error::{Error, gone_is_fine, is_already_exists, is_namespace_terminating, is_not_found};
use crate::replicaset::message;
use decide::{Plan, World, decide};

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("deployment");
    let recorder = context.recorder("deployment-controller");
    {
        let queue = queue.clone();
        context.deployments.follow(context.shutdown.clone(), move |change| {
            if let Some(deployment) = change.new.as_ref().or(change.old.as_ref()) {
                queue.add(Key::of(deployment.as_ref()));
            }
        });
    }
    {
        let (queue, deployments) = (queue.clone(), context.deployments.clone());
        context.replica_sets.follow(context.shutdown.clone(), move |change| {
            for set in [&change.old, &change.new].into_iter().flatten() {
                let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
                match controller_of(&set.metadata) {
                    Some(owner) if owner.kind == "Deployment" => {
                        queue.add(Key::new(namespace, &owner.name));
                    }
                    Some(_) => {}
                    None => {
                        for deployment in deployments.list_in(namespace) {
                            let selector =
                                deployment.spec.as_ref().and_then(|spec| claim::selector(&spec.selector));
                            if claim::matches(&selector, set.metadata.labels.as_ref()) {
                                queue.add(Key::of(deployment.as_ref()));
                            }
                        }
                    }
                }
            }
        });
    }
    {
        // Recreate waits until the last old pod is gone, which no ReplicaSet's status tells.
        let (queue, sets) = (queue.clone(), context.replica_sets.clone());
        context.pods.follow(context.shutdown.clone(), move |change| {
            let (Some(pod), None) = (&change.old, &change.new) else { return };
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet");
            let set = owner.and_then(|owner| sets.get(namespace, &owner.name));
            let owner = set.as_ref().and_then(|set| controller_of(&set.metadata));
            if let Some(owner) = owner.filter(|owner| owner.kind == "Deployment") {
                queue.add(Key::new(namespace, &owner.name));
            }
        });
    }
    let synced = async {
        context.deployments.synced().await;
        context.replica_sets.synced().await;
        context.pods.synced().await;
    };
    tokio::select! { () = synced => {}, () = context.shutdown.cancelled() => return }
    let reconcile = |key| reconcile(&context, &recorder, key);
    queue::run(queue.clone(), context.config.workers, reconcile, context.shutdown.clone()).await;
}

fn observe(context: &Context, key: &Key) -> Option<World> {
    let deployment = context.deployments.by_key(key)?;
    let selector = deployment.spec.as_ref().and_then(|spec| claim::selector(&spec.selector));
    let claim = claim::claim(&deployment.metadata, &selector, context.replica_sets.list_in(&key.namespace));
    let recreates = decide::strategy(&deployment) == decide::Strategy::Recreate;
    let pods = if recreates { context.pods.list_in(&key.namespace) } else { Vec::new() };
    Some(World { deployment, claim, pods })
}

async fn reconcile(context: &Context, recorder: &Recorder, key: Key) -> Result<Action, Error> {
    let Some(world) = observe(context, &key) else { return Ok(Action::Done) };
    let sets: Api<ReplicaSet> = context.api(&key.namespace);
    claim::settle(&sets, &context.replica_sets, world.deployment.as_ref(), &world.claim).await?;
    if !world.claim.adopt.is_empty() || !world.claim.release.is_empty() {
        // Their versions have changed; the view has them, look again.
        return Box::pin(reconcile(context, recorder, key)).await;
    }
    let plan = decide(&world, Timestamp::now());
    match apply(context, recorder, &sets, &world, &plan).await {
        Ok(()) => Ok(plan.again.map_or(Action::Done, Action::After)),
        Err(Error::Api(error)) if is_not_found(&error) || is_namespace_terminating(&error) => {
            Ok(Action::Done)
        }
        Err(error) => Err(error),
    }
}

async fn apply(
    context: &Context,
    recorder: &Recorder,
    sets: &Api<ReplicaSet>,
    world: &World,
    plan: &Plan,
) -> Result<(), Error> {
    let about = reference(world.deployment.as_ref());
    if let Some(set) = &plan.create {
        match sets.create(&PostParams::default(), set).await {
            Ok(written) => context.replica_sets.caught_up(&written).await,
            Err(error) if is_already_exists(&error) => return collide(context, world).await,
            Err(error) => {
                let text = format!("Failed to create new replica set {:?}: {}", name(set), message(&error));
                recorder.event(&about, Type::Warning, "ReplicaSetCreateError", text);
                if !is_namespace_terminating(&error) {
                    let status =
                        status::creation_failed(&world.deployment, &message(&error), Timestamp::now());
                    write_status(context, &world.deployment, status).await?;
                }
                return Err(error.into());
            }
        }
    }
    for set in &plan.update {
        replace(sets, &context.replica_sets, set).await?;
    }
    for (reason, text) in &plan.events {
        recorder.event(&about, Type::Normal, *reason, text.clone());
    }
    for set in &plan.delete {
        gone_is_fine(sets.delete(name(set), &delete_only(set.metadata.uid.as_ref())).await)?;
    }
    let mut deployment = world.deployment.clone();
    if let Some(revision) = &plan.revision {
        let mut changed = Deployment::clone(&deployment);
        let annotations = changed.metadata.annotations.get_or_insert_default();
        annotations.insert(revision::REVISION.to_owned(), revision.clone());
        let deployments: Api<Deployment> = context.api(world.namespace());
        deployment = Arc::new(replace(&deployments, &context.deployments, &changed).await?);
    }
    if let Some(status) = &plan.status {
        write_status(context, &deployment, status.clone()).await?;
    }
    Ok(())
}

async fn write_status(
    context: &Context,
    deployment: &Deployment,
    status: k8s_openapi::api::apps::v1::DeploymentStatus,
) -> Result<(), Error> {
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let deployments: Api<Deployment> = context.api(namespace);
    let changed = Deployment { status: Some(status), ..deployment.clone() };
    replace_status(&deployments, &context.deployments, &changed).await?;
    Ok(())
}

/// A foreign ReplicaSet has the name that ours should have: counting the collision gives ours another one.
async fn collide(context: &Context, world: &World) -> Result<(), Error> {
    let mut status = world.deployment.status.clone().unwrap_or_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    write_status(context, &world.deployment, status).await?;
    Err(Error::Unfinished("the name of the new ReplicaSet is taken, another one is tried".to_owned()))
}

fn name(set: &ReplicaSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}
