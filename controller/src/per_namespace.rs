//! An object that every namespace has: made when it is not there, mended when it is not as it should be.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use skiff_runtime::Key;
use skiff_runtime::queue::{self, Action, Queue};
use skiff_runtime::view::View;

use crate::context::{Context, Written, replace};
use crate::error::{Error, is_already_exists, is_namespace_terminating, is_not_found};

/// Which object, and how it should be.
pub(crate) struct Kept<K, D> {
    /// The controller's name.
    pub controller: &'static str,
    /// The object's name.
    pub name: &'static str,
    /// Where it is seen.
    pub view: View<K>,
    /// From a namespace that lives and what it has, the object as it should be, if it is not.
    pub decide: D,
}

/// Whether objects can still be made in it.
fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

/// Keeps the object in every namespace until shutdown.
pub(crate) async fn run<K, D>(context: Arc<Context>, kept: Kept<K, D>)
where
    K: Written + kube::Resource<Scope = NamespaceResourceScope>,
    D: Fn(&Namespace, Option<&K>) -> Option<K>,
{
    let queue = Queue::new(kept.controller);
    {
        let queue = queue.clone();
        context.namespaces.follow(context.shutdown.clone(), move |change| {
            if let Some(name) = change.new.as_ref().and_then(|namespace| namespace.metadata.name.clone()) {
                queue.add(name);
            }
        });
    }
    {
        let (queue, name) = (queue.clone(), kept.name);
        kept.view.follow(context.shutdown.clone(), move |change| {
            let Some(object) = change.new.as_ref().or(change.old.as_ref()) else { return };
            let key = Key::of(object.as_ref());
            if key.name == name {
                queue.add(key.namespace);
            }
        });
    }
    tokio::select! {
        () = async { context.namespaces.synced().await; kept.view.synced().await } => {}
        () = context.shutdown.cancelled() => return,
    }
    let reconcile = |namespace| reconcile(&context, &kept, namespace);
    queue::run(queue.clone(), 2, reconcile, context.shutdown.clone()).await;
}

async fn reconcile<K, D>(context: &Context, kept: &Kept<K, D>, namespace: String) -> Result<Action, Error>
where
    K: Written + kube::Resource<Scope = NamespaceResourceScope>,
    D: Fn(&Namespace, Option<&K>) -> Option<K>,
{
    let Some(object) = context.namespaces.get("", &namespace).filter(|namespace| is_active(namespace)) else {
        return Ok(Action::Done);
    };
    let held = kept.view.get(&namespace, kept.name);
    let Some(wanted) = (kept.decide)(&object, held.as_deref()) else { return Ok(Action::Done) };
    let api: Api<K> = context.api(&namespace);
    let result = match held {
        Some(_) => replace(&api, &kept.view, &wanted).await,
        None => api.create(&PostParams::default(), &wanted).await,
    };
    match result {
        Ok(written) => kept.view.caught_up(&written).await,
        Err(error)
            if is_already_exists(&error) || is_namespace_terminating(&error) || is_not_found(&error) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_going_gets_nothing() {
        let live = Namespace::default();
        let mut leaving = Namespace::default();
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!([&live, &leaving].map(is_active), [true, false]);
    }
}
