//! What happened to pods, event by event.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{Cluster, Process, name};

/// A watch on pods that notes every event.
pub struct History {
    process: Process,
    log: PathBuf,
}

/// The pods after an event.
#[derive(Clone, Debug, Default)]
pub struct Pods(BTreeMap<String, Value>);

impl Pods {
    /// How many are not on their way out.
    pub fn present(&self) -> usize {
        self.0.values().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count()
    }

    /// How many of those are ready.
    pub fn ready(&self) -> usize {
        self.0.values().filter(|pod| crate::is_ready(pod)).count()
    }

    /// How many templates they come from, those on their way out too.
    pub fn templates(&self) -> usize {
        let mut hashes: Vec<&Value> =
            self.0.values().map(|pod| &pod["metadata"]["labels"]["pod-template-hash"]).collect();
        hashes.sort_by_key(|hash| hash.to_string());
        hashes.dedup();
        hashes.len()
    }
}

impl History {
    /// Begins to watch the pods with these labels, by an unmodified kubectl.
    pub fn start(cluster: &Cluster, selector: &str) -> Self {
        let log = cluster.dir().join(format!("history-{selector}"));
        let mut command = Command::new("kubectl");
        command
            .args(["get", "pods", "-l", selector, "--watch", "--output-watch-events", "-o", "json"])
            .env("KUBECONFIG", cluster.dir().join("kubeconfig"));
        let history = Self { process: Process::start(command, &log), log };
        history.process.wait_for_line("{", 20);
        history
    }

    /// Ends the watch; the pods after each event, from when so many were ready.
    pub fn end(mut self, at_first: usize) -> Vec<Pods> {
        self.process.stop();
        let text = std::fs::read_to_string(&self.log).expect("the log can be read");
        let events = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let mut pods = Pods::default();
        let mut all = Vec::new();
        // The last one may be torn.
        for event in events.map_while(Result::ok) {
            let pod = &event["object"];
            if event["type"] == "DELETED" {
                pods.0.remove(&name(pod));
            } else {
                pods.0.insert(name(pod), pod.clone());
            }
            all.push(pods.clone());
        }
        all.into_iter().skip_while(|pods| pods.ready() < at_first).collect()
    }
}
