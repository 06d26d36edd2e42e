//! RuntimeClass: a pod gets the overhead of its class, and goes where that class runs.

use serde_json::Value;
use skiff_api::resources;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review, toleration};

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

pub struct RuntimeClass;

impl RuntimeClass {
    async fn class(review: &Review<'_>, pod: &Value) -> Result<Option<Value>, Status> {
        let Some(name) = pod["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
        match review.find_now("node.k8s.io", "runtimeclasses", "", name).await? {
            None => Err(review.forbidden(pod, &format!("pod rejected: RuntimeClass {name:?} not found"))),
            found => Ok(found),
        }
    }
}

#[async_trait::async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "pods", "")
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let Some(class) = Self::class(review, pod).await? else { return Ok(()) };
        review.call.context.warn(
            "spec.runtimeClassName: the overhead and scheduling of the class hold, but node agents do not look at its handler yet",
        );
        apply(pod, &class).map_err(|why| review.forbidden(pod, &why))
    }

    async fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), Status> {
        let class = Self::class(review, pod).await?;
        check(pod, class.as_ref()).map_err(|why| review.forbidden(pod, why))
    }
}

/// Gives the pod what its class says.
fn apply(pod: &mut Value, class: &Value) -> Result<(), String> {
    if class["overhead"].is_object() {
        let fixed = &class["overhead"]["podFixed"];
        let own = resources::read(&pod["spec"]["overhead"]);
        if !own.is_empty() && own != resources::read(fixed) {
            return Err(MISMATCH.into());
        }
        pod["spec"]["overhead"] = fixed.clone();
    }
    let scheduling = &class["scheduling"];
    if !scheduling.is_object() {
        return Ok(());
    }
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let own = &pod["spec"]["nodeSelector"][key];
        if own.is_string() && own != value {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(own)
            ));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    let list = |object: &Value| object["tolerations"].as_array().cloned().unwrap_or_default();
    let merged = toleration::merge(&list(&pod["spec"]), &list(scheduling));
    if !merged.is_empty() {
        pod["spec"]["tolerations"] = merged.into();
    }
    Ok(())
}

fn check(pod: &Value, class: Option<&Value>) -> Result<(), &'static str> {
    let own = &pod["spec"]["overhead"];
    match class.map(|class| &class["overhead"]).filter(|overhead| overhead.is_object()) {
        Some(overhead) if resources::read(own) == resources::read(&overhead["podFixed"]) => Ok(()),
        Some(_) => Err(MISMATCH),
        None if own.is_object() => {
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_gets_what_its_class_says_or_is_refused() {
        let class = json!({
            "overhead": {"podFixed": {"cpu": "100m"}},
            "scheduling": {"nodeSelector": {"runtime": "vm"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
        });
        let mut pod = json!({"spec": {"nodeSelector": {"disk": "ssd"}}});
        apply(&mut pod, &class).unwrap();
        assert_eq!(
            pod["spec"],
            json!({
                "overhead": {"cpu": "100m"},
                "nodeSelector": {"disk": "ssd", "runtime": "vm"},
                "tolerations": [{"key": "vm", "operator": "Exists"}],
            })
        );
        assert_eq!(check(&pod, Some(&class)), Ok(()));
        assert!(check(&pod, None).unwrap_err().contains("without corresponding RuntimeClass"));
        let mut other = json!({"spec": {"overhead": {"cpu": "0.1"}}});
        assert_eq!(apply(&mut other, &class), Ok(()));
        other["spec"]["overhead"]["cpu"] = "1".into();
        assert_eq!(apply(&mut other, &class), Err(MISMATCH.into()));
        assert_eq!(check(&other, Some(&class)), Err(MISMATCH));
        let mut other = json!({"spec": {"nodeSelector": {"runtime": "oci"}}});
        let why = "conflict: runtimeClass.scheduling.nodeSelector[runtime] = vm; pod.spec.nodeSelector[runtime] = oci";
        assert_eq!(apply(&mut other, &class), Err(why.into()));
    }
}
