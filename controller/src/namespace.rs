//! Deleting a namespace: everything in it goes, whatever kind it is, and then it may go itself.
//!
//! Behaviour: upstream's `pkg/controller/namespace`. Pods go first, so that they still find what they were given.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::{Context, replace_status};
use crate::error::{Error, gone_is_fine, is_not_found};
use crate::replicaset::message;
use crate::resources::{Kind, discover};

const FINALIZER: &str = "kubernetes";
/// How soon to look again when something other than pods remains, which finalizers hold.
const RECHECK: Duration = Duration::from_secs(2);

/// What is left of one kind.
struct Left {
    what: String,
    count: usize,
    finalizers: Vec<String>,
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("namespace");
    {
        let queue = queue.clone();
        context.namespaces.follow(context.shutdown.clone(), move |change| {
            if let Some(namespace) = change.new.as_ref().filter(|namespace| is_leaving(namespace)) {
                queue.add(namespace.metadata.name.clone().unwrap_or_default());
            }
        });
    }
    {
        let (queue, namespaces) = (queue.clone(), context.namespaces.clone());
        context.pods.follow(context.shutdown.clone(), move |change| {
            let (Some(pod), None) = (&change.old, &change.new) else { return };
            let name = pod.metadata.namespace.clone().unwrap_or_default();
            if namespaces.get("", &name).is_some_and(|namespace| is_leaving(&namespace)) {
                queue.add(name);
            }
        });
    }
    tokio::select! { () = context.namespaces.synced() => {}, () = context.shutdown.cancelled() => return }
    let reconcile = |name| reconcile(&context, name);
    queue::run(queue.clone(), context.config.workers, reconcile, context.shutdown.clone()).await;
}

fn is_leaving(namespace: &Namespace) -> bool {
    let held =
        namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()).any(|name| name == FINALIZER);
    namespace.metadata.deletion_timestamp.is_some() && held
}

async fn reconcile(context: &Context, name: String) -> Result<Action, Error> {
    let Some(namespace) = context.namespaces.get("", &name).filter(|namespace| is_leaving(namespace)) else {
        return Ok(Action::Done);
    };
    let kinds = match discover(&context.client).await {
        Ok(kinds) => kinds,
        Err(error) => {
            report(context, &namespace, &[], Some(("NamespaceDeletionDiscoveryFailure", message(&error))))
                .await?;
            return Err(error.into());
        }
    };
    let within = |kind: &&Kind| kind.namespaced && kind.can("delete");
    let is_pods = |kind: &&Kind| kind.id() == (String::new(), "pods".to_owned());
    let mut left = Vec::new();
    for kind in kinds.iter().filter(within).filter(is_pods) {
        left.extend(empty(context, &name, kind).await?);
    }
    if left.is_empty() {
        for kind in kinds.iter().filter(within).filter(|kind| !is_pods(kind)) {
            match empty(context, &name, kind).await {
                Ok(rest) => left.extend(rest),
                // The kind went meanwhile, and its objects with it.
                Err(error) if is_not_found(&error) => {}
                Err(error) => {
                    let failure = ("NamespaceDeletionContentFailure", message(&error));
                    report(context, &namespace, &left, Some(failure)).await?;
                    return Err(error.into());
                }
            }
        }
    }
    if !left.is_empty() {
        report(context, &namespace, &left, None).await?;
        let only_pods = left.iter().all(|left| left.what == "pods.");
        // The end of a pod is told by the watch; a pod that ended meanwhile is looked for once more.
        let gone_meanwhile = only_pods && context.pods.list_in(&name).is_empty();
        return Ok(if only_pods && !gone_meanwhile { Action::Done } else { Action::After(RECHECK) });
    }
    finalize(context, &name).await.map(|()| Action::Done)
}

/// Deletes all objects of a kind and tells what is still there.
async fn empty(context: &Context, namespace: &str, kind: &Kind) -> Result<Option<Left>, kube::Error> {
    let api = kind.api(&context.client, namespace);
    let all = ListParams::default();
    let found = api.list_metadata(&all).await?;
    if found.items.is_empty() {
        return Ok(None);
    }
    if kind.can("deletecollection") {
        gone_is_fine(api.delete_collection(&DeleteParams::background(), &all).await)?;
    } else {
        for object in &found.items {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            gone_is_fine(api.delete(name, &DeleteParams::background()).await)?;
        }
    }
    let rest = api.list_metadata(&all).await?;
    let finalizers =
        rest.items.iter().flat_map(|object| object.metadata.finalizers.iter().flatten().cloned());
    Ok((!rest.items.is_empty()).then(|| Left {
        what: format!("{}.{}", kind.resource.plural, kind.resource.group),
        count: rest.items.len(),
        finalizers: finalizers.collect(),
    }))
}

/// Writes what holds the namespace up.
async fn report(
    context: &Context,
    namespace: &Namespace,
    left: &[Left],
    failure: Option<(&str, String)>,
) -> Result<(), Error> {
    let mut changed = namespace.clone();
    let status = changed.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    for wanted in conditions_for(left, failure) {
        let held = conditions.iter_mut().find(|condition| condition.type_ == wanted.type_);
        match held {
            Some(held) if (&held.status, &held.message) == (&wanted.status, &wanted.message) => {}
            Some(held) => *held = wanted,
            None => conditions.push(wanted),
        }
    }
    if changed.status != namespace.status {
        let api: Api<Namespace> = Api::all(context.client.clone());
        gone_is_fine(replace_status(&api, &context.namespaces, &changed).await)?;
    }
    Ok(())
}

/// Upstream's conditions, in its words.
fn conditions_for(left: &[Left], failure: Option<(&str, String)>) -> Vec<NamespaceCondition> {
    let condition = |type_: &str, reason: &str, bad: bool, message: String| NamespaceCondition {
        type_: type_.to_owned(),
        status: if bad { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(Timestamp::now())),
    };
    let failed =
        |type_: &str| failure.as_ref().filter(|(failed, _)| *failed == type_).map(|(_, text)| text.clone());
    let mut conditions = Vec::new();
    let sound = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "DiscoveryFailed",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "GroupVersionParsingFailed",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
    ];
    for (type_, bad, good, text) in sound {
        let message = failed(type_);
        let reason = if message.is_some() { bad } else { good };
        conditions.push(condition(
            type_,
            reason,
            message.is_some(),
            message.unwrap_or_else(|| text.to_owned()),
        ));
    }
    let texts: Vec<_> =
        left.iter().map(|left| format!("{} has {} resource instances", left.what, left.count)).collect();
    let remaining = match texts.is_empty() {
        true => condition(
            "NamespaceContentRemaining",
            "ContentRemoved",
            false,
            "All content successfully removed".into(),
        ),
        false => {
            let text = format!("Some resources are remaining: {}", texts.join(", "));
            condition("NamespaceContentRemaining", "SomeResourcesRemain", true, text)
        }
    };
    conditions.push(remaining);
    let mut finalizers = std::collections::BTreeMap::new();
    for name in left.iter().flat_map(|left| &left.finalizers) {
        *finalizers.entry(name).or_insert(0) += 1;
    }
    let texts: Vec<_> =
        finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    let finalizing = match texts.is_empty() {
        true => condition(
            "NamespaceFinalizersRemaining",
            "ContentHasNoFinalizers",
            false,
            "All content-preserving finalizers finished".into(),
        ),
        false => {
            let text =
                format!("Some content in the namespace has finalizers remaining: {}", texts.join(", "));
            condition("NamespaceFinalizersRemaining", "SomeFinalizersRemain", true, text)
        }
    };
    conditions.push(finalizing);
    conditions
}

async fn finalize(context: &Context, name: &str) -> Result<(), Error> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let Some(mut namespace) = api.get_opt(name).await? else { return Ok(()) };
    let finalizers = namespace.spec.get_or_insert_default().finalizers.get_or_insert_default();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    Ok(gone_is_fine(api.replace_subresource("finalize", name, &PostParams::default(), &namespace).await)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conditions_name_what_is_left() {
        let left = [Left { what: "pods.".into(), count: 2, finalizers: vec!["x/y".into(), "x/y".into()] }];
        let told = conditions_for(&left, None);
        let message =
            |type_: &str| told.iter().find(|c| c.type_ == type_).and_then(|c| c.message.clone()).unwrap();
        assert_eq!(
            message("NamespaceContentRemaining"),
            "Some resources are remaining: pods. has 2 resource instances"
        );
        let text = "Some content in the namespace has finalizers remaining: x/y in 2 resource instances";
        assert_eq!(message("NamespaceFinalizersRemaining"), text);
        let failed = conditions_for(&[], Some(("NamespaceDeletionContentFailure", "no".into())));
        let bad: Vec<_> = failed.iter().filter(|c| c.status == "True").map(|c| c.type_.as_str()).collect();
        assert_eq!(bad, ["NamespaceDeletionContentFailure"]);
    }
}
