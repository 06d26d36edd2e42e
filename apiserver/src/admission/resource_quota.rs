//! ResourceQuota: what is made is charged to every quota of its namespace that it falls under, or refused.
//!
//! A charge is a write of the quota's status with its version as precondition, so that any number of servers together
//! never give out more than there is. In one server the writes of a namespace wait for each other, and those that wait
//! are charged in one write. What is charged and then not made is given back by the quota controller, which counts anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use serde_json::Value;
use skiff_api::meta;
use skiff_api::quota::limited::{self, Limited, Uncovered};
use skiff_api::quota::{self, Change, Measure, Refusal};
use skiff_api::resources;
use skiff_api::status::Status;
use tokio::sync::oneshot;

use super::{Operation, Plugin, Review, configuration, objects};
use crate::app::Call;
use crate::write::{self, Owners};

/// How often a charge is tried anew when others wrote the quota in between.
const TRIES: usize = 4;

pub struct ResourceQuota {
    limited: Vec<Limited>,
    /// By namespace; those that no one waits in are dropped.
    lanes: Mutex<HashMap<String, Weak<Lane>>>,
}

/// The writes of one namespace.
#[derive(Default)]
struct Lane {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

/// A write that waits to be charged.
struct Waiting {
    change: Change,
    dry_run: bool,
    verdict: oneshot::Sender<Result<(), Verdict>>,
}

/// Why it is not charged.
#[derive(Debug, Clone)]
enum Verdict {
    Refused(String),
    Failed(Status),
}

impl ResourceQuota {
    pub fn make(told: Option<&Value>) -> Result<Box<dyn Plugin>, String> {
        let mut limited = Vec::new();
        if let Some(told) = told {
            let (group, versions) = ("apiserver.config.k8s.io", ["v1"]);
            configuration::check_kind(told, group, &versions, "ResourceQuotaConfiguration")?;
            limited = told["limitedResources"].as_array().into_iter().flatten().map(Limited::read).collect();
        }
        Ok(Box::new(Self { limited, lanes: Mutex::default() }))
    }

    fn lane(&self, namespace: &str) -> Arc<Lane> {
        let mut lanes: MutexGuard<'_, _> = self.lanes.lock().expect("no holder of this lock panics");
        if let Some(lane) = lanes.get(namespace).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Lane::default());
        lanes.insert(namespace.to_owned(), Arc::downgrade(&lane));
        lane
    }
}

#[async_trait::async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        let kind = &review.call.kind;
        kind.namespaced
            && matches!(review.operation, Operation::Create | Operation::Update)
            && Measure::of(&kind.group, &kind.plural).is_some()
    }

    async fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), Status> {
        let call = review.call;
        // What is made of an object, a binding say, is not the object.
        let made_of = review.operation == Operation::Create && !call.info.subresource.is_empty();
        let Some(measure) = Measure::of(&call.kind.group, &call.kind.plural).filter(|_| !made_of) else {
            return Ok(());
        };
        let quotas = review.list_here("", "resourcequotas");
        if quotas.is_empty() && self.limited.is_empty() {
            return Ok(());
        }
        let change = Change {
            measure,
            subresource: call.info.subresource.clone(),
            new: object.clone(),
            old: review.old.cloned(),
            now_s: call.context.now.as_second(),
        };
        if !change.counts() {
            return Ok(());
        }
        limited::check(&self.limited, &quotas, &change).map_err(|uncovered| match uncovered {
            Uncovered::Resources(why) => review.forbidden(object, &why),
            Uncovered::Scopes(why) => Status::new(500, "", why),
        })?;
        if quotas.is_empty() {
            return Ok(());
        }
        let lane = self.lane(call.namespace());
        charge(call, lane, change).await.map_err(|verdict| match verdict {
            Verdict::Refused(why) => review.forbidden(object, &why),
            Verdict::Failed(status) => status,
        })
    }
}

/// Waits for the turn of its namespace, and charges all that wait there then.
async fn charge(call: &Call, lane: Arc<Lane>, change: Change) -> Result<(), Verdict> {
    let (verdict, mut told) = oneshot::channel();
    let waiting = || lane.waiting.lock().expect("no holder of this lock panics");
    waiting().push(Waiting { change, dry_run: call.context.dry_run, verdict });
    let failed = || Verdict::Failed(Status::internal("resource quota evaluation timed out"));
    {
        let _turn = lane.turn.lock().await;
        if let Ok(verdict) = told.try_recv() {
            return verdict;
        }
        let all = std::mem::take(&mut *waiting());
        // A caller who hangs up must not take the others' verdicts along.
        let server = call.clone();
        tokio::spawn(async move { settle(&server, all).await }).await.map_err(|_| failed())?;
    }
    told.await.map_err(|_| failed())?
}

/// Charges these one after the other, writes each quota once, and tells all. Quotas that others wrote meanwhile are
/// charged again, and only those: the rest holds the charge already.
async fn settle(call: &Call, waiting: Vec<Waiting>) {
    let mut quotas = objects::list_in(call, "", "resourcequotas", call.namespace());
    let mut verdicts: Vec<Option<Result<(), Verdict>>> = vec![None; waiting.len()];
    for tries in (0..TRIES).rev() {
        let before = quotas.clone();
        let open = waiting.iter().zip(&mut verdicts).filter(|(_, verdict)| verdict.is_none());
        for (one, verdict) in open {
            match quota::charge(&quotas, &one.change) {
                Err(Refusal(why)) => *verdict = Some(Err(Verdict::Refused(why))),
                Ok(used) if one.dry_run || used.is_empty() => *verdict = Some(Ok(())),
                Ok(used) => {
                    for (place, used) in used {
                        quotas[place]["status"]["used"] = resources::write(&used);
                    }
                }
            }
        }
        let (mut stale, mut failure) = (Vec::new(), None);
        for (quota, _) in quotas.iter().zip(&before).filter(|(quota, before)| quota != before) {
            if let Err(status) = store(call, quota).await {
                stale.push(meta::name(quota).to_owned());
                failure = Some(status);
            }
        }
        let open = verdicts.iter_mut().filter(|verdict| verdict.is_none());
        match failure {
            None => open.for_each(|verdict| *verdict = Some(Ok(()))),
            Some(status) if tries == 0 => {
                open.for_each(|verdict| *verdict = Some(Err(Verdict::Failed(status.clone()))));
            }
            Some(_) => {
                if let Err(status) = call.app.cache.catch_up().await {
                    open.for_each(|verdict| *verdict = Some(Err(Verdict::Failed(status.clone()))));
                    break;
                }
                quotas = objects::list_in(call, "", "resourcequotas", call.namespace());
                quotas.retain(|quota| stale.iter().any(|name| name == meta::name(quota)));
                continue;
            }
        }
        break;
    }
    for (one, verdict) in waiting.into_iter().zip(verdicts) {
        // Who hung up is not told.
        let _ = one.verdict.send(verdict.unwrap_or(Ok(())));
    }
}

/// Writes what a quota uses, if it is still as it was read; then the cache shows it.
async fn store(call: &Call, quota: &Value) -> Result<(), Status> {
    let name = meta::name(quota);
    let target = call.of_server("", "resourcequotas", name, "status").ok_or_else(Status::no_such_path)?;
    let written = write::change(&target, Owners::Tracked, using(quota.clone())).await?;
    match meta::resource_version(&written).parse() {
        Ok(revision) => call.app.cache.reach(revision).await,
        Err(_) => Ok(()),
    }
}

/// Gives the live quota what this one uses, if it is still the same.
fn using(quota: Value) -> impl Fn(&Value) -> Result<Value, Status> + Send + Sync {
    move |live| {
        if meta::resource_version(live) != meta::resource_version(&quota) {
            return Err(Status::modified("", "resourcequotas", meta::name(&quota)));
        }
        let mut live = live.clone();
        live["status"]["used"] = quota["status"]["used"].clone();
        Ok(live)
    }
}
