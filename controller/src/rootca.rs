//! Every namespace has a ConfigMap `kube-root-ca.crt` with what verifies the API server, which pods mount.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::{Context, replace};
use crate::error::{Error, is_already_exists, is_namespace_terminating, is_not_found};
use crate::serviceaccount::is_active;

/// The ConfigMap's name.
pub(crate) const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal \
     service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

/// The ConfigMap as it should be, if it is not.
fn decide(namespace: &Namespace, held: Option<&ConfigMap>, pem: &str) -> Option<ConfigMap> {
    if !is_active(namespace) {
        return None;
    }
    let data = BTreeMap::from([(KEY.to_owned(), pem.to_owned())]);
    let mut wanted = held.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: namespace.metadata.name.clone(),
            annotations: Some([(DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned())].into()),
            ..Default::default()
        },
        ..Default::default()
    });
    wanted.data = Some(data);
    (held != Some(&wanted)).then_some(wanted)
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    if context.config.root_ca_pem.is_empty() {
        tracing::info!("no root CA is configured, so none is published to pods");
        return;
    }
    let queue = Queue::new("root-ca");
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
        context.root_cas.follow(context.shutdown.clone(), move |change| {
            if let Some(map) = change.new.as_ref().or(change.old.as_ref()) {
                queue.add(map.metadata.namespace.clone().unwrap_or_default());
            }
        });
    }
    tokio::select! {
        () = async { context.namespaces.synced().await; context.root_cas.synced().await } => {}
        () = context.shutdown.cancelled() => return,
    }
    queue::run(queue.clone(), 2, |name| reconcile(&context, name), context.shutdown.clone()).await;
}

async fn reconcile(context: &Context, namespace: String) -> Result<Action, Error> {
    let Some(object) = context.namespaces.get("", &namespace) else { return Ok(Action::Done) };
    let held = context.root_cas.get(&namespace, NAME);
    let Some(wanted) = decide(&object, held.as_deref(), &context.config.root_ca_pem) else {
        return Ok(Action::Done);
    };
    let api: Api<ConfigMap> = context.api(&namespace);
    let result = match held {
        Some(_) => replace(&api, &context.root_cas, &wanted).await,
        None => api.create(&PostParams::default(), &wanted).await,
    };
    match result {
        Ok(written) => context.root_cas.caught_up(&written).await,
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
    fn the_map_is_made_and_kept() {
        let namespace = Namespace::default();
        let made = decide(&namespace, None, "pem").unwrap();
        assert_eq!(made.data.as_ref().unwrap()[KEY], "pem");
        assert!(decide(&namespace, Some(&made), "pem").is_none());
        assert_eq!(decide(&namespace, Some(&made), "new").unwrap().data.unwrap()[KEY], "new");
    }
}
