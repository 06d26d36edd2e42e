//! Claims, volumes and attribute classes that are in use stay: admission gives each a finalizer, and it is taken off when
//! the object is to go and nobody uses it.
//!
//! Behaviour: upstream's `pkg/controller/volume/pvcprotection`, `pvprotection` and `vacprotection`.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use skiff_runtime::Key;
use skiff_runtime::queue::{self, Action, Queue};
use skiff_runtime::view::View;

use crate::context::{Context, Written, replace};
use crate::error::{Error, is_not_found};
use crate::pods;

const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";
const OF_VOLUMES: &str = "kubernetes.io/pv-protection";
const OF_CLASSES: &str = "kubernetes.io/vac-protection";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Claim(Key),
    Volume(String),
    Class(String),
}

/// What an object's finalizers should be, if they are not. `used` is only asked about objects that are to go.
fn decide(metadata: &ObjectMeta, finalizer: &str, used: impl FnOnce() -> bool) -> Option<Vec<String>> {
    let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
    let has = finalizers.iter().any(|name| name == finalizer);
    match (metadata.deletion_timestamp.is_some(), has) {
        (false, false) => finalizers.push(finalizer.to_owned()),
        (true, true) if !used() => finalizers.retain(|name| name != finalizer),
        _ => return None,
    }
    Some(finalizers)
}

/// The claims that a pod on a node names. One that no node has seen does not count: none will start it with a claim that is
/// to go.
fn claims_of(pod: &Pod) -> Vec<String> {
    let Some(spec) =
        pod.spec.as_ref().filter(|spec| spec.node_name.as_ref().is_some_and(|name| !name.is_empty()))
    else {
        return Vec::new();
    };
    let own = pod.metadata.name.as_deref().unwrap_or_default();
    let named = spec.volumes.iter().flatten().filter_map(|volume| {
        if let Some(claim) = &volume.persistent_volume_claim {
            return Some(claim.claim_name.clone());
        }
        (volume.ephemeral.is_some() && !pods::is_finished(pod)).then(|| format!("{own}-{}", volume.name))
    });
    named.collect()
}

/// The attribute classes that a claim names.
fn classes_of(claim: &PersistentVolumeClaim) -> BTreeSet<String> {
    let spec = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let target = status
        .and_then(|status| status.modify_volume_status.as_ref())
        .and_then(|modify| modify.target_volume_attributes_class_name.clone());
    [spec, current, target].into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

fn class_of(volume: &PersistentVolume) -> Option<String> {
    volume.spec.as_ref()?.volume_attributes_class_name.clone()
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("storage-protection");
    let stop = &context.shutdown;
    {
        let queue = queue.clone();
        context.claims.follow(stop.clone(), move |change| {
            for claim in change.old.iter().chain(&change.new) {
                classes_of(claim).into_iter().for_each(|name| {
                    queue.add(Work::Class(name));
                });
            }
            if let Some(claim) = &change.new {
                queue.add(Work::Claim(Key::of(claim.as_ref())));
            }
        });
    }
    {
        let queue = queue.clone();
        context.volumes.follow(stop.clone(), move |change| {
            for volume in change.old.iter().chain(&change.new) {
                class_of(volume).into_iter().for_each(|name| {
                    queue.add(Work::Class(name));
                });
            }
            if let Some(name) = change.new.as_ref().and_then(|volume| volume.metadata.name.clone()) {
                queue.add(Work::Volume(name));
            }
        });
    }
    {
        let queue = queue.clone();
        context.attribute_classes.follow(stop.clone(), move |change| {
            if let Some(name) = change.new.as_ref().and_then(|class| class.metadata.name.clone()) {
                queue.add(Work::Class(name));
            }
        });
    }
    {
        let queue = queue.clone();
        context.pods.follow(stop.clone(), move |change| {
            let Some(pod) = change.old.as_ref().or(change.new.as_ref()) else { return };
            let over = change.new.as_ref().is_none_or(|pod| pods::is_finished(pod));
            if over {
                let namespace = pod.metadata.namespace.clone().unwrap_or_default();
                for name in claims_of(pod) {
                    queue.add(Work::Claim(Key::new(namespace.clone(), name)));
                }
            }
        });
    }
    let synced = async {
        context.claims.synced().await;
        context.volumes.synced().await;
        context.attribute_classes.synced().await;
    };
    tokio::select! { () = synced => {}, () = stop.cancelled() => return }
    let reconcile = |work| reconcile(&context, work);
    queue::run(queue.clone(), context.config.workers, reconcile, stop.clone()).await;
}

async fn reconcile(context: &Context, work: Work) -> Result<Action, Error> {
    match work {
        Work::Claim(key) => {
            let Some(claim) = context.claims.by_key(&key) else { return Ok(Action::Done) };
            let mut using = false;
            if claim.metadata.deletion_timestamp.is_some() {
                // The view may be late; the API server knows.
                let pods: Api<Pod> = context.api(&key.namespace);
                let pods = pods.list(&Default::default()).await?;
                using = pods.iter().any(|pod| claims_of(pod).contains(&key.name));
            }
            let wanted = decide(&claim.metadata, OF_CLAIMS, || using);
            write(&context.api(&key.namespace), &context.claims, &claim, wanted).await
        }
        Work::Volume(name) => {
            let Some(volume) = context.volumes.get("", &name) else { return Ok(Action::Done) };
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            let wanted = decide(&volume.metadata, OF_VOLUMES, || phase == Some("Bound"));
            write(&Api::all(context.client.clone()), &context.volumes, &volume, wanted).await
        }
        Work::Class(name) => {
            let Some(class) = context.attribute_classes.get("", &name) else { return Ok(Action::Done) };
            let used = || {
                context.claims.list().iter().any(|claim| classes_of(claim).contains(&name))
                    || context.volumes.list().iter().any(|volume| class_of(volume).as_ref() == Some(&name))
            };
            let wanted = decide(&class.metadata, OF_CLASSES, used);
            write(&Api::all(context.client.clone()), &context.attribute_classes, &class, wanted).await
        }
    }
}

async fn write<K: Written>(
    api: &Api<K>,
    view: &View<K>,
    object: &K,
    wanted: Option<Vec<String>>,
) -> Result<Action, Error> {
    let Some(finalizers) = wanted else { return Ok(Action::Done) };
    let mut changed = object.clone();
    changed.meta_mut().finalizers = Some(finalizers);
    match replace(api, view, &changed).await {
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        written => written.map(|_| Action::Done).map_err(Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_finalizer_goes_when_the_object_shall_and_nobody_uses_it() {
        let metadata = |leaving: bool, finalizers: &[&str]| -> ObjectMeta {
            let at = leaving.then_some("2026-01-01T00:00:00Z");
            serde_json::from_value(json!({"deletionTimestamp": at, "finalizers": finalizers})).unwrap()
        };
        let own = OF_CLAIMS;
        for (leaving, finalizers, used, expected) in [
            (false, &["a"][..], false, Some(vec!["a", own])),
            (false, &[own], false, None),
            (true, &["a", own], false, Some(vec!["a"])),
            (true, &[own], true, None),
            (true, &["a"], false, None),
        ] {
            let expected = expected.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(decide(&metadata(leaving, finalizers), own, || used), expected, "{finalizers:?}");
        }
    }

    #[test]
    fn a_pod_on_a_node_uses_the_claims_that_it_names() {
        let pod = |node: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"phase": phase}, "spec": {
                "containers": [], "nodeName": node, "volumes": [
                    {"name": "a", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "e", "ephemeral": {}}]}}))
            .unwrap()
        };
        assert_eq!(claims_of(&pod("n", "Running")), ["c", "p-e"]);
        assert_eq!(claims_of(&pod("n", "Succeeded")), ["c"]);
        assert!(claims_of(&pod("", "Pending")).is_empty());
    }

    #[test]
    fn a_claim_names_the_class_that_it_has_and_the_one_that_it_shall_have() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "spec": {"volumeAttributesClassName": "a"},
            "status": {"currentVolumeAttributesClassName": "b",
                "modifyVolumeStatus": {"targetVolumeAttributesClassName": "c", "status": "Pending"}},
        }))
        .unwrap();
        assert_eq!(classes_of(&claim).into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
