//! Removes old requests: issued, denied or failed for an hour, waiting for a day, or with a certificate that has ended.
//!
//! Behaviour: upstream's `cleaner/cleaner.go`, which looks at all of them once an hour; here each is looked at when its
//! own time has come.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use skiff_runtime::queue::{self, Action, Queue};

use super::{conditions, issued};
use crate::context::{Context, delete_only};
use crate::error::{Error, gone_is_fine};

/// How long a request is kept after its decision.
const DECIDED_S: i64 = 3600;
/// How long one waits for its decision, or for its certificate.
const PENDING_S: i64 = 24 * 3600;

/// When a request is to be removed, in seconds of the epoch; never, if nothing says so.
fn decide(request: &CertificateSigningRequest) -> Option<i64> {
    let second = |time: Option<&Time>| time.map(|time| time.0.as_second());
    let issued = issued(request);
    let mut ends: Vec<i64> = Vec::new();
    for condition in conditions(request) {
        let updated = second(condition.last_update_time.as_ref());
        let kept = match (condition.type_.as_str(), issued) {
            ("Denied" | "Failed", _) | ("Approved", Some(_)) => DECIDED_S,
            ("Approved", None) => PENDING_S,
            _ => continue,
        };
        ends.extend(updated.map(|updated| updated + kept));
        if let ("Approved", Some(pem)) = (condition.type_.as_str(), issued) {
            ends.extend(skiff_api::certificate::validity_s(pem).map(|(_, ends)| ends));
        }
    }
    if conditions(request).is_empty() {
        ends.extend(second(request.metadata.creation_timestamp.as_ref()).map(|made| made + PENDING_S));
    }
    ends.into_iter().min()
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("csrcleaner");
    {
        let queue = queue.clone();
        context.signing_requests.follow(context.shutdown.clone(), move |change| {
            if let Some(name) = change.new.as_ref().and_then(|request| request.metadata.name.clone()) {
                queue.add(name);
            }
        });
    }
    let reconcile = |name: String| clean(&context, name);
    queue::run(queue.clone(), 1, reconcile, context.shutdown.clone()).await;
}

async fn clean(context: &Context, name: String) -> Result<Action, Error> {
    let Some(request) = context.signing_requests.get("", &name) else { return Ok(Action::Done) };
    let Some(end) = decide(&request) else { return Ok(Action::Done) };
    let left = end - Timestamp::now().as_second();
    if let Ok(left @ 0..) = u64::try_from(left) {
        // Past its end, not at it.
        return Ok(Action::After(Duration::from_secs(left + 1)));
    }
    let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    tracing::info!(csr = name, "an old certificate request is removed");
    gone_is_fine(api.delete(&name, &delete_only(request.metadata.uid.as_ref())).await.map(|_| ()))?;
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use rcgen::{CertificateParams, KeyPair};

    use super::super::condition;
    use super::*;

    #[test]
    fn each_state_is_kept_for_its_time() {
        let at = |second: i64| Some(Time(Timestamp::from_second(second).unwrap()));
        let ends_at = |second: i64| {
            let mut params = CertificateParams::default();
            params.not_after = std::time::SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(second.unsigned_abs()))
                .unwrap()
                .into();
            let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
            Some(ByteString(pem.into_bytes()))
        };
        let table = [
            ("new", vec![], None, Some(1000 + PENDING_S)),
            ("denied", vec!["Denied"], None, Some(2000 + DECIDED_S)),
            ("failed", vec!["Failed"], None, Some(2000 + DECIDED_S)),
            ("approved", vec!["Approved"], None, Some(2000 + PENDING_S)),
            ("issued", vec!["Approved"], ends_at(1_000_000), Some(2000 + DECIDED_S)),
            ("ended", vec!["Approved"], ends_at(3000), Some(3000)),
            ("of another", vec!["Own"], None, None),
        ];
        for (what, sorts, certificate, expected) in table {
            let mut request = CertificateSigningRequest::default();
            request.metadata.creation_timestamp = at(1000);
            let status = request.status.get_or_insert_default();
            status.certificate = certificate;
            let list = sorts.iter().map(|sort| {
                let mut condition = condition(sort, "", "");
                condition.last_update_time = at(2000);
                condition
            });
            status.conditions = Some(list.collect());
            assert_eq!(decide(&request), expected, "{what}");
        }
    }
}
