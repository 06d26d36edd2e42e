//! Every namespace has a ServiceAccount `default`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::Context;
use crate::error::{Error, is_already_exists, is_namespace_terminating, is_not_found};

const NAME: &str = "default";

/// Whether the account is to be made.
fn decide(namespace: &Namespace, account: Option<&ServiceAccount>) -> bool {
    is_active(namespace) && account.is_none()
}

/// Whether objects can still be made in it.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("serviceaccount");
    {
        let queue = queue.clone();
        context.namespaces.follow(context.shutdown.clone(), move |change| {
            if let Some(name) = change.new.as_ref().and_then(|namespace| namespace.metadata.name.clone()) {
                queue.add(name);
            }
        });
    }
    {
        let queue = queue.clone();
        context.service_accounts.follow(context.shutdown.clone(), move |change| {
            let (Some(old), None) = (&change.old, &change.new) else { return };
            if old.metadata.name.as_deref() == Some(NAME) {
                queue.add(old.metadata.namespace.clone().unwrap_or_default());
            }
        });
    }
    tokio::select! {
        () = async { context.namespaces.synced().await; context.service_accounts.synced().await } => {}
        () = context.shutdown.cancelled() => return,
    }
    queue::run(queue.clone(), 2, |name| reconcile(&context, name), context.shutdown.clone()).await;
}

async fn reconcile(context: &Context, namespace: String) -> Result<Action, Error> {
    let Some(held) = context.namespaces.get("", &namespace) else { return Ok(Action::Done) };
    if !decide(&held, context.service_accounts.get(&namespace, NAME).as_deref()) {
        return Ok(Action::Done);
    }
    let metadata =
        ObjectMeta { name: Some(NAME.to_owned()), namespace: Some(namespace.clone()), ..Default::default() };
    let api: Api<ServiceAccount> = context.api(&namespace);
    match api.create(&PostParams::default(), &ServiceAccount { metadata, ..Default::default() }).await {
        Ok(written) => context.service_accounts.caught_up(&written).await,
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
    fn a_live_namespace_without_the_account_gets_one() {
        let live = Namespace::default();
        let mut leaving = Namespace::default();
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let account = ServiceAccount::default();
        for (namespace, held, expected) in
            [(&live, None, true), (&live, Some(&account), false), (&leaving, None, false)]
        {
            assert_eq!(decide(namespace, held), expected);
        }
    }
}
