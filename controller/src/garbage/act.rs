//! Carrying out what was decided, after asking the API server whether it still holds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::json;
use skiff_runtime::queue::Action;

use super::Collector;
use super::decide::{Owner, Plan, Verdict, decide, dependents, judge};
use super::graph::{FOREGROUND, Item, ORPHAN};
use crate::error::{Error, gone_is_fine, is_conflict};

/// One turn of an object.
pub(super) async fn visit(collector: &Collector, uid: String) -> Result<Action, Error> {
    let (item, plan) = {
        let graph = collector.graph();
        let Some(item) = graph.get(&uid).cloned() else { return Ok(Action::Done) };
        (item, decide(&graph, &uid))
    };
    match plan {
        Plan::Nothing => {}
        Plan::Await(dependents) => collector.visit(dependents),
        Plan::Unblock => remove_finalizer(collector, &item, &uid, FOREGROUND).await?,
        Plan::Orphan(dependents) => {
            for dependent in dependents {
                let Some(held) = collector.graph().get(&dependent).cloned() else { continue };
                unreference(collector, &held, &dependent, std::slice::from_ref(&uid)).await?;
            }
            remove_finalizer(collector, &item, &uid, ORPHAN).await?;
        }
        Plan::AskOwners => ask_owners(collector, &item, &uid).await?,
    }
    Ok(Action::Done)
}

async fn ask_owners(collector: &Collector, item: &Item, uid: &str) -> Result<(), Error> {
    let mut owners = Vec::new();
    for owner in &item.owners {
        owners.push(state(collector, item, owner).await?);
    }
    let dependents = dependents(&collector.graph(), uid);
    match judge(item, &owners, dependents) {
        Verdict::Keep => Ok(()),
        Verdict::Unreference(off) => unreference(collector, item, uid, &off).await,
        Verdict::DeleteForeground => delete(collector, item, uid, Some(PropagationPolicy::Foreground)).await,
        Verdict::DeleteInCircle => {
            let_owners_go(collector, item, uid).await?;
            delete(collector, item, uid, Some(PropagationPolicy::Foreground)).await
        }
        Verdict::Delete => delete(collector, item, uid, None).await,
    }
}

/// What the graph says of an owner, or else the API server.
async fn state(collector: &Collector, item: &Item, owner: &OwnerReference) -> Result<Owner, Error> {
    if let Some(held) = collector.graph().get(&owner.uid) {
        return Ok(if held.waits() { Owner::Waiting } else { Owner::Solid });
    }
    let Some(kind) = collector.kind(&owner.api_version, &owner.kind) else {
        // Nothing says that it is gone, so nothing may be deleted.
        collector.kinds_changed.notify_one();
        let text = format!("owner {} {} of {} is of an unknown kind", owner.kind, owner.name, item.key);
        return Err(Error::Unfinished(text));
    };
    let api = kind.api(&collector.context.client, &item.key.namespace);
    let found = api.get_metadata_opt(&owner.name).await?;
    let found = found.filter(|found| found.metadata.uid.as_ref() == Some(&owner.uid));
    Ok(found.map_or(Owner::Absent, |found| {
        if Item::new(kind, &found.metadata).waits() { Owner::Waiting } else { Owner::Solid }
    }))
}

/// The object's metadata now, unless it is gone.
async fn latest(collector: &Collector, item: &Item, uid: &str) -> Result<Option<ObjectMeta>, Error> {
    let api = item.kind.api(&collector.context.client, &item.key.namespace);
    let found = api.get_metadata_opt(&item.key.name).await?;
    Ok(found.map(|found| found.metadata).filter(|meta| meta.uid.as_deref() == Some(uid)))
}

async fn delete(
    collector: &Collector,
    item: &Item,
    uid: &str,
    policy: Option<PropagationPolicy>,
) -> Result<(), Error> {
    let Some(meta) = latest(collector, item, uid).await? else { return Ok(()) };
    let uids = |owners: &[OwnerReference]| owners.iter().map(|owner| owner.uid.clone()).collect::<Vec<_>>();
    if meta.deletion_timestamp.is_some() {
        return Ok(());
    }
    if uids(meta.owner_references.as_deref().unwrap_or_default()) != uids(&item.owners) {
        return Err(Error::Unfinished(format!("owners of {} have changed, looking again", item.key)));
    }
    let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|other| other == finalizer);
    let policy = policy.unwrap_or(match (has(ORPHAN), has(FOREGROUND)) {
        (true, _) => PropagationPolicy::Orphan,
        (_, true) => PropagationPolicy::Foreground,
        _ => PropagationPolicy::Background,
    });
    let how = DeleteParams {
        propagation_policy: Some(policy),
        preconditions: Some(Preconditions {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    tracing::debug!(kind = item.kind.resource.kind, key = %item.key, "deleting what has no owner left");
    let api = item.kind.api(&collector.context.client, &item.key.namespace);
    Ok(gone_is_fine(api.delete(&item.key.name, &how).await)?)
}

async fn unreference(collector: &Collector, item: &Item, uid: &str, off: &[String]) -> Result<(), Error> {
    let Some(meta) = latest(collector, item, uid).await? else { return Ok(()) };
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    let before = owners.len();
    owners.retain(|owner| !off.contains(&owner.uid));
    if owners.len() == before {
        return Ok(());
    }
    patch(collector, item, &meta, "ownerReferences", json!(owners)).await
}

/// No owner has to wait for this object any more.
async fn let_owners_go(collector: &Collector, item: &Item, uid: &str) -> Result<(), Error> {
    let Some(meta) = latest(collector, item, uid).await? else { return Ok(()) };
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    let blocking = owners.iter_mut().filter(|owner| owner.block_owner_deletion == Some(true));
    let mut changed = false;
    for owner in blocking {
        owner.block_owner_deletion = Some(false);
        changed = true;
    }
    if !changed {
        return Ok(());
    }
    patch(collector, item, &meta, "ownerReferences", json!(owners)).await
}

async fn remove_finalizer(
    collector: &Collector,
    item: &Item,
    uid: &str,
    finalizer: &str,
) -> Result<(), Error> {
    let Some(meta) = latest(collector, item, uid).await? else { return Ok(()) };
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    if !finalizers.iter().any(|other| other == finalizer) {
        return Ok(());
    }
    finalizers.retain(|other| other != finalizer);
    patch(collector, item, &meta, "finalizers", json!(finalizers)).await
}

async fn patch(
    collector: &Collector,
    item: &Item,
    meta: &ObjectMeta,
    field: &str,
    value: serde_json::Value,
) -> Result<(), Error> {
    let patch =
        json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, field: value}});
    let api = item.kind.api(&collector.context.client, &item.key.namespace);
    match gone_is_fine(api.patch(&item.key.name, &PatchParams::default(), &Patch::Merge(&patch)).await) {
        Err(error) if is_conflict(&error) => {
            Err(Error::Unfinished(format!("{} has changed meanwhile, looking again", item.key)))
        }
        other => Ok(other?),
    }
}
