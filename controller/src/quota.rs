//! Quotas say what is used: counted when a quota is new or changes, when something that it limits goes or takes less, and
//! every few minutes.
//!
//! The API server charges quotas as objects are made, before they are stored. What is counted here may miss what is just
//! being made, so a count that is less than what was charged is only written once nothing has been charged for a moment.
//! Behaviour: upstream's `pkg/controller/resourcequota`; what is counted how is `skiff_api::quota`.

mod source;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use kube::api::Api;
use serde_json::Value;
use skiff_api::quota::{self, Measure};
use skiff_api::resources::{self, ResourceList};
use skiff_runtime::Key;
use skiff_runtime::queue::{self, Action, Queue};
use tokio::time::Instant;

use crate::context::{Context, replace_status};
use crate::error::{Error, is_not_found};
use source::Sources;

/// How often everything is counted even if nothing changes (`--resource-quota-sync-period`).
const RESYNC: Duration = Duration::from_secs(300);
/// How often a kind that a quota names and that is not there is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How soon it is counted again after a count was written: views of other kinds may have been behind that of quotas.
const RECOUNT: Duration = Duration::from_secs(1);
/// How long nothing must have been charged before less is written than was charged.
const SETTLE: Duration = Duration::from_millis(300);
/// How long that may take at most: who is charged all the time gets back what is free all the same.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// When a quota was last charged, and since when less is known to be used.
#[derive(Clone, Copy, Default)]
struct Seen {
    charged: Option<Instant>,
    less_since: Option<Instant>,
}

/// By quota; those that are gone are dropped.
type Charges = Arc<Mutex<HashMap<Key, Seen>>>;

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new("resourcequota");
    let charges: Charges = Arc::default();
    {
        let (queue, charges) = (queue.clone(), charges.clone());
        context.quotas.follow(context.shutdown.clone(), move |change| {
            let Some(quota) = change.new.as_ref().or(change.old.as_ref()) else { return };
            let key = Key::of(quota.as_ref());
            let mut charges = charges.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(new) = &change.new else {
                charges.remove(&key);
                return;
            };
            let used = |quota: &ResourceQuota| quota.status.as_ref().and_then(|status| status.used.clone());
            if change.old.as_ref().is_none_or(|old| used(old) != used(new)) {
                charges.entry(key.clone()).or_default().charged = Some(Instant::now());
            }
            // What was charged need not be counted.
            if change.old.as_ref().is_none_or(|old| old.spec != new.spec || used(new).is_none()) {
                queue.add(key);
            }
        });
    }
    tokio::select! {
        () = context.quotas.synced() => {}
        () = context.shutdown.cancelled() => return,
    }
    let sources = Sources::new(context.clone(), queue.clone());
    let reconcile = |key| reconcile(&context, &sources, &charges, key);
    queue::run(queue.clone(), context.config.workers, reconcile, context.shutdown.clone()).await;
}

/// What is to be done with a count.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Keep,
    /// Count again then.
    Wait(Duration),
    Write,
}

/// `less`: whether less is counted than was charged.
fn decide(differs: bool, less: bool, seen: Seen, now: Instant) -> Plan {
    if !differs {
        return Plan::Keep;
    }
    let quiet = seen.charged.map_or(SETTLE, |at| now.saturating_duration_since(at));
    let waited = seen.less_since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
    if !less || quiet >= SETTLE || waited >= SETTLE_MAX {
        return Plan::Write;
    }
    Plan::Wait((SETTLE - quiet).min(SETTLE_MAX - waited))
}

async fn reconcile(
    context: &Context,
    sources: &Sources,
    charges: &Charges,
    key: Key,
) -> Result<Action, Error> {
    let Some(object) = context.quotas.by_key(&key) else { return Ok(Action::Done) };
    let value = serde_json::to_value(object.as_ref()).unwrap_or_default();
    let names = value["spec"]["hard"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let mut listed: HashMap<Measure, Vec<Value>> = HashMap::new();
    let mut missing = false;
    for measure in Measure::of_names(names) {
        match sources.objects(&measure, &key.namespace).await? {
            Some(objects) => {
                listed.insert(measure, objects);
            }
            None => missing = true,
        }
    }
    let used = quota::usage(&value, Timestamp::now().as_second(), |measure| listed.remove(measure));
    let status = quota::status(&value, &used);
    let charged = resources::read(&value["status"]["used"]);
    let less = is_less(&used, &charged);
    let now = Instant::now();
    let seen = {
        let mut charges = charges.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = charges.entry(key.clone()).or_default();
        seen.less_since = if less { seen.less_since.or(Some(now)) } else { None };
        *seen
    };
    match (decide(status.is_some(), less, seen, now), status) {
        (Plan::Wait(left), _) => return Ok(Action::After(left)),
        (Plan::Write, Some(status)) => {
            let mut changed = ResourceQuota::clone(&object);
            let status: ResourceQuotaStatus = serde_json::from_value(status).unwrap_or_default();
            changed.status = Some(status);
            let api: Api<ResourceQuota> = context.api(&key.namespace);
            match replace_status(&api, &context.quotas, &changed).await {
                Err(error) if is_not_found(&error) => return Ok(Action::Done),
                written => written.map(|_| ())?,
            }
            return Ok(Action::After(RECOUNT));
        }
        _ => {}
    }
    Ok(Action::After(if missing { LOOK_AGAIN } else { RESYNC }))
}

/// Whether any amount is below the other.
fn is_less(used: &ResourceList, charged: &ResourceList) -> bool {
    used.iter().any(|(name, amount)| charged.get(name).is_some_and(|other| amount < other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_written_once_nothing_is_being_made() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let seen =
            |charged: u64, since: u64| Seen { charged: Some(at(charged)), less_since: Some(at(since)) };
        for (differs, less, seen, now_ms, expected) in [
            (false, false, Seen::default(), 0, Plan::Keep),
            (true, true, Seen::default(), 0, Plan::Write),
            (true, false, seen(0, 0), 10, Plan::Write),
            (true, true, seen(0, 10), 100, Plan::Wait(Duration::from_millis(200))),
            (true, true, seen(0, 10), 300, Plan::Write),
            (true, true, seen(4900, 0), 4950, Plan::Wait(Duration::from_millis(50))),
            (true, true, seen(4990, 0), 5000, Plan::Write),
        ] {
            assert_eq!(decide(differs, less, seen, at(now_ms)), expected, "{now_ms}");
        }
    }

    #[test]
    fn less_of_anything_is_less() {
        let list = |text: &str| resources::read(&serde_json::from_str(text).unwrap());
        assert!(is_less(&list(r#"{"pods": "1", "cpu": "2"}"#), &list(r#"{"pods": "1", "cpu": "3"}"#)));
        assert!(!is_less(&list(r#"{"pods": "2", "new": "0"}"#), &list(r#"{"pods": "1"}"#)));
    }
}
