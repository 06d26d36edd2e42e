//! Lists of resources, such as `{cpu: 100m, memory: 1Gi}`, and what a pod as a whole asks for.
//!
//! Behaviour: upstream's `component-helpers/resource` and `apiserver/pkg/quota/v1/resources.go`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Object;
use crate::quantity::Quantity;

/// Amounts by the resource's name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// What begins the name of a resource for pages of one size.
pub const HUGE_PAGES: &str = "hugepages-";

/// Reads a list; what is no quantity is left out.
pub fn read(list: &Value) -> ResourceList {
    let amount = |(name, text): (&String, &Value)| {
        Some((name.clone(), Quantity::parse(text.as_str().unwrap_or_default())?))
    };
    list.as_object().into_iter().flatten().filter_map(amount).collect()
}

/// The list as it stands in an object.
pub fn write(list: &ResourceList) -> Value {
    list.iter().map(|(name, amount)| (name.clone(), Value::from(amount.to_string()))).collect()
}

/// As refusals show it: `cpu=1,memory=1Gi`.
pub fn show(list: &ResourceList) -> String {
    let parts: Vec<String> = list.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    parts.join(",")
}

/// Adds each amount of `more`.
pub fn add(list: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        list.entry(name.clone()).and_modify(|sum| *sum = sum.plus(*amount)).or_insert(*amount);
    }
}

/// Raises each amount to at least that of `other`.
pub fn raise(list: &mut ResourceList, other: &ResourceList) {
    for (name, amount) in other {
        let most = list.entry(name.clone()).or_insert(*amount);
        if *amount > *most {
            *most = *amount;
        }
    }
}

/// Only the resources of these names.
#[must_use]
pub fn only(list: &ResourceList, names: &BTreeSet<&str>) -> ResourceList {
    let kept = list.iter().filter(|(name, _)| names.contains(name.as_str()));
    kept.map(|(name, amount)| (name.clone(), *amount)).collect()
}

/// The names in a list.
pub fn names(list: &ResourceList) -> BTreeSet<&str> {
    list.keys().map(String::as_str).collect()
}

/// What belongs to every amount of cpu, memory or storage that is Kubernetes' own: no domain before the name, or its.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is one that somebody's device plugin offers.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && crate::name::qualified(&format!("requests.{name}")).is_empty()
}

/// How a pod's resources are added up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    /// What a resize has not taken back yet counts too.
    pub with_status: bool,
    /// What running a pod takes besides its containers counts too.
    pub with_overhead: bool,
    /// Huge pages may be set for the pod as a whole.
    pub with_pod_huge_pages: bool,
}

impl Sum {
    /// What the pod asks for.
    pub fn requests(self, pod: &Object) -> ResourceList {
        let mut sum = self.containers(pod, "requests");
        if self.with_overhead {
            add(&mut sum, &read(&pod["spec"]["overhead"]));
        }
        sum
    }

    /// What the pod may take at most, where it is limited.
    pub fn limits(self, pod: &Object) -> ResourceList {
        let mut sum = self.containers(pod, "limits");
        if self.with_overhead {
            for (name, amount) in read(&pod["spec"]["overhead"]) {
                if let Some(limit) = sum.get_mut(&name).filter(|limit| limit.signum() != 0) {
                    *limit = limit.plus(amount);
                }
            }
        }
        sum
    }

    /// All containers that run at once, or the greatest that runs before them beside the sidecars then started; and
    /// what is set for the pod as a whole instead.
    fn containers(self, pod: &Object, of: &str) -> ResourceList {
        let spec = &pod["spec"];
        let each = |list: &str| spec[list].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut sum = ResourceList::new();
        for container in each("containers") {
            add(&mut sum, &self.effective(pod, container, of, true));
        }
        let (mut sidecars, mut before) = (ResourceList::new(), ResourceList::new());
        for container in each("initContainers") {
            let stays = container["restartPolicy"] == "Always";
            let mut then = self.effective(pod, container, of, stays);
            if stays {
                add(&mut sum, &then);
                add(&mut sidecars, &then);
                then.clone_from(&sidecars);
            } else {
                add(&mut then, &sidecars);
            }
            raise(&mut before, &then);
        }
        raise(&mut sum, &before);
        for (name, amount) in read(&spec["resources"][of]) {
            let huge = self.with_pod_huge_pages && name.starts_with(HUGE_PAGES);
            if huge || matches!(name.as_str(), "cpu" | "memory") {
                sum.insert(name, amount);
            }
        }
        sum
    }

    /// What a container has: while it is resized, the most of what it had, has and shall have.
    fn effective(self, pod: &Object, container: &Value, of: &str, resizable: bool) -> ResourceList {
        let wanted = read(&container["resources"][of]);
        if !self.with_status || !resizable {
            return wanted;
        }
        let lists = ["containerStatuses", "initContainerStatuses"];
        let mut statuses = lists.iter().filter_map(|list| pod["status"][*list].as_array()).flatten();
        let found = statuses.find(|status| status["name"] == container["name"]);
        let Some(status) = found.filter(|status| status["resources"].is_object()) else { return wanted };
        let conditions = pod["status"]["conditions"].as_array();
        let pending = conditions.into_iter().flatten().find(|one| one["type"] == "PodResizePending");
        let mut list = read(&status["resources"][of]);
        if of == "requests" {
            raise(&mut list, &read(&status["allocatedResources"]));
        }
        if pending.is_none_or(|condition| condition["reason"] != "Infeasible") {
            raise(&mut list, &wanted);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}})
    }

    #[test]
    fn a_pod_asks_for_what_runs_at_once() {
        let mut sidecar = container("s", "200m");
        sidecar["restartPolicy"] = "Always".into();
        let pod = json!({"spec": {
            "containers": [container("a", "1"), container("b", "500m")],
            "initContainers": [container("first", "3"), sidecar, container("late", "1")],
            "overhead": {"cpu": "10m", "memory": "1Mi"},
        }});
        assert_eq!(show(&Sum::default().requests(&pod)), "cpu=3");
        let whole = Sum { with_overhead: true, ..Sum::default() };
        assert_eq!(show(&whole.requests(&pod)), "cpu=3010m,memory=1Mi");
        assert_eq!(show(&whole.limits(&pod)), "cpu=3010m");
        let mut small = pod.clone();
        small["spec"]["initContainers"][0] = container("first", "1");
        assert_eq!(show(&Sum::default().requests(&small)), "cpu=1700m");
        small["spec"]["resources"] = json!({"requests": {"cpu": "4", "hugepages-2Mi": "2Mi", "x/y": "1"}});
        assert_eq!(show(&Sum::default().requests(&small)), "cpu=4");
        let huge = Sum { with_pod_huge_pages: true, ..Sum::default() };
        assert_eq!(show(&huge.requests(&small)), "cpu=4,hugepages-2Mi=2Mi");
    }

    #[test]
    fn a_resize_counts_with_the_most_of_before_and_after() {
        let sum = Sum { with_status: true, ..Sum::default() };
        let mut pod = json!({
            "spec": {"containers": [container("a", "1")]},
            "status": {"containerStatuses": [
                {"name": "a", "resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "1500m"}},
            ]},
        });
        assert_eq!(show(&sum.requests(&pod)), "cpu=2");
        pod["status"]["containerStatuses"][0]["resources"]["requests"]["cpu"] = "500m".into();
        pod["spec"]["containers"][0] = container("a", "4");
        assert_eq!(show(&sum.requests(&pod)), "cpu=4");
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
        assert_eq!(show(&sum.requests(&pod)), "cpu=1500m");
    }

    #[test]
    fn resources_of_device_plugins_are_told_by_their_domain() {
        let table = [
            ("cpu", false),
            ("hugepages-2Mi", false),
            ("example.com/gpu", true),
            ("kubernetes.io/x", false),
            ("node.kubernetes.io/x", false),
            ("requests.example.com/gpu", false),
            ("example.com/", false),
        ];
        for (name, extended) in table {
            assert_eq!(is_extended(name), extended, "{name}");
        }
    }
}
