//! ReplicaSets and ReplicationControllers: as many pods as wanted, no more and no fewer.
//!
//! Behaviour: upstream's `pkg/controller/replicaset/replica_set.go`.

mod decide;
mod replicated;
mod victims;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, PostParams};
use skiff_runtime::Key;
use skiff_runtime::event::{Recorder, Type, reference};
use skiff_runtime::queue::{self, Action, Queue};

use crate::claim::{self, controller_of, controller_reference};
use crate::context::{Context, delete_only, replace_status};
use crate::error::{Error, gone_is_fine, is_conflict, is_namespace_terminating, is_not_found};
use crate::pods;
use decide::{Failure, Plan, World, decide, status};
use replicated::Replicated;

/// Pods created or deleted in one turn, as upstream; the rest waits for the next one.
pub(crate) const MAX_BURST: usize = 500;

/// Runs the controller of a kind.
pub(crate) async fn run<K: Replicated>(context: Arc<Context>) {
    let queue = Queue::new(K::QUEUE);
    let recorder = context.recorder(K::CONTROLLER);
    {
        let queue = queue.clone();
        K::view(&context).follow(context.shutdown.clone(), move |change| {
            if let Some(set) = change.new.as_ref().or(change.old.as_ref()) {
                queue.add(Key::of(set.as_ref()));
            }
        });
    }
    {
        let (queue, sets) = (queue.clone(), K::view(&context).clone());
        context.pods.follow(context.shutdown.clone(), move |change| {
            for pod in [&change.old, &change.new].into_iter().flatten() {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                match controller_of(&pod.metadata) {
                    Some(owner) if owner.kind == K::kind(&()) => {
                        queue.add(Key::new(namespace, &owner.name));
                    }
                    Some(_) => {}
                    None => {
                        for set in sets.list_in(namespace) {
                            let spec = set.as_set().spec.clone();
                            let selector = spec.and_then(|spec| claim::selector(&spec.selector));
                            if claim::matches(&selector, pod.metadata.labels.as_ref()) {
                                queue.add(Key::of(set.as_ref()));
                            }
                        }
                    }
                }
            }
        });
    }
    tokio::select! {
        () = async { K::view(&context).synced().await; context.pods.synced().await } => {}
        () = context.shutdown.cancelled() => return,
    }
    let reconcile = |key| reconcile::<K>(&context, &recorder, key);
    queue::run(queue.clone(), context.config.workers, reconcile, context.shutdown.clone()).await;
}

/// What is there, and the object as it is written.
fn observe<K: Replicated>(context: &Context, key: &Key) -> Option<(Arc<K>, World)> {
    let view = K::view(context);
    let written = view.by_key(key)?;
    let world = World {
        pods: context.pods.list_in(&key.namespace),
        siblings: view.list_in(&key.namespace).iter().map(Replicated::as_set).collect(),
        set: written.as_set(),
    };
    Some((written, world))
}

async fn reconcile<K: Replicated>(context: &Context, recorder: &Recorder, key: Key) -> Result<Action, Error> {
    let Some((written, world)) = observe::<K>(context, &key) else { return Ok(Action::Done) };
    let plan = decide(&world, Timestamp::now());
    let pods: Api<Pod> = context.api(&key.namespace);
    claim::settle(&pods, &context.pods, written.as_ref(), &plan.claim).await?;
    let failure = apply(context, recorder, &pods, written.as_ref(), &world.set, &plan).await;
    // The status tells what is known now; what was just created or deleted comes back as changes.
    let now = Timestamp::now();
    let (status, again) = status(&world.set, &plan.claim.owned, failure.as_ref(), now);
    let changed = written.with_status(status);
    if *written != changed {
        let sets: Api<K> = context.api(&key.namespace);
        match replace_status(&sets, K::view(context), &changed).await {
            Err(error) if is_not_found(&error) => return Ok(Action::Done),
            other => other.map(|_| ())?,
        }
    }
    match failure {
        Some(failure) => Err(failure.error.into()),
        None => Ok(again.map_or(Action::Done, Action::After)),
    }
}

/// Creates and deletes, many at once, and waits until the view holds it all. The first failure ends it.
async fn apply<K: Replicated>(
    context: &Context,
    recorder: &Recorder,
    api: &Api<Pod>,
    written: &K,
    set: &ReplicaSet,
    plan: &Plan,
) -> Option<Failure> {
    let about = reference(written);
    if plan.create > 0 {
        let pod = template(set, controller_reference(written))?;
        // One goes first: what refuses one refuses all, and is then asked once.
        let first = create(context, recorder, api, &about, &pod).await;
        if first.is_err() || plan.create == 1 {
            return first.err().and_then(|error| Failure::creating(recorder, &about, error));
        }
        let failed = AtomicBool::new(false);
        let mut results = stream::iter(1..plan.create)
            .map(|_| async {
                if failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                create(context, recorder, api, &about, &pod)
                    .await
                    .inspect_err(|_| failed.store(true, Ordering::Relaxed))
            })
            .buffer_unordered(context.config.burst);
        let mut failure = None;
        while let Some(result) = results.next().await {
            failure = failure.or(result.err());
        }
        return failure.and_then(|error| Failure::creating(recorder, &about, error));
    }
    let about = &about;
    // Owned pods: a closure over borrowed ones makes a future that is not known to be `Send`.
    let mut results = stream::iter(plan.delete.clone())
        .map(|pod| async move {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match gone_is_fine(api.delete(name, &delete_only(pod.metadata.uid.as_ref())).await) {
                Err(error) if !is_conflict(&error) => Err(error),
                _ => {
                    recorder.event(about, Type::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                    context.pods.caught_up_deleted(&Key::of(pod.as_ref()), uid).await;
                    Ok(())
                }
            }
        })
        .buffer_unordered(context.config.burst);
    let mut failure = None;
    while let Some(result) = results.next().await {
        failure = failure.or(result.err());
    }
    failure.map(|error| Failure::deleting(recorder, about, error))
}

fn template(set: &ReplicaSet, owner: OwnerReference) -> Option<Pod> {
    let template = set.spec.as_ref()?.template.as_ref()?;
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    Some(pods::from_template(template, namespace, name, owner))
}

async fn create(
    context: &Context,
    recorder: &Recorder,
    api: &Api<Pod>,
    about: &k8s_openapi::api::core::v1::ObjectReference,
    pod: &Pod,
) -> Result<(), kube::Error> {
    let written = api.create(&PostParams::default(), pod).await?;
    let name = written.metadata.name.as_deref().unwrap_or_default();
    recorder.event(about, Type::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
    context.pods.caught_up(&written).await;
    Ok(())
}

impl Failure {
    fn creating(
        recorder: &Recorder,
        about: &k8s_openapi::api::core::v1::ObjectReference,
        error: kube::Error,
    ) -> Option<Self> {
        if is_namespace_terminating(&error) {
            return None;
        }
        recorder.event(about, Type::Warning, "FailedCreate", format!("Error creating: {}", message(&error)));
        Some(Self { reason: "FailedCreate", message: message(&error), error })
    }

    fn deleting(
        recorder: &Recorder,
        about: &k8s_openapi::api::core::v1::ObjectReference,
        error: kube::Error,
    ) -> Self {
        recorder.event(about, Type::Warning, "FailedDelete", format!("Error deleting: {}", message(&error)));
        Self { reason: "FailedDelete", message: message(&error), error }
    }
}

/// What the API server said, without the client's wrapping.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
