//! The shell around deciding: the live snapshot, the pods that wait, and binding.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, DeleteParams, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher;
use rand::Rng;
use serde_json::{Value, json};
use skiff_runtime::event::{Recorder, Type, reference};
use skiff_runtime::key::Key;
use skiff_runtime::queue::{Action, Queue};
use skiff_runtime::view::{Change, View, trim};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::pod::Needs;
use crate::preemption::{self, Preemption};
use crate::schedule::{FitError, schedule};
use crate::snapshot::{NodeInfo, Snapshot};

/// How long a pod that no node takes waits if nothing changes.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// How soon after a failed attempt the next may follow: doubling from the first to the last.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LAST_BACK_OFF: Duration = Duration::from_secs(10);

struct Shell {
    config: Config,
    client: kube::Client,
    pods: View<Pod>,
    recorder: Recorder,
    queue: Queue<Key>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    snapshot: Snapshot,
    /// Pods on nodes, by uid: where.
    places: HashMap<String, String>,
    /// Pods whose node is not known yet as a node.
    stray: HashMap<String, HashMap<String, Arc<Needs>>>,
    /// Pods that no node took.
    waiting: BTreeSet<Key>,
    /// Attempts that failed, and when the last did.
    failed: HashMap<Key, (u32, Instant)>,
    /// Pods that could be tried now, the most important first, then the oldest. The queue only says that a turn
    /// is due; this says whose.
    order: BTreeSet<(Reverse<i32>, Option<jiff::Timestamp>, Key)>,
    /// By uid: the node being cleared for a pod, and what it will take there.
    nominated: HashMap<String, (String, Arc<Needs>)>,
}

/// Schedules until `shutdown`.
pub async fn run(config: Config, client: kube::Client, shutdown: CancellationToken) {
    let pods: View<Pod> = View::spawn_trimmed(
        Api::all(client.clone()),
        watcher::Config::default(),
        trim::pod,
        shutdown.clone(),
    );
    let nodes: View<Node> =
        View::spawn(Api::all(client.clone()), watcher::Config::default(), shutdown.clone());
    let namespaces: View<Namespace> =
        View::spawn(Api::all(client.clone()), watcher::Config::default(), shutdown.clone());
    let recorder = Recorder::new(client.clone(), config.scheduler_name.clone(), "");
    let workers = config.bindings;
    let shell = Arc::new(Shell {
        config,
        client,
        pods: pods.clone(),
        recorder,
        queue: Queue::new("scheduler"),
        state: Mutex::default(),
    });
    tokio::select! {
        () = async { tokio::join!(pods.synced(), nodes.synced()); } => {}
        () = shutdown.cancelled() => return,
    }
    namespaces.follow(shutdown.clone(), {
        let shell = shell.clone();
        move |change| shell.namespace_changed(change)
    });
    nodes.follow(shutdown.clone(), {
        let shell = shell.clone();
        move |change| shell.node_changed(change)
    });
    pods.follow(shutdown.clone(), {
        let shell = shell.clone();
        move |change| shell.pod_changed(change)
    });
    let queue = shell.queue.clone();
    skiff_runtime::queue::run(queue, workers, move |key| turn(shell.clone(), key), shutdown).await;
}

fn ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn uid_of(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

impl Shell {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let name = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or("default-scheduler");
        let gated =
            spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
        name == self.config.scheduler_name
            && !gated
            && node_of(pod).is_none()
            && pod.metadata.deletion_timestamp.is_none()
    }

    fn namespace_changed(&self, change: &Change<Namespace>) {
        let mut state = self.state();
        if let Some(gone) = &change.old {
            state.snapshot.namespaces.remove(gone.metadata.name.as_deref().unwrap_or_default());
        }
        if let Some(new) = &change.new {
            let name = new.metadata.name.clone().unwrap_or_default();
            state.snapshot.namespaces.insert(name, new.metadata.labels.clone().unwrap_or_default());
        }
    }

    fn node_changed(&self, change: &Change<Node>) {
        let mut state = self.state();
        match &change.new {
            Some(node) => state.put_node(node.clone()),
            None => {
                if let Some(old) = &change.old {
                    state.drop_node(old.metadata.name.as_deref().unwrap_or_default());
                }
            }
        }
        if may_help(change) {
            self.wake(&mut state);
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let mut state = self.state();
        match (&change.old, &change.new) {
            (_, Some(pod)) if node_of(pod).is_some() && !ended(pod) => {
                state.place(uid_of(pod), node_of(pod).unwrap_or_default(), Arc::new(Needs::of(pod)));
                state.forget(&Key::of(&**pod), uid_of(pod));
                // Others may want to be beside it.
                let choosy =
                    |key: &Key| self.pods.by_key(key).is_some_and(|pod| !Needs::of(&pod).company.is_empty());
                if change.old.as_ref().is_none_or(|old| node_of(old).is_none())
                    && state.waiting.iter().any(choosy)
                {
                    self.wake(&mut state);
                }
            }
            (_, Some(pod)) if node_of(pod).is_some() => {
                state.unplace(uid_of(pod));
                self.wake(&mut state);
            }
            (_, Some(pod)) => {
                // What the scheduler itself wrote into the status is no reason to try again.
                let news = change.old.as_ref().is_none_or(|old| {
                    old.spec != pod.spec
                        || old.metadata.labels != pod.metadata.labels
                        || uid_of(old) != uid_of(pod)
                });
                if self.is_ours(pod) && news {
                    self.queue.add(Key::of(&**pod));
                }
            }
            (Some(old), None) => {
                state.unplace(uid_of(old));
                state.forget(&Key::of(&**old), uid_of(old));
                self.wake(&mut state);
            }
            (None, None) => {}
        }
    }

    /// Something may fit now that did not before; each pod is tried again when its back-off is over.
    fn wake(&self, state: &mut State) {
        for key in std::mem::take(&mut state.waiting) {
            match state
                .failed
                .get(&key)
                .map_or(Duration::ZERO, |(attempts, last)| back_off(*attempts, last.elapsed()))
            {
                Duration::ZERO => drop(self.queue.add(key)),
                delay => drop(self.queue.add_after(key, delay)),
            }
        }
    }

    /// Whose turn it is, now that `key` is due: the first in order.
    fn first(&self, state: &mut State, key: &Key) -> Option<Arc<Pod>> {
        if let Some(pod) = self.pods.by_key(key) {
            let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
            let since = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            state.order.insert((Reverse(priority), since, key.clone()));
        }
        while let Some((_, _, key)) = state.order.pop_first() {
            let pod = self.pods.by_key(&key).filter(|pod| self.is_ours(pod));
            // One that has a place is bound already; the view has not heard of it yet.
            if let Some(pod) = pod.filter(|pod| !state.places.contains_key(uid_of(pod))) {
                return Some(pod);
            }
        }
        None
    }
}

/// What is left of a pod's back-off.
fn back_off(attempts: u32, elapsed: Duration) -> Duration {
    let whole = FIRST_BACK_OFF.saturating_mul(1 << attempts.saturating_sub(1).min(4)).min(LAST_BACK_OFF);
    whole.saturating_sub(elapsed)
}

/// Whether a change of a node can make a pod fit; heartbeats cannot.
fn may_help(change: &Change<Node>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return change.new.is_some() };
    let room = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    old.spec != new.spec || old.metadata.labels != new.metadata.labels || room(old) != room(new)
}

impl State {
    fn put_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let mut info = NodeInfo::new(node);
        let known = self.snapshot.nodes.get(&name).map(|old| old.pods.clone()).unwrap_or_default();
        let stray = self.stray.remove(&name).unwrap_or_default();
        for (uid, needs) in known.into_iter().chain(stray) {
            info.add(&uid, needs);
        }
        self.snapshot.nodes.insert(name, Arc::new(info));
    }

    /// The pod waits no more.
    fn forget(&mut self, key: &Key, uid: &str) {
        self.waiting.remove(key);
        self.failed.remove(key);
        self.nominated.remove(uid);
    }

    /// The nodes as a pod may take them: what is being cleared for pods that matter as much is taken.
    fn world(&self, uid: &str, priority: i32) -> Snapshot {
        let mut world = self.snapshot.clone();
        for (other, (node, needs)) in &self.nominated {
            if other != uid
                && needs.priority >= priority
                && let Some(info) = world.nodes.get_mut(node)
            {
                Arc::make_mut(info).add(other, needs.clone());
            }
        }
        world
    }

    /// Decides for a pod, and takes note of what was decided.
    fn decide(
        &mut self,
        key: &Key,
        pod: &Pod,
        seed: u64,
    ) -> Result<String, Box<(FitError, Option<Preemption>)>> {
        let needs = Arc::new(Needs::of(pod));
        let world = self.world(uid_of(pod), needs.priority);
        let decided = schedule(pod, &needs, &world, seed).map_err(|mut error| {
            let preemption = preemption::plan(pod, &needs, &world, &error);
            let preemption = preemption.map_err(|text| error.preemption = Some(text)).ok();
            Box::new((error, preemption))
        });
        // Given up before the snapshot changes, so that the change copies nothing.
        drop(world);
        match &decided {
            Ok(node) => self.place(uid_of(pod), node, needs),
            Err(refused) => {
                self.waiting.insert(key.clone());
                let failed = self.failed.entry(key.clone()).or_insert((0, Instant::now()));
                *failed = (failed.0.saturating_add(1), Instant::now());
                if let Some(preemption) = &refused.1 {
                    self.nominated.insert(uid_of(pod).to_owned(), (preemption.node.clone(), needs));
                }
            }
        }
        decided
    }

    fn drop_node(&mut self, name: &str) {
        if let Some(info) = self.snapshot.nodes.remove(name) {
            self.stray.entry(name.to_owned()).or_default().extend(info.pods.clone());
        }
    }

    fn place(&mut self, uid: &str, node: &str, needs: Arc<Needs>) {
        if self.places.get(uid).is_some_and(|place| place != node) {
            self.unplace(uid);
        }
        self.places.insert(uid.to_owned(), node.to_owned());
        match self.snapshot.nodes.get_mut(node) {
            Some(info) => Arc::make_mut(info).add(uid, needs),
            None => {
                self.stray.entry(node.to_owned()).or_default().insert(uid.to_owned(), needs);
            }
        }
    }

    fn unplace(&mut self, uid: &str) {
        let Some(node) = self.places.remove(uid) else { return };
        if let Some(info) = self.snapshot.nodes.get_mut(&node) {
            Arc::make_mut(info).remove(uid);
        }
        if let Some(stray) = self.stray.get_mut(&node) {
            stray.remove(uid);
        }
    }
}

/// A turn is due: the first pod in order gets it.
async fn turn(shell: Arc<Shell>, due: Key) -> Result<Action, kube::Error> {
    let (pod, key, decided) = {
        let mut state = shell.state();
        let Some(pod) = shell.first(&mut state, &due) else { return Ok(Action::Done) };
        // While pods are in order a turn must be due, or nobody would come for them.
        if let Some((_, _, next)) = state.order.first() {
            shell.queue.add(next.clone());
        }
        let key = Key::of(&*pod);
        let decided = state.decide(&key, &pod, rand::rng().random());
        (pod, key, decided)
    };
    match carry_out(&shell, &pod, &key, decided).await {
        // The queue tries again who was due; who had the turn instead is told to it here.
        Ok(Action::After(delay)) if key != due => {
            shell.queue.add_after(key, delay);
            Ok(Action::Done)
        }
        Err(error) if key != due => {
            tracing::warn!(pod = %key, %error, "not scheduled, will try again");
            shell.queue.retry(key);
            Ok(Action::Done)
        }
        outcome => outcome,
    }
}

async fn carry_out(
    shell: &Shell,
    pod: &Pod,
    key: &Key,
    decided: Result<String, Box<(FitError, Option<Preemption>)>>,
) -> Result<Action, kube::Error> {
    let api: Api<Pod> = Api::namespaced(shell.client.clone(), &key.namespace);
    match decided {
        Ok(node) => {
            if let Err(error) = bind(&api, pod, key, &node).await {
                shell.state().unplace(uid_of(pod));
                return match error {
                    // Gone, or bound by someone else: the view will tell.
                    kube::Error::Api(status) if matches!(status.code, 404 | 409) => Ok(Action::Done),
                    other => Err(other),
                };
            }
            let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
            shell.recorder.event(&reference(pod), Type::Normal, "Scheduled", text);
            Ok(Action::Done)
        }
        Err(refused) => {
            let (error, preemption) = *refused;
            let text = error.to_string();
            shell.recorder.event(&reference(pod), Type::Warning, "FailedScheduling", text.as_str());
            let nominated = preemption.as_ref().map(|preemption| preemption.node.as_str());
            tell(&api, pod, key, &text, nominated).await?;
            if let Some(preemption) = &preemption {
                drive_out(shell, pod, preemption).await?;
            }
            Ok(Action::After(LOOK_AGAIN))
        }
    }
}

/// Deletes the victims, each told why.
async fn drive_out(shell: &Shell, pod: &Pod, preemption: &Preemption) -> Result<(), kube::Error> {
    for (uid, victim) in preemption.victims.iter().filter(|(_, victim)| !victim.leaving) {
        let api: Api<Pod> = Api::namespaced(shell.client.clone(), &victim.namespace);
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", shell.config.scheduler_name),
            "lastTransitionTime": now,
        }]}});
        let patch = kube::api::Patch::Strategic(patch);
        let condition = api.patch_status(&victim.name, &PatchParams::default(), &patch).await.map(|_| ());
        let only = Preconditions { uid: Some(uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        match condition.and(api.delete(&victim.name, &params).await.map(|_| ())) {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => continue,
            other => other?,
        }
        if let Some(object) = shell.pods.get(&victim.namespace, &victim.name) {
            let text = format!("Preempted by pod {} on node {}", uid_of(pod), preemption.node);
            shell.recorder.event(&reference(&*object), Type::Normal, "Preempted", text);
        }
    }
    Ok(())
}

async fn bind(api: &Api<Pod>, pod: &Pod, key: &Key, node: &str) -> Result<(), kube::Error> {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid_of(pod)},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    api.create_subresource::<Value, Value>("binding", &key.name, &PostParams::default(), &binding)
        .await
        .map(|_| ())
}

/// Says in the pod's status why it waits; not again if it stands there already.
async fn tell(
    api: &Api<Pod>,
    pod: &Pod,
    key: &Key,
    text: &str,
    nominated: Option<&str>,
) -> Result<(), kube::Error> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let said = conditions
        .filter(|condition| condition.type_ == "PodScheduled")
        .any(|condition| condition.status == "False" && condition.message.as_deref() == Some(text));
    if said && nominated.is_none() {
        return Ok(());
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut patch = json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text,
        "lastProbeTime": null, "lastTransitionTime": now,
    }]}});
    if let Some(node) = nominated {
        patch["status"]["nominatedNodeName"] = node.into();
    }
    let patched =
        api.patch_status(&key.name, &PatchParams::default(), &kube::api::Patch::Strategic(patch)).await;
    match patched {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
