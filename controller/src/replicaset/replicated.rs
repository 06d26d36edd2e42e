//! The kinds that are as many pods as wanted. A ReplicationController is decided upon as the ReplicaSet that it would be,
//! as upstream does (`pkg/controller/replication/conversion.go`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use skiff_runtime::view::View;

use crate::context::{Context, Written};

/// A kind that keeps a number of pods.
pub(crate) trait Replicated:
    Written + PartialEq + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
{
    /// What its queue and its events are called after.
    const CONTROLLER: &str;
    /// The name of its queue.
    const QUEUE: &str;

    /// Its view.
    fn view(context: &Context) -> &View<Self>;

    /// The same as a ReplicaSet.
    fn as_set(self: &Arc<Self>) -> Arc<ReplicaSet>;

    /// The same with another status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Replicated for ReplicaSet {
    const CONTROLLER: &str = "replicaset-controller";
    const QUEUE: &str = "replicaset";

    fn view(context: &Context) -> &View<Self> {
        &context.replica_sets
    }

    fn as_set(self: &Arc<Self>) -> Arc<ReplicaSet> {
        Arc::clone(self)
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &str = "replication-controller";
    const QUEUE: &str = "replicationcontroller";

    fn view(context: &Context) -> &View<Self> {
        &context.replication_controllers
    }

    fn as_set(self: &Arc<Self>) -> Arc<ReplicaSet> {
        let spec = self.spec.clone().unwrap_or_default();
        let status = self.status.clone().unwrap_or_default();
        let condition = |known: ReplicationControllerCondition| ReplicaSetCondition {
            last_transition_time: known.last_transition_time,
            message: known.message,
            reason: known.reason,
            status: known.status,
            type_: known.type_,
        };
        Arc::new(ReplicaSet {
            metadata: self.metadata.clone(),
            spec: Some(ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: spec.replicas,
                selector: LabelSelector { match_labels: spec.selector, ..LabelSelector::default() },
                template: spec.template,
            }),
            status: Some(ReplicaSetStatus {
                available_replicas: status.available_replicas,
                conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
                fully_labeled_replicas: status.fully_labeled_replicas,
                observed_generation: status.observed_generation,
                ready_replicas: status.ready_replicas,
                replicas: status.replicas,
                terminating_replicas: None,
            }),
        })
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let condition = |known: ReplicaSetCondition| ReplicationControllerCondition {
            last_transition_time: known.last_transition_time,
            message: known.message,
            reason: known.reason,
            status: known.status,
            type_: known.type_,
        };
        let status = ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        };
        Self { status: Some(status), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_replication_controller_is_decided_upon_as_a_set() {
        let controller: ReplicationController = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": 2, "selector": {"app": "web"}, "template": {"metadata": {"labels": {"app": "web"}}}},
            "status": {"replicas": 1, "conditions": [
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no"}]},
        }))
        .unwrap();
        let controller = Arc::new(controller);
        let set = controller.as_set();
        let spec = set.spec.as_ref().unwrap();
        assert_eq!(spec.selector.match_labels.as_ref().unwrap()["app"], "web");
        assert_eq!((spec.replicas, set.metadata.name.as_deref()), (Some(2), Some("web")));
        assert_eq!(controller.with_status(set.status.clone().unwrap()), *controller);
    }
}
