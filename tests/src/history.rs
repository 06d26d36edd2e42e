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

/// How many pods there were after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Pods that are not on their way out.
    pub present: usize,
    /// Those of them that are ready.
    pub ready: usize,
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

    /// Ends the watch; the counts after each event, beginning when all pods of the beginning were there.
    pub fn end(mut self, at_first: usize) -> Vec<Count> {
        self.process.stop();
        let text = std::fs::read_to_string(&self.log).expect("the log can be read");
        let events = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let mut pods: BTreeMap<String, Value> = BTreeMap::new();
        let mut counts = Vec::new();
        // The last one may be torn.
        for event in events.map_while(Result::ok) {
            let pod = &event["object"];
            if event["type"] == "DELETED" {
                pods.remove(&name(pod));
            } else {
                pods.insert(name(pod), pod.clone());
            }
            let present = pods.values().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count();
            let ready = pods.values().filter(|pod| crate::is_ready(pod)).count();
            counts.push(Count { present, ready });
        }
        counts.into_iter().skip_while(|count| count.ready < at_first).collect()
    }
}
