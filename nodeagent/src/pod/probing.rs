//! The probes of a pod's containers, as long as these run.

use super::Worker;
use crate::{
    cri::Observed,
    step::{Plan, Stage},
};

impl Worker {
    /// A container that the API knew as ready stays so until a probe says otherwise.
    pub(super) fn adopt(&mut self, observed: &Observed) {
        let Some(status) = &self.pod.status else { return };
        let all =
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
        for known in all {
            let Some(found) = observed.latest(&known.name) else { continue };
            if known.container_id.as_deref() == Some(&format!("docker://{}", found.id)) {
                let probed = crate::step::Probed {
                    started: (known.started == Some(true)).then_some(true),
                    ready: known.ready.then_some(true),
                    live: None,
                };
                self.probes.adopt(&found.id, probed);
            }
        }
    }

    /// Keeps the probes in line with what runs. On the way out a pod is still asked whether it may be asked: until its
    /// containers have ended it may serve those who find nobody else.
    pub(super) fn watch_containers(&mut self, observed: &Observed, plan: &Plan) {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let host_network = spec.host_network == Some(true);
        let ip = if host_network {
            Some(self.shared.config.node_ip)
        } else {
            observed.live_sandbox().and_then(|s| s.ip)
        };
        let wanted = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        self.probes.sync(wanted, observed, ip, plan.stage > Stage::Syncing);
    }
}
