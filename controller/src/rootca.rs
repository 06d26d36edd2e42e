//! Every namespace has a ConfigMap `kube-root-ca.crt` with what verifies the API server, which pods mount.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::Context;
use crate::per_namespace::{self, Kept};

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
    let (view, pem) = (context.root_cas.clone(), context.config.root_ca_pem.clone());
    let decide = move |namespace: &Namespace, held: Option<&ConfigMap>| decide(namespace, held, &pem);
    per_namespace::run(context, Kept { controller: "root-ca", name: NAME, view, decide }).await;
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
