//! Every namespace has a service account `default`; Secrets for accounts hold their tokens ([`tokens`]).

pub(crate) mod tokens;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::Context;
use crate::per_namespace::{self, Kept};

const NAME: &str = "default";

/// The account, if there is none; one that is there belongs to its users.
fn decide(namespace: &Namespace, held: Option<&ServiceAccount>) -> Option<ServiceAccount> {
    let metadata = ObjectMeta {
        name: Some(NAME.to_owned()),
        namespace: namespace.metadata.name.clone(),
        ..Default::default()
    };
    held.is_none().then(|| ServiceAccount { metadata, ..Default::default() })
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let view = context.service_accounts.clone();
    per_namespace::run(context, Kept { controller: "serviceaccount", name: NAME, view, decide }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_made_and_left_as_it_is() {
        let namespace = Namespace::default();
        let made = decide(&namespace, None).unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("default"));
        assert!(decide(&namespace, Some(&made)).is_none());
    }
}
