//! One task a pod: it looks, asks [`crate::step`], reports, and does.

mod act;
mod probing;
mod publish;
mod start;
mod waits;
mod words;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, PodStatus, Service};
use skiff_runtime::{
    event::{Recorder, Type},
    view::View,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    cri::{Observed, Runtime},
    engine::Engine,
    field::Allocatable,
    probe::Probes,
    references::References,
    serving,
    step::{Memory, Plan, Stage, step},
    volume::Tokens,
};

/// A pass is made this often though nothing happened: an event may have been lost.
const RELIST: Duration = Duration::from_secs(60);
/// The pause after the engine failed to answer.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);

/// What all pods' tasks share.
pub struct Shared {
    /// Settings.
    pub config: Config,
    /// The API.
    pub client: kube::Client,
    /// The engine.
    pub runtime: Arc<dyn Runtime>,
    /// Whether it answers, and what it has.
    pub engine: watch::Receiver<Engine>,
    /// ConfigMaps and Secrets.
    pub references: References,
    /// Services.
    pub services: View<Service>,
    /// The node.
    pub node: View<Node>,
    /// Events.
    pub recorder: Recorder,
    /// The end of the agent, which is not the end of its pods.
    pub shutdown: CancellationToken,
}

impl Shared {
    fn allocatable(&self) -> Allocatable {
        self.engine.borrow().allocatable
    }
}

/// How others reach a pod's task.
#[derive(Clone)]
pub struct Handle {
    /// The newest object; `None` once it is gone from the API.
    pub pod: watch::Sender<Option<Arc<Pod>>>,
    /// Something happened to its containers.
    pub wake: Arc<Notify>,
    /// Something that it refers to has changed.
    pub refresh: Arc<AtomicBool>,
}

/// Runs one pod until nothing is left of it.
pub struct Worker {
    shared: Arc<Shared>,
    uid: String,
    /// The last object seen, with our own last status in it.
    pod: Arc<Pod>,
    gone: bool,
    incoming: watch::Receiver<Option<Arc<Pod>>>,
    wake: Arc<Notify>,
    refresh: Arc<AtomicBool>,
    memory: Memory,
    probes: Probes,
    tokens: Tokens,
    token_due: Option<Timestamp>,
    published: Option<PodStatus>,
    /// Someone else has changed what we said of the pod.
    contradicted: bool,
    /// The resource version of the object last taken in.
    seen: Option<String>,
    last_ip: Option<IpAddr>,
    pull_tries: std::collections::BTreeMap<String, u32>,
    /// Stops that came to an end, well or not.
    stopped: Arc<Mutex<Vec<String>>>,
    adopted: bool,
    /// Containers whose present wait after an end was told.
    waits_told: BTreeSet<String>,
    /// Containers whose log was read for their last words.
    words_gathered: BTreeSet<String>,
}

/// Starts the task; `on_end` is called when nothing is left of the pod.
pub fn spawn(shared: Arc<Shared>, pod: Arc<Pod>, on_end: impl FnOnce() + Send + 'static) -> Handle {
    let (sender, incoming) = watch::channel(Some(pod.clone()));
    let wake = Arc::new(Notify::new());
    let refresh = Arc::new(AtomicBool::new(false));
    let handle = Handle { pod: sender, wake: wake.clone(), refresh: refresh.clone() };
    let about = pod.clone();
    let recorder = shared.recorder.clone();
    let report = Arc::new(move |container: &str, kind: crate::probe::Kind, found: String| {
        recorder.event(
            &reference_to(&about, container),
            Type::Warning,
            "Unhealthy",
            format!("{} probe failed: {found}", kind.as_str()),
        );
    });
    let worker = Worker {
        probes: Probes::new(shared.runtime.clone(), wake.clone(), report),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        shared,
        pod,
        gone: false,
        incoming,
        wake,
        refresh,
        memory: Memory::default(),
        tokens: Tokens::default(),
        token_due: None,
        published: None,
        contradicted: false,
        seen: None,
        last_ip: None,
        pull_tries: std::collections::BTreeMap::new(),
        stopped: Arc::default(),
        adopted: false,
        waits_told: BTreeSet::new(),
        words_gathered: BTreeSet::new(),
    };
    let shutdown = worker.shared.shutdown.clone();
    tokio::spawn(async move {
        // A task that outlived its agent would act on what it knew then, against the next agent.
        tokio::select! {
            () = worker.run() => on_end(),
            () = shutdown.cancelled() => {}
        }
    });
    handle
}

/// What became of a report.
#[derive(PartialEq)]
enum Told {
    /// There was none to make.
    Nothing,
    /// The API has it.
    Taken(Box<PodStatus>),
    /// It has to be made again.
    Lost,
}

async fn send(report: Option<publish::Report>) -> Told {
    match report {
        None => Told::Nothing,
        Some(report) => report.send().await.map_or(Told::Lost, |status| Told::Taken(Box::new(status))),
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    skiff_runtime::event::reference(pod)
}

/// A reference to one container of a pod.
fn reference_to(pod: &Pod, container: &str) -> ObjectReference {
    let init = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten()).any(|c| c.name == container);
    let list = if init { "initContainers" } else { "containers" };
    let field_path = Some(format!("spec.{list}{{{container}}}"));
    ObjectReference { field_path, ..reference(pod) }
}

impl Worker {
    async fn run(mut self) {
        loop {
            self.take_newest();
            let observed = match self.shared.runtime.observe(&self.uid).await {
                Ok(observed) => observed,
                Err(error) => {
                    tracing::debug!(pod = %self.uid, %error, "engine does not tell");
                    self.wait(Some(ENGINE_PAUSE)).await;
                    continue;
                }
            };
            let now = Timestamp::now();
            self.remember(&observed, now);
            let plan = step(&self.pod, &observed, &self.memory, now);
            self.memory.stage = self.memory.stage.max(plan.stage);
            if plan.verdict.is_some() {
                self.memory.verdict.clone_from(&plan.verdict);
            }
            self.tell_waits(&plan);
            self.gather_words(&observed).await;
            let report = self.report(&observed, &plan, now);
            let (told, done) = if plan.only_begins() {
                tokio::join!(send(report), self.act_all(&plan, &observed, now))
            } else {
                (send(report).await, self.act_all(&plan, &observed, now).await)
            };
            if let Told::Taken(status) = &told {
                self.contradicted = false;
                self.published = Some((**status).clone());
            }
            match done {
                act::Done::Ended => return,
                act::Done::Again if told != Told::Lost => {}
                act::Done::Wait if told != Told::Lost => self.wait(self.pause(&plan, now)).await,
                _ => self.wait(Some(ENGINE_PAUSE)).await,
            }
        }
    }

    /// Does all that was planned; what comes of it together.
    async fn act_all(&mut self, plan: &Plan, observed: &Observed, now: Timestamp) -> act::Done {
        self.watch_containers(observed, plan);
        self.keep_volumes(observed, now).await;
        let (mut acted, mut failed) = (false, false);
        for action in &plan.actions {
            match self.act(action, observed).await {
                act::Done::Again => acted = true,
                act::Done::Wait => {}
                act::Done::Failed => failed = true,
                act::Done::Ended => return act::Done::Ended,
            }
        }
        match (failed, acted) {
            (true, _) => act::Done::Failed,
            (false, true) => act::Done::Again,
            (false, false) => act::Done::Wait,
        }
    }

    /// Takes the newest object, and puts our own last word into it: the API's echo may lag behind.
    fn take_newest(&mut self) {
        match self.incoming.borrow_and_update().clone() {
            Some(newest) => {
                let mut pod = (*newest).clone();
                if let Some(published) = &self.published {
                    let told = self.seen != newest.metadata.resource_version;
                    self.contradicted |= told && publish::contradicts(published, newest.status.as_ref());
                    pod.status = Some(publish::overlay(published, newest.status.as_ref()));
                }
                self.seen.clone_from(&pod.metadata.resource_version);
                // Files that show the pod to itself may say something else now.
                if pod.metadata.labels != self.pod.metadata.labels
                    || pod.metadata.annotations != self.pod.metadata.annotations
                {
                    self.refresh.store(true, Ordering::Relaxed);
                }
                self.pod = Arc::new(pod);
            }
            None if !self.gone => {
                // Deleted without us: its containers end all the same.
                self.gone = true;
                let mut pod = (*self.pod).clone();
                let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now());
                pod.metadata.deletion_timestamp.get_or_insert(now);
                self.pod = Arc::new(pod);
            }
            None => {}
        }
    }

    fn remember(&mut self, observed: &Observed, now: Timestamp) {
        self.last_ip = observed.live_sandbox().and_then(|s| s.ip).or(self.last_ip);
        let ended = std::mem::take(&mut *self.stopped.lock().unwrap_or_else(PoisonError::into_inner));
        for id in ended {
            self.memory.stopping.remove(&id);
        }
        if !self.adopted {
            self.adopted = true;
            self.adopt(observed);
        }
        self.memory.opening = match self.memory.stage {
            Stage::Syncing => serving::opening(|| self.services(), &self.pod, observed, now),
            _ => BTreeSet::new(),
        };
        self.memory.probes = self.probes.results().into_iter().collect();
        self.turn_failures_into_waits(now);
    }

    /// The Services of the pod's namespace.
    fn services(&self) -> Vec<Arc<Service>> {
        self.shared.services.list_in(self.pod.metadata.namespace.as_deref().unwrap_or_default())
    }

    /// When to look again at the latest.
    fn pause(&self, plan: &Plan, now: Timestamp) -> Option<Duration> {
        if self.memory.stage == Stage::Terminated {
            return None;
        }
        let look = (!self.memory.opening.is_empty()).then(|| now + serving::LOOK);
        let next = [plan.wake, self.token_due, look].into_iter().flatten().min();
        let until = next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        // A little later than the instant itself, so that it has passed by then.
        Some(until.map_or(RELIST, |d| (d + Duration::from_millis(5)).min(RELIST)))
    }

    async fn wait(&mut self, at_most: Option<Duration>) {
        let sleep = async {
            match at_most {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.incoming.changed() => {
                // The node's task is gone: so is the agent.
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            () = self.wake.notified() => {}
            () = sleep => {}
        }
    }

    fn refresh_wanted(&self) -> bool {
        self.refresh.swap(false, Ordering::Relaxed)
    }
}
