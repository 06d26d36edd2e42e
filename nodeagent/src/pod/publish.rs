//! Telling the API a pod's status.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::Worker;
use crate::{
    cri::Observed,
    status::{Facts, status},
    step::Plan,
};

/// As much of a container's last words as upstream keeps.
const MAX_WORDS: usize = 4096;

/// Conditions that the agent computes; all others belong to others.
const OURS: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

/// Our last status, with the conditions of others as the API has them now.
pub fn overlay(ours: &PodStatus, live: Option<&PodStatus>) -> PodStatus {
    let mut merged = ours.clone();
    if let Some(live) = live {
        let own = ours.conditions.iter().flatten().filter(|c| OURS.contains(&c.type_.as_str()));
        let others = live.conditions.iter().flatten().filter(|c| !OURS.contains(&c.type_.as_str()));
        merged.conditions = Some(own.chain(others).cloned().collect());
        merged.start_time = live.start_time.clone().or(merged.start_time);
    }
    merged
}

/// Whether someone else has changed one of our conditions: the controllers call the pods of a
/// silent node not ready, and only we can say that they are again.
pub fn contradicts(ours: &PodStatus, live: Option<&PodStatus>) -> bool {
    let said = ours.conditions.iter().flatten().filter(|c| OURS.contains(&c.type_.as_str()));
    let mut live = live.into_iter().flat_map(|status| status.conditions.iter().flatten());
    live.any(|shown| said.clone().any(|own| own.type_ == shown.type_ && own.status != shown.status))
}

/// A status on its way to the API. It borrows nothing of the pod's task, which may go on meanwhile.
pub(super) struct Report {
    fresh: PodStatus,
    api: Api<Pod>,
    name: String,
    uid: String,
}

impl Report {
    /// Writes it: the status as the API has it now, or nothing when it has to be tried again.
    pub(super) async fn send(self) -> Option<PodStatus> {
        // The UID makes sure that a namesake is never written.
        let body = json!({ "metadata": { "uid": self.uid }, "status": patch_of(&self.fresh) });
        match self.api.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(body)).await {
            Ok(_) => Some(self.fresh),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {
                tracing::debug!(pod = %self.name, message = %status.message, "status not taken");
                // Gone or replaced: the watch will tell. A status that is refused for good must not be repeated at once.
                Some(self.fresh)
            }
            Err(error) => {
                tracing::warn!(pod = %self.name, %error, "status not written");
                None
            }
        }
    }
}

impl Worker {
    /// What is to be told: the status, if it is another than the last.
    pub(super) fn report(&self, observed: &Observed, plan: &Plan, now: Timestamp) -> Option<Report> {
        if self.gone {
            return None;
        }
        let files: std::collections::HashMap<&str, &str> = observed
            .containers
            .iter()
            .filter_map(|c| Some((c.id.as_str(), c.termination_file.as_deref()?)))
            .collect();
        let words = |id: &str| {
            let bytes = std::fs::read(files.get(id)?).ok()?;
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_WORDS)]).into_owned();
            (!text.is_empty()).then_some(text)
        };
        let facts = Facts { node_ip: self.shared.config.node_ip, last_ip: self.last_ip, last_words: &words };
        let fresh = status(&self.pod, observed, plan, &self.memory, &facts, now);
        if !self.contradicted && self.published.as_ref() == Some(&fresh) {
            return None;
        }
        let name = self.pod.metadata.name.clone().unwrap_or_default();
        let namespace = self.pod.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &namespace);
        Some(Report { fresh, api, name, uid: self.uid.clone() })
    }
}

/// A merge patch takes away only what it names.
fn patch_of(status: &PodStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        for key in ["reason", "message", "podIP", "podIPs"] {
            map.entry(key).or_insert(Value::Null);
        }
    }
    value
}
