//! PodResizeValidator: a pod is only resized to what its node can hold.

use serde_json::Value;
use skiff_api::quantity::Quantity;
use skiff_api::resources::{self, Sum};
use skiff_api::status::{Cause, Status};
use skiff_api::{meta, resources::ResourceList};

use super::{Operation, Plugin, Review};

pub struct PodResizeValidator;

#[async_trait::async_trait]
impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Update, "", "pods", "resize")
    }

    async fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), Status> {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node.is_empty() || review.old.is_some_and(|old| meta::generation(old) == meta::generation(pod)) {
            return Ok(());
        }
        let Some(found) = review.call.find("", "nodes", "", node) else {
            return Err(review.forbidden(pod, &format!("node {node:?} not found")));
        };
        judge(pod, &found).map_err(|(reason, why)| {
            let mut status = review.forbidden(pod, &why);
            if let Some(details) = &mut status.details {
                details.causes.push(Cause { reason, message: String::new(), field: String::new() });
            }
            status
        })
    }
}

fn judge(pod: &Value, node: &Value) -> Result<(), (&'static str, String)> {
    if let Some((_, system)) = meta::labels(node).find(|(key, _)| *key == "kubernetes.io/os")
        && system != "linux"
    {
        let why =
            format!("pod resize is only supported on linux nodes, node {:?} is {system:?}", meta::name(node));
        return Err(("UnsupportedPlatform", why));
    }
    let allocatable = resources::read(&node["status"]["allocatable"]);
    let asked = Sum { with_overhead: true, with_pod_huge_pages: true, ..Sum::default() }.requests(pod);
    let amount = |list: &ResourceList, name: &str| list.get(name).copied().unwrap_or(Quantity::count(0));
    let mut short = Vec::new();
    for name in ["cpu", "memory"] {
        let number = |amount: &Quantity| if name == "cpu" { amount.millis() } else { amount.value() };
        let (wanted, most) = (amount(&asked, name), amount(&allocatable, name));
        if wanted > most {
            short.push(format!("{name}, requested: {}, allocatable: {}", number(&wanted), number(&most)));
        }
    }
    if short.is_empty() {
        return Ok(());
    }
    let why = format!("node didn't have enough allocatable resources: {}", short.join("; "));
    Err(("NodeCapacity", why))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_grows_no_further_than_its_node() {
        let pod = |cpu: &str| json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]}});
        let node = |system: &str| {
            json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": system}},
                "status": {"allocatable": {"cpu": "2", "memory": "512Mi"}}})
        };
        let why = "node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000; \
                   memory, requested: 1073741824, allocatable: 536870912";
        assert_eq!(judge(&pod("2500m"), &node("linux")), Err(("NodeCapacity", why.into())));
        let why = "pod resize is only supported on linux nodes, node \"n\" is \"windows\"";
        assert_eq!(judge(&pod("1"), &node("windows")), Err(("UnsupportedPlatform", why.into())));
        let mut large = node("linux");
        large["status"]["allocatable"]["memory"] = "2Gi".into();
        assert_eq!(judge(&pod("2"), &large), Ok(()));
    }
}
