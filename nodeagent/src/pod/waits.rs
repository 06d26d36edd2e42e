//! Containers that wait to be tried again: what is shown and told of it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStatus;
use skiff_runtime::event::Type;

use super::Worker;
use crate::step::{CRASH_LOOP, Plan, Waiting, full_name};

/// An image could not be had just now.
const PULL_FAILED: &str = "ErrImagePull";
/// An image could not be had, and the next try is some time away.
const PULL_WAITS: &str = "ImagePullBackOff";

impl Worker {
    /// One event for each time that a container waits after it ended.
    pub(super) fn tell_waits(&mut self, plan: &Plan) {
        let looping: BTreeSet<String> = plan
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.reason == CRASH_LOOP)
            .map(|(name, _)| name.clone())
            .collect();
        for name in looping.difference(&self.waits_told) {
            let text = format!("Back-off restarting failed container {name} in pod {}", full_name(&self.pod));
            self.event(Some(name), Type::Warning, "BackOff", text);
        }
        self.waits_told = looping;
    }

    /// The first report of an image that cannot be had names the failure, the ones after it the wait.
    pub(super) fn turn_failures_into_waits(&mut self, now: Timestamp) {
        let shown: BTreeSet<String> = self.failures_shown().collect();
        let due = self.memory.failures.iter().filter(|(name, failure)| {
            failure.waiting.reason == PULL_FAILED && failure.retry_at > now && shown.contains(*name)
        });
        let due: Vec<(String, String)> = due
            .map(|(name, failure)| (name.clone(), failure.waiting.message.clone().unwrap_or_default()))
            .collect();
        for (name, why) in due {
            let image = self.wanted(&name).and_then(|c| c.image).unwrap_or_default();
            let message = format!("Back-off pulling image \"{image}\": {PULL_FAILED}: {why}");
            let waiting = Waiting { reason: PULL_WAITS.into(), message: Some(message) };
            if let Some(failure) = self.memory.failures.get_mut(&name) {
                failure.waiting = waiting;
            }
            let text = format!("Back-off pulling image \"{image}\": {why}");
            self.event(Some(&name), Type::Normal, "BackOff", text);
            self.event(Some(&name), Type::Warning, "Failed", format!("Error: {PULL_WAITS}"));
            // So that the new reason is reported without waiting for the retry.
            self.wake.notify_one();
        }
    }

    /// The containers whose failed pull the API was told of last.
    fn failures_shown(&self) -> impl Iterator<Item = String> {
        let failed = |status: &&ContainerStatus| {
            let waiting = status.state.as_ref().and_then(|s| s.waiting.as_ref());
            waiting.and_then(|w| w.reason.as_deref()) == Some(PULL_FAILED)
        };
        let lists = self.published.iter().flat_map(|status| {
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
        });
        lists.filter(failed).map(|status| status.name.clone())
    }
}
