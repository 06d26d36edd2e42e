//! The shell around deciding: the live snapshot, the pods that wait, and binding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, PatchParams, PostParams};
use kube::runtime::watcher;
use rand::Rng;
use serde_json::{Value, json};
use skiff_runtime::event::{Recorder, Type, reference};
use skiff_runtime::key::Key;
use skiff_runtime::queue::{Action, Queue};
use skiff_runtime::view::{Change, View};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::pod::Needs;
use crate::schedule::schedule;
use crate::snapshot::{NodeInfo, Snapshot};

/// How long a pod that no node takes waits if nothing changes.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

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
    waiting: HashMap<Key, ()>,
}

/// Schedules until `shutdown`.
pub async fn run(config: Config, client: kube::Client, shutdown: CancellationToken) {
    let pods: View<Pod> = View::spawn(Api::all(client.clone()), watcher::Config::default(), shutdown.clone());
    let nodes: View<Node> =
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
        self.wake(&mut state);
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let mut state = self.state();
        match (&change.old, &change.new) {
            (_, Some(pod)) if node_of(pod).is_some() && !ended(pod) => {
                state.place(uid_of(pod), node_of(pod).unwrap_or_default(), Arc::new(Needs::of(pod)));
            }
            (_, Some(pod)) if node_of(pod).is_some() => {
                state.unplace(uid_of(pod));
                self.wake(&mut state);
            }
            (_, Some(pod)) => {
                if self.is_ours(pod) {
                    self.queue.add(Key::of(&**pod));
                }
            }
            (Some(old), None) => {
                state.unplace(uid_of(old));
                state.waiting.remove(&Key::of(&**old));
                self.wake(&mut state);
            }
            (None, None) => {}
        }
    }

    /// Something may fit now that did not before.
    fn wake(&self, state: &mut State) {
        for (key, ()) in state.waiting.drain() {
            self.queue.add(key);
        }
    }
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

/// One pod's turn: decide, assume, bind.
async fn turn(shell: Arc<Shell>, key: Key) -> Result<Action, kube::Error> {
    let Some(pod) = shell.pods.by_key(&key).filter(|pod| shell.is_ours(pod)) else {
        return Ok(Action::Done);
    };
    let needs = Arc::new(Needs::of(&pod));
    let seed = rand::rng().random();
    let decided = {
        let mut state = shell.state();
        if state.places.contains_key(uid_of(&pod)) {
            // Bound already; the view has not heard of it yet.
            return Ok(Action::Done);
        }
        let decided = schedule(&pod, &needs, &state.snapshot, seed);
        match &decided {
            Ok(node) => state.place(uid_of(&pod), node, needs),
            Err(_) => drop(state.waiting.insert(key.clone(), ())),
        }
        decided
    };
    let api: Api<Pod> = Api::namespaced(shell.client.clone(), &key.namespace);
    match decided {
        Ok(node) => {
            if let Err(error) = bind(&api, &pod, &key, &node).await {
                shell.state().unplace(uid_of(&pod));
                return match error {
                    // Gone, or bound by someone else: the view will tell.
                    kube::Error::Api(status) if matches!(status.code, 404 | 409) => Ok(Action::Done),
                    other => Err(other),
                };
            }
            let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
            shell.recorder.event(&reference(&*pod), Type::Normal, "Scheduled", text);
            Ok(Action::Done)
        }
        Err(error) => {
            let text = error.to_string();
            shell.recorder.event(&reference(&*pod), Type::Warning, "FailedScheduling", text.as_str());
            tell(&api, &pod, &key, &text).await?;
            Ok(Action::After(LOOK_AGAIN))
        }
    }
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
async fn tell(api: &Api<Pod>, pod: &Pod, key: &Key, text: &str) -> Result<(), kube::Error> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let said = conditions
        .filter(|condition| condition.type_ == "PodScheduled")
        .any(|condition| condition.status == "False" && condition.message.as_deref() == Some(text));
    if said {
        return Ok(());
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text,
        "lastProbeTime": null, "lastTransitionTime": now,
    }]}});
    let patched =
        api.patch_status(&key.name, &PatchParams::default(), &kube::api::Patch::Strategic(patch)).await;
    match patched {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
