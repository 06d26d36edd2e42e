//! The shell around deciding: the live snapshot, the pods that wait, and binding.

mod bind;
mod changes;
mod queue;
mod state;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::Api;
use kube::runtime::watcher;
use rand::Rng;
use skiff_runtime::event::Recorder;
use skiff_runtime::key::Key;
use skiff_runtime::queue::{Action, Queue};
use skiff_runtime::view::{View, trim};
use tokio_util::sync::CancellationToken;

use crate::Config;
use bind::carry_out;
use state::State;

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
