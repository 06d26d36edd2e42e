//! Removes bootstrap tokens when they have ended.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use skiff_runtime::queue::{self, Action, Queue};

use super::{ends_s, is_token};
use crate::context::{Context, delete_only};
use crate::error::{Error, gone_is_fine};

/// The namespace of the tokens.
pub(crate) const TOKENS: &str = "kube-system";

/// What becomes of a Secret.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Keep,
    KeepFor(Duration),
    Remove,
}

fn decide(secret: &Secret, now_s: i64) -> Plan {
    match ends_s(secret) {
        _ if !is_token(secret) => Plan::Keep,
        None => Plan::Keep,
        Some(ends) => match u64::try_from(ends - now_s) {
            Ok(left @ 1..) => Plan::KeepFor(Duration::from_secs(left)),
            _ => Plan::Remove,
        },
    }
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("tokencleaner");
    {
        let queue = queue.clone();
        context.bootstrap_tokens.follow(context.shutdown.clone(), move |change| {
            if let Some(name) = change.new.as_ref().and_then(|secret| secret.metadata.name.clone()) {
                queue.add(name);
            }
        });
    }
    let reconcile = |name: String| clean(&context, name);
    queue::run(queue.clone(), 1, reconcile, context.shutdown.clone()).await;
}

async fn clean(context: &Context, name: String) -> Result<Action, Error> {
    let Some(secret) = context.bootstrap_tokens.get(TOKENS, &name) else { return Ok(Action::Done) };
    match decide(&secret, Timestamp::now().as_second()) {
        Plan::Keep => return Ok(Action::Done),
        Plan::KeepFor(left) => return Ok(Action::After(left)),
        Plan::Remove => {}
    }
    tracing::info!(secret = name, "a bootstrap token has ended and is removed");
    let api: Api<Secret> = context.api(TOKENS);
    gone_is_fine(api.delete(&name, &delete_only(secret.metadata.uid.as_ref())).await.map(|_| ()))?;
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use skiff_api::bootstrap_token::key;

    use super::super::tests::secret;
    use super::*;

    #[test]
    fn tokens_are_removed_when_they_end_and_nothing_else_is() {
        let ending = |time: &str| secret("abcdef", &[(key::EXPIRATION, time)]);
        let mut other = ending("1970-01-01T00:00:00Z");
        other.type_ = Some("Opaque".into());
        let table = [
            (secret("abcdef", &[]), Plan::Keep),
            (ending("1970-01-01T00:10:00Z"), Plan::KeepFor(Duration::from_secs(500))),
            (ending("1970-01-01T00:01:40Z"), Plan::Remove),
            (ending("tomorrow"), Plan::Remove),
            (other, Plan::Keep),
        ];
        for (secret, expected) in table {
            assert_eq!(decide(&secret, 100), expected, "{secret:?}");
        }
    }
}
