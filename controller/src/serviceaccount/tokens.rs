//! Secrets of type `kubernetes.io/service-account-token` hold a token of the account that they name, for as long as both exist.
//!
//! Behaviour as upstream's `pkg/controller/serviceaccount/tokens_controller.go`.

mod sign;

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt;
use kube::api::Api;
use skiff_runtime::Key;
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::{Context, delete_only, replace};
use crate::error::{Error, is_conflict, is_not_found};
pub use sign::SigningKey;
use sign::{Claims, Signer};

/// The type of such Secrets.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// What to do with a Secret.
#[derive(Debug, PartialEq)]
enum Plan {
    /// It is as it should be, or none of ours.
    Leave,
    /// Its account is gone.
    Delete,
    /// Write it so; without a token it wants one first.
    Fill(Box<Secret>),
}

/// The account that a Secret names, and the uid that it must have (any, if empty).
fn account_of(secret: &Secret) -> Option<(&str, &str)> {
    let name = secret.annotations().get(NAME).filter(|name| !name.is_empty())?;
    Some((name, secret.annotations().get(UID).map_or("", String::as_str)))
}

/// Whether an account is the one that a Secret names.
fn is_meant(account: &ServiceAccount, uid: &str) -> bool {
    uid.is_empty() || account.uid().is_some_and(|own| own == uid)
}

fn decide(secret: &Secret, account: Option<&ServiceAccount>, ca_pem: &str) -> Plan {
    let Some((_, uid)) = account_of(secret).filter(|_| secret.type_.as_deref() == Some(TYPE)) else {
        return Plan::Leave;
    };
    let Some(account) = account.filter(|account| is_meant(account, uid)) else { return Plan::Delete };
    let mut wanted = secret.clone();
    let data = wanted.data.get_or_insert_default();
    if !ca_pem.is_empty() {
        data.insert("ca.crt".into(), ByteString(ca_pem.into()));
    }
    if data.get("namespace").is_none_or(|namespace| namespace.0.is_empty()) {
        let namespace = secret.namespace().unwrap_or_default();
        data.insert("namespace".into(), ByteString(namespace.into_bytes()));
    }
    let has_token = data.get("token").is_some_and(|token| !token.0.is_empty());
    if has_token && wanted.data == secret.data {
        return Plan::Leave;
    }
    wanted.annotations_mut().insert(NAME.into(), account.name_any());
    wanted.annotations_mut().insert(UID.into(), account.uid().unwrap_or_default());
    Plan::Fill(Box::new(wanted))
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let Some(key) = &context.config.service_account_key else {
        tracing::info!("no key for service accounts is configured, so Secrets are given no tokens");
        return;
    };
    let signer = match Signer::new(key) {
        Ok(signer) => signer,
        Err(error) => {
            tracing::error!(%error, "the key for service accounts is not usable, so Secrets are given no tokens");
            return;
        }
    };
    let queue = Queue::new("serviceaccount-token");
    {
        let queue = queue.clone();
        context.token_secrets.follow(context.shutdown.clone(), move |change| {
            if let Some(secret) = &change.new {
                queue.add(Key::of(secret.as_ref()));
            }
        });
    }
    {
        let (queue, secrets) = (queue.clone(), context.token_secrets.clone());
        context.service_accounts.follow(context.shutdown.clone(), move |change| {
            let Some(account) = change.new.as_ref().or(change.old.as_ref()) else { return };
            let (namespace, name) = (account.namespace().unwrap_or_default(), account.name_any());
            let named = |secret: &Secret| account_of(secret).is_some_and(|(account, _)| account == name);
            for secret in secrets.list_in(&namespace).into_iter().filter(|secret| named(secret)) {
                queue.add(Key::of(secret.as_ref()));
            }
        });
    }
    tokio::select! {
        () = async { context.token_secrets.synced().await; context.service_accounts.synced().await } => {}
        () = context.shutdown.cancelled() => return,
    }
    let reconcile = |key| reconcile(&context, &signer, key);
    queue::run(queue.clone(), 2, reconcile, context.shutdown.clone()).await;
}

async fn reconcile(context: &Context, signer: &Signer, key: Key) -> Result<Action, Error> {
    let Some(secret) = context.token_secrets.get(&key.namespace, &key.name) else { return Ok(Action::Done) };
    let Some((name, uid)) = account_of(&secret) else { return Ok(Action::Done) };
    let account = find_account(context, &key.namespace, name, uid).await?;
    let api: Api<Secret> = context.api(&key.namespace);
    let result = match decide(&secret, account.as_ref(), &context.config.root_ca_pem) {
        Plan::Leave => Ok(()),
        Plan::Delete => api.delete(&key.name, &delete_only(secret.metadata.uid.as_ref())).await.map(drop),
        Plan::Fill(mut wanted) => {
            let data = wanted.data.get_or_insert_default();
            if let Some(account) =
                account.filter(|_| data.get("token").is_none_or(|token| token.0.is_empty()))
            {
                let claims = Claims::of(&key.namespace, &key.name, &account);
                data.insert("token".into(), ByteString(signer.sign(&claims)?.into_bytes()));
            }
            replace(&api, &context.token_secrets, &wanted).await.map(drop)
        }
    };
    match result {
        // Another has written it: it comes again.
        Err(error) if is_conflict(&error) || is_not_found(&error) => Ok(Action::Done),
        result => Ok(result.map(|()| Action::Done)?),
    }
}

/// An account that our view does not hold yet must not cost its Secrets.
async fn find_account(
    context: &Context,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<Option<ServiceAccount>, kube::Error> {
    let seen = context.service_accounts.get(namespace, name).filter(|account| is_meant(account, uid));
    if let Some(account) = seen {
        return Ok(Some(account.as_ref().clone()));
    }
    let api: Api<ServiceAccount> = context.api(namespace);
    Ok(api.get_opt(name).await?.filter(|account| is_meant(account, uid)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn account(uid: &str) -> ServiceAccount {
        let mut account = ServiceAccount::default();
        account.metadata.name = Some("sa".into());
        account.metadata.uid = Some(uid.into());
        account
    }

    fn secret(annotations: &[(&str, &str)], data: &[(&str, &str)]) -> Secret {
        let mut secret = Secret { type_: Some(TYPE.into()), ..Secret::default() };
        secret.metadata.namespace = Some("ns".into());
        for (key, value) in annotations {
            secret.annotations_mut().insert((*key).into(), (*value).into());
        }
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        secret.data = Some(data.collect::<BTreeMap<_, _>>());
        secret
    }

    #[test]
    fn a_secret_is_filled_and_left_as_it_is() {
        let Plan::Fill(mut filled) = decide(&secret(&[(NAME, "sa")], &[]), Some(&account("u")), "pem") else {
            panic!("it holds nothing yet");
        };
        assert_eq!(filled.annotations()[UID], "u");
        let data = filled.data.as_mut().unwrap();
        assert_eq!((data["ca.crt"].0.as_slice(), data["namespace"].0.as_slice()), (&b"pem"[..], &b"ns"[..]));
        data.insert("token".into(), ByteString(b"t".to_vec()));
        assert_eq!(decide(&filled, Some(&account("u")), "pem"), Plan::Leave);
        assert!(matches!(decide(&filled, Some(&account("u")), "new"), Plan::Fill(_)), "the CA is another");
    }

    #[test]
    fn a_secret_goes_with_its_account() {
        let held = secret(&[(NAME, "sa"), (UID, "u")], &[("token", "t")]);
        assert_eq!(decide(&held, None, ""), Plan::Delete);
        assert_eq!(decide(&held, Some(&account("new")), ""), Plan::Delete, "the account is another");
        assert_eq!(decide(&secret(&[], &[]), None, ""), Plan::Leave, "it names none");
        let other = Secret { type_: Some("Opaque".into()), ..held };
        assert_eq!(decide(&other, None, ""), Plan::Leave);
    }
}
