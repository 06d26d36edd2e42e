//! Making claims and Services agree: at start, and every few minutes, as upstream's repair loops do.
//!
//! Claims can be missing (Services written before there were claims, or by others), stale (a server that
//! ended between a claim and its Service), or of another Service. Any number of servers may repair at
//! once: each repair is one write with a precondition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use skiff_storage::{Error, Expect, Op, Range, Revision, Storage};

use super::claim::{Claim, Holder, PREFIXES, Record, held};
use crate::app::App;

/// How often.
const EVERY: Duration = Duration::from_secs(180);
/// A claim without its Service is stale after this: far longer than a write can take.
const STALE: SignedDuration = SignedDuration::from_secs(60);
/// Writes at once.
const AT_ONCE: usize = 64;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The Service lacks the claim; the key must be as said.
    Make(Claim, Holder, Expect),
    /// No Service has it.
    Remove(Claim, Revision),
}

/// What is to be done, and the claims that two Services hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    steps: Vec<Step>,
    doubles: Vec<(Claim, Vec<Holder>)>,
}

/// Compares Services with claims.
fn plan(services: &BTreeMap<Holder, BTreeSet<Claim>>, records: &[Record], now: Timestamp) -> Plan {
    let mut holders: BTreeMap<Claim, Vec<&Holder>> = BTreeMap::new();
    for (holder, claims) in services {
        for claim in claims {
            holders.entry(*claim).or_default().push(holder);
        }
    }
    let records: BTreeMap<Claim, &Record> = records.iter().map(|record| (record.claim, record)).collect();
    let mut plan = Plan::default();
    for (claim, holders) in &holders {
        if holders.len() > 1 {
            plan.doubles.push((*claim, holders.iter().copied().cloned().collect()));
        }
        let expect = match records.get(claim) {
            None => Expect::Absent,
            Some(record) if holders.contains(&&record.holder) => continue,
            Some(record) => Expect::Revision(record.revision),
        };
        plan.steps.push(Step::Make(*claim, holders[0].clone(), expect));
    }
    for (claim, record) in records {
        if !holders.contains_key(&claim) && now.duration_since(record.since) > STALE {
            plan.steps.push(Step::Remove(claim, record.revision));
        }
    }
    plan
}

/// Repairs once.
pub async fn once(app: &App) -> Result<(), Error> {
    // Claims first: one that is taken after this is not seen, and its Service may be.
    let mut records = Vec::new();
    for prefix in PREFIXES {
        let page = app.storage.list(prefix, Range::default()).await?;
        records.extend(page.entries.iter().filter_map(Record::read));
    }
    let Some(cache) = app.cache.find("", "services") else { return Ok(()) };
    let prefix = format!("/{}/", cache.kind().prefix);
    let page = app.storage.list(&prefix, Range::default()).await?;
    let services = page.entries.iter().filter_map(|entry| {
        let service: Value = serde_json::from_slice(&entry.value).ok()?;
        let (namespace, name) = entry.key[prefix.len()..].split_once('/')?;
        Some((Holder { namespace: namespace.into(), name: name.into() }, held(&service)))
    });
    let plan = plan(&services.collect(), &records, Timestamp::now());
    for (claim, holders) in &plan.doubles {
        tracing::error!(?claim, ?holders, "several Services hold the same; recreate all but one of them");
    }
    let done = futures::stream::iter(plan.steps).map(|step| act(app.storage.clone(), step));
    done.buffer_unordered(AT_ONCE).for_each(|()| std::future::ready(())).await;
    Ok(())
}

async fn act(storage: Arc<dyn Storage>, step: Step) {
    let done = match &step {
        Step::Make(claim, holder, expect) => claim.write(&*storage, holder, *expect).await,
        Step::Remove(claim, revision) => {
            storage.write(&claim.key(), Expect::Revision(*revision), Op::Delete).await
        }
    };
    match done {
        Ok(_) => tracing::info!(?step, "repaired"),
        // Another was faster, or things have changed: the next repair looks again.
        Err(Error::Mismatch(_)) => {}
        Err(error) => tracing::warn!(%error, ?step, "cannot repair"),
    }
}

/// Repairs every few minutes until the server stops.
pub fn keep(app: &Arc<App>) {
    let (app, shutdown) = (app.clone(), app.shutdown.clone());
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = once(&app).await {
                tracing::warn!(%error, "cannot compare Services with their addresses and ports");
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(name: &str) -> Holder {
        Holder { namespace: "default".into(), name: name.into() }
    }

    #[test]
    fn each_disagreement_has_its_repair_and_agreement_none() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let old = now - SignedDuration::from_secs(61);
        let port = Claim::Port;
        let record = |number, name: &str, since| Record {
            claim: port(number),
            holder: holder(name),
            since,
            revision: u64::from(number),
        };
        let services = [("a", vec![1, 2, 3]), ("b", vec![4, 5]), ("c", vec![5])];
        let services = services
            .into_iter()
            .map(|(name, ports)| (holder(name), ports.into_iter().map(port).collect()))
            .collect();
        let records = [
            record(1, "a", old),
            // Of a Service that has gone, or has given it up.
            record(3, "gone", now),
            record(4, "a", old),
            record(5, "c", old),
            // On its way, and stale.
            record(8, "new", now),
            record(9, "gone", old),
        ];
        let found = plan(&services, &records, now);
        assert_eq!(
            found,
            Plan {
                steps: vec![
                    Step::Make(port(2), holder("a"), Expect::Absent),
                    Step::Make(port(3), holder("a"), Expect::Revision(3)),
                    Step::Make(port(4), holder("b"), Expect::Revision(4)),
                    Step::Remove(port(9), 9),
                ],
                doubles: vec![(port(5), vec![holder("b"), holder("c")])],
            }
        );
    }
}
