//! Under load: API Priority and Fairness. Every request belongs to a flow of a priority level, and each level
//! has so many seats, so that a client in a loop can neither starve the nodes nor its neighbours.
//!
//! Deciding is pure: `schema` tells the flow, `level` who may go. This file holds the levels behind one lock
//! and lets requests wait; `follow` keeps it what the objects of the cluster say.

mod defaults;
mod follow;
mod level;
mod schema;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue, Response};
use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;
use tokio::sync::oneshot;

use crate::request::RequestInfo;
use crate::security::User;
use level::{Arrival, Level, TIME_OUT, Terms};
use schema::Schema;

pub use defaults::objects as defaults;
pub use follow::follow;

/// Which schema and level a request had, as answers name them.
const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// The level of what no schema names.
const CATCH_ALL: &str = "catch-all";
/// After how long who was refused may try again, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Whether requests are held up at all (`--enable-priority-and-fairness`).
    pub fair: bool,
    /// Seats in all (`--max-requests-inflight` and `--max-mutating-requests-inflight` together).
    pub seats: usize,
    /// How long a request may take (`--request-timeout`). It waits for a seat for at most a quarter of this.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { fair: true, seats: 600, request_timeout: Duration::from_secs(60) }
    }
}

/// Schemas and levels, as the cluster's objects have them.
#[derive(Debug, Default)]
struct Terrain {
    /// In the order in which they are tried.
    schemas: Vec<Schema>,
    /// The uids of the levels.
    uids: BTreeMap<String, String>,
}

/// What a request waits with: it is told when it may go.
pub type Ticket = oneshot::Sender<()>;

/// All levels at work.
pub struct Flow {
    limits: Limits,
    terrain: ArcSwap<Terrain>,
    levels: Mutex<BTreeMap<String, Level<Ticket>>>,
}

/// Seats that a request has until it is dropped.
pub struct Seats {
    flow: Arc<Flow>,
    level: String,
    width: usize,
}

/// Where a request was sorted.
#[derive(Debug, Clone, Default)]
pub struct Class {
    level: String,
    level_uid: String,
    schema_uid: String,
    flow: u64,
}

impl Class {
    /// Names schema and level in an answer.
    pub fn mark<B>(&self, response: &mut Response<B>) {
        for (name, uid) in [(SCHEMA_UID, &self.schema_uid), (LEVEL_UID, &self.level_uid)] {
            if let Ok(uid) = HeaderValue::from_str(uid) {
                response.headers_mut().insert(name, uid);
            }
        }
    }
}

impl Flow {
    /// With the schemas and levels of a new cluster.
    pub fn new(limits: Limits) -> Arc<Self> {
        let flow = Arc::new(Self { limits, terrain: ArcSwap::default(), levels: Mutex::default() });
        flow.change(&defaults::objects());
        flow
    }

    /// The bounds it keeps.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    fn levels(&self) -> MutexGuard<'_, BTreeMap<String, Level<Ticket>>> {
        self.levels.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes over FlowSchemas and PriorityLevelConfigurations. Schemas of a level that is not there are left out.
    fn change(&self, objects: &[Value]) {
        let levels: BTreeMap<&str, &Value> = objects
            .iter()
            .filter(|object| object["kind"] == "PriorityLevelConfiguration")
            .map(|object| (meta::name(object), object))
            .collect();
        let mut schemas: Vec<Schema> = objects
            .iter()
            .filter(|object| object["kind"] == "FlowSchema")
            .map(Schema::read)
            .filter(|schema| levels.contains_key(schema.level.as_str()))
            .collect();
        schemas.sort_by(|a, b| a.order().cmp(&b.order()));
        let all: i64 = levels.values().map(|object| level::shares(&object["spec"])).sum();
        let mut at_work = self.levels();
        for (name, object) in &levels {
            let terms = Terms::read(&object["spec"], self.limits.seats, all);
            match at_work.get_mut(*name) {
                Some(level) => level.change(terms),
                None => drop(at_work.insert((*name).to_owned(), Level::new(terms))),
            }
        }
        // What is on its way through a level that went comes to its end there.
        at_work
            .retain(|name, level| levels.contains_key(name.as_str()) || level.executing + level.waiting > 0);
        serve(&mut at_work);
        drop(at_work);
        let uids =
            levels.iter().map(|(name, level)| ((*name).to_owned(), meta::uid(level).to_owned())).collect();
        self.terrain.store(Arc::new(Terrain { schemas, uids }));
    }

    /// Where a request belongs.
    pub fn class(&self, user: &User, info: &RequestInfo) -> Class {
        let terrain = self.terrain.load();
        let Some(schema) = terrain.schemas.iter().find(|schema| schema.matches(user, info)) else {
            return Class { level: CATCH_ALL.into(), ..Class::default() };
        };
        Class {
            level: schema.level.clone(),
            level_uid: terrain.uids.get(&schema.level).cloned().unwrap_or_default(),
            schema_uid: schema.uid.clone(),
            flow: schema.flow(user, info),
        }
    }

    /// Waits until a request may be served; it has `width` seats, or as many as its level gives one, until these
    /// are dropped.
    ///
    /// # Errors
    /// 429: its queue is full, or its turn did not come in time.
    pub async fn admit(self: &Arc<Self>, class: &Class, width: usize) -> Result<Seats, Status> {
        let (sender, mut turn) = oneshot::channel();
        let seats = |width| Seats { flow: self.clone(), level: class.level.clone(), width };
        let (ticket, width) = {
            let mut levels = self.levels();
            let lent = lent(&levels, &class.level);
            let Some(level) = levels.get_mut(&class.level) else { return Ok(seats(0)) };
            let width = width.clamp(1, level.terms.widest());
            match level.arrive(class.flow, width, lent, sender) {
                Arrival::Runs => return Ok(seats(width)),
                Arrival::Refused(_) => return Err(refused()),
                Arrival::Waits(ticket) => (ticket, width),
            }
        };
        let mut place = Place { flow: self, level: &class.level, ticket, width, waits: true };
        let patience = self.limits.request_timeout / 4;
        if tokio::time::timeout(patience, &mut turn).await.is_ok() || !place.leave() {
            place.waits = false;
            return Ok(seats(width));
        }
        if let Some(level) = self.levels().get_mut(&class.level) {
            level.refuse(TIME_OUT);
        }
        Err(refused())
    }

    fn finish(&self, level: &str, width: usize) {
        let mut levels = self.levels();
        if let Some(level) = levels.get_mut(level) {
            level.finish(width);
        }
        serve(&mut levels);
    }

    /// What each level is doing, for the metrics.
    pub fn look(&self, mut at: impl FnMut(&str, &Level<Ticket>)) {
        self.levels().iter().for_each(|(name, level)| at(name, level));
    }
}

/// What the other levels lend to this one now.
fn lent(levels: &BTreeMap<String, Level<Ticket>>, name: &str) -> usize {
    let others = || levels.iter().filter(|(other, _)| *other != name).map(|(_, level)| level);
    let lent: usize = others().map(Level::lends).sum();
    lent.saturating_sub(others().map(Level::borrowed).sum())
}

/// Lets go whoever may.
fn serve(levels: &mut BTreeMap<String, Level<Ticket>>) {
    let waiting: Vec<String> =
        levels.iter().filter(|(_, level)| level.waiting > 0).map(|(name, _)| name.clone()).collect();
    for name in waiting {
        loop {
            let lent = lent(levels, &name);
            let Some(ticket) = levels.get_mut(&name).and_then(|level| level.next(lent)) else { break };
            // One that has given up takes its seats back with itself.
            let _ = ticket.send(());
        }
    }
}

/// A place in a queue; who drops it leaves the queue, or gives back the seats that came too late.
struct Place<'a> {
    flow: &'a Flow,
    level: &'a str,
    ticket: u64,
    width: usize,
    waits: bool,
}

impl Place<'_> {
    /// Whether it was still in the queue.
    fn leave(&mut self) -> bool {
        let left = self.flow.levels().get_mut(self.level).is_some_and(|level| level.leave(self.ticket));
        self.waits &= !left;
        left
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.waits && !self.leave() {
            self.flow.finish(self.level, self.width);
        }
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        if self.width > 0 {
            self.flow.finish(&self.level, self.width);
        }
    }
}

fn refused() -> Status {
    let mut status = Status::new(429, "TooManyRequests", "too many requests, please try again later");
    status.details.get_or_insert_default().retry_after_s = RETRY_AFTER_S;
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(seats: usize) -> Arc<Flow> {
        Flow::new(Limits { seats, request_timeout: Duration::from_secs(4), ..Limits::default() })
    }

    fn pods() -> RequestInfo {
        let query = crate::request::Query::parse("");
        crate::request::parse(&http::Method::GET, "/api/v1/namespaces/default/pods/a", &query)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_when_seats_come_free_and_is_told_when_they_do_not() {
        let flow = flow(1);
        let class = flow.class(&User::new("jane", &["system:authenticated"]), &pods());
        assert_eq!(class.level, "global-default");
        let mut held = Vec::new();
        while let Ok(Ok(seats)) = tokio::time::timeout(Duration::ZERO, flow.admit(&class, 1)).await {
            held.push(seats);
        }
        // Whoever stopped waiting left the queue.
        flow.look(|name, level| assert_eq!(level.waiting, 0, "{name}"));
        let status = flow.admit(&class, 1).await.err().unwrap();
        assert_eq!((status.code, status.reason), (429, "TooManyRequests"));
        assert_eq!(status.details.unwrap().retry_after_s, RETRY_AFTER_S);
        let waiting = tokio::spawn({
            let (flow, class) = (flow.clone(), class.clone());
            async move { flow.admit(&class, 1).await.is_ok() }
        });
        tokio::task::yield_now().await;
        held.pop();
        assert!(waiting.await.unwrap());
        // The exempt are never held up.
        let admin = flow.class(&User::new("admin", &["system:masters"]), &pods());
        let _seats: Vec<Seats> = {
            let mut all = Vec::new();
            for _ in 0..100 {
                all.push(flow.admit(&admin, 1).await.unwrap());
            }
            all
        };
        held.clear();
        drop(_seats);
        flow.look(|name, level| assert_eq!(level.executing, 0, "{name}"));
    }

    #[tokio::test]
    async fn a_schema_without_its_level_is_passed_over() {
        let flow = flow(600);
        let mut objects = defaults::objects();
        objects.push(serde_json::json!({"kind": "FlowSchema", "metadata": {"name": "lost", "uid": "u"}, "spec": {
            "priorityLevelConfiguration": {"name": "nowhere"}, "matchingPrecedence": 1,
            "rules": [{"subjects": [{"kind": "Group", "group": {"name": "*"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}}));
        flow.change(&objects);
        let jane = User::new("jane", &["system:authenticated"]);
        assert_eq!(flow.class(&jane, &pods()).level, "global-default");
        objects.push(serde_json::json!({"kind": "PriorityLevelConfiguration", "metadata": {"name": "nowhere", "uid": "l"},
            "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 30, "limitResponse": {"type": "Reject"}}}}));
        flow.change(&objects);
        let class = flow.class(&jane, &pods());
        assert_eq!(
            (class.level.as_str(), class.level_uid.as_str(), class.schema_uid.as_str()),
            ("nowhere", "l", "u")
        );
    }
}
