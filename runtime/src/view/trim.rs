//! What is taken out of objects before a view keeps them: memory that nobody reads.

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use kube::runtime::watcher::{self, Event};

/// Takes out of a pod what only its node agent reads: how containers are started and probed. That is most of it: a
/// variable of the environment alone has half a kilobyte in memory.
pub fn pod(pod: &mut Pod) {
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    if let Some(spec) = &mut pod.spec {
        spec.containers.iter_mut().for_each(container);
        spec.init_containers.iter_mut().flatten().for_each(container);
        spec.ephemeral_containers = None;
    }
    if let Some(PodStatus { container_statuses, .. }) = &mut pod.status {
        for status in container_statuses.iter_mut().flatten() {
            status.volume_mounts = None;
        }
    }
}

fn container(container: &mut Container) {
    *container = Container {
        name: std::mem::take(&mut container.name),
        image: container.image.take(),
        ports: container.ports.take(),
        resources: container.resources.take(),
        restart_policy: container.restart_policy.take(),
        ..Container::default()
    };
}

/// Trims the object of an event.
pub(super) fn event<K>(event: watcher::Result<Event<K>>, trim: fn(&mut K)) -> watcher::Result<Event<K>> {
    event.map(|mut event| {
        if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = &mut event {
            trim(object);
        }
        event
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trimmed_pod_keeps_what_schedulers_and_controllers_read() {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}},
            "spec": {"nodeName": "n", "containers": [{
                "name": "main", "image": "nginx", "command": ["x"], "env": [{"name": "A", "value": "B"}],
                "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": "1"}},
            }]},
            "status": {"phase": "Running"},
        }))
        .unwrap();
        super::pod(&mut pod);
        let expected = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "annotations": {"a": "b"}},
            "spec": {"nodeName": "n", "containers": [{
                "name": "main", "image": "nginx", "ports": [{"containerPort": 80}],
                "resources": {"requests": {"cpu": "1"}},
            }]},
            "status": {"phase": "Running"},
        });
        assert_eq!(serde_json::to_value(&pod).unwrap(), expected);
    }
}
