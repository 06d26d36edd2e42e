//! Signs the ConfigMap `cluster-info` with every token that may, so that who holds one can tell that it is genuine.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use skiff_api::bootstrap_token::{CLUSTER_INFO, KUBECONFIG, SIGNATURE_PREFIX};
use skiff_runtime::queue::{self, Action, Queue};

use super::signing;
use crate::context::{Context, replace};
use crate::error::{Error, is_not_found};

/// The namespace that anyone may read of.
pub(crate) const PUBLIC: &str = "kube-public";

/// The ConfigMap's data with the signatures of these tokens and no others, if it is not so.
fn decide(
    data: &BTreeMap<String, String>,
    tokens: &[Arc<Secret>],
    now_s: i64,
) -> Option<BTreeMap<String, String>> {
    let content = data.get(KUBECONFIG)?;
    let mut wanted = data.clone();
    wanted.retain(|key, _| !key.starts_with(SIGNATURE_PREFIX));
    for token in tokens.iter().filter_map(|secret| signing(secret, now_s)) {
        wanted.insert(format!("{SIGNATURE_PREFIX}{}", token.id), token.sign(content));
    }
    (wanted != *data).then_some(wanted)
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("bootstrapsigner");
    {
        let queue = queue.clone();
        context.bootstrap_tokens.follow(context.shutdown.clone(), move |_| {
            queue.add(());
        });
    }
    {
        let queue = queue.clone();
        context.cluster_info.follow(context.shutdown.clone(), move |_| {
            queue.add(());
        });
    }
    tokio::select! {
        () = async { context.bootstrap_tokens.synced().await; context.cluster_info.synced().await } => {}
        () = context.shutdown.cancelled() => return,
    }
    let reconcile = |()| sign(&context);
    queue::run(queue.clone(), 1, reconcile, context.shutdown.clone()).await;
}

async fn sign(context: &Context) -> Result<Action, Error> {
    let Some(held) = context.cluster_info.get(PUBLIC, CLUSTER_INFO) else { return Ok(Action::Done) };
    let tokens = context.bootstrap_tokens.list();
    let data = held.data.clone().unwrap_or_default();
    let Some(wanted) = decide(&data, &tokens, Timestamp::now().as_second()) else { return Ok(Action::Done) };
    let changed = ConfigMap { data: Some(wanted), ..(*held).clone() };
    let api: Api<ConfigMap> = context.api(PUBLIC);
    match replace(&api, &context.cluster_info, &changed).await {
        Err(error) if !is_not_found(&error) => Err(error.into()),
        _ => Ok(Action::Done),
    }
}

#[cfg(test)]
mod tests {
    use skiff_api::bootstrap_token::{Token, key};

    use super::super::tests::secret;
    use super::*;

    #[test]
    fn each_token_signs_and_signatures_go_with_their_tokens() {
        let data = BTreeMap::from([(KUBECONFIG.to_owned(), "text".to_owned())]);
        let tokens: Vec<_> = ["abcdef", "fedcba"]
            .map(|id| Arc::new(secret(id, &[(key::SIGNING, "true")])))
            .into_iter()
            .collect();
        let signed = decide(&data, &tokens, 0).unwrap();
        assert_eq!(signed.len(), 3);
        let token = Token::parse("abcdef.0123456789abcdef").unwrap();
        assert_eq!(signed["jws-kubeconfig-abcdef"], token.sign("text"));
        assert_eq!(decide(&signed, &tokens, 0), None, "it is as it should be");
        let fewer = decide(&signed, &tokens[..1], 0).unwrap();
        assert_eq!(fewer.keys().collect::<Vec<_>>(), ["jws-kubeconfig-abcdef", "kubeconfig"]);
        assert_eq!(decide(&BTreeMap::new(), &tokens, 0), None, "nothing to sign");
    }
}
