//! LimitRanger: containers get a namespace's default requests and limits, and pods and claims are held to its bounds.

mod bounds;

use serde_json::{Map, Value, json};
use skiff_api::meta;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub struct LimitRanger;

#[async_trait::async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        is_pod(review) && !leaves(review)
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        (is_pod(review) || review.writes("", "persistentvolumeclaims", "")) && !leaves(review)
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        for range in review.list_here("", "limitranges") {
            fill_in(pod, &range);
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), Status> {
        for range in review.list_here("", "limitranges") {
            let errors =
                if is_pod(review) { bounds::pod(object, &range) } else { bounds::claim(object, &range) };
            if let Some(why) = bounds::together(errors) {
                return Err(review.forbidden(object, &why));
            }
        }
        Ok(())
    }
}

/// A pod's resources change when it is made, and when it is resized.
fn is_pod(review: &Review<'_>) -> bool {
    review.is(Operation::Create, "", "pods", "") || review.is(Operation::Update, "", "pods", "resize")
}

fn leaves(review: &Review<'_>) -> bool {
    review.old.is_some_and(|old| meta::deletion_timestamp(old).is_some())
}

/// Gives containers what the range has as defaults, and notes what it gave.
fn fill_in(pod: &mut Value, range: &Value) {
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for limit in
        range["spec"]["limits"].as_array().into_iter().flatten().filter(|one| one["type"] == "Container")
    {
        requests.extend(limit["defaultRequest"].as_object().cloned().unwrap_or_default());
        limits.extend(limit["default"].as_object().cloned().unwrap_or_default());
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for (field, word, defaults) in [("requests", "request", &requests), ("limits", "limit", &limits)]
            {
                let given = add_missing(&mut container["resources"], field, defaults);
                if !given.is_empty() {
                    let name = container["name"].as_str().unwrap_or_default();
                    notes.push(format!("{} {word} for {what} {name}", given.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod["metadata"]["annotations"][ANNOTATION] = note.into();
    }
}

/// Adds what a list of resources has not; answers with the names of that.
fn add_missing(resources: &mut Value, field: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let has = |name: &str| resources[field].get(name).is_some();
    let missing: Vec<String> = defaults.keys().filter(|name| !has(name)).cloned().collect();
    if missing.is_empty() {
        return missing;
    }
    if !resources.is_object() {
        *resources = json!({});
    }
    for name in &missing {
        resources[field][name] = defaults[name].clone();
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_get_the_defaults_that_they_have_not() {
        let range = json!({"spec": {"limits": [
            {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}},
            {"type": "Pod", "max": {"cpu": "1"}},
        ]}});
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b", "resources": {
                "requests": {"cpu": "200m"}, "limits": {"cpu": "200m", "memory": "1Mi"}}}],
            "initContainers": [{"name": "i", "resources": {"limits": {"memory": "2Mi"}}}],
        }});
        fill_in(&mut pod, &range);
        let of = |list: &str, at: usize| pod["spec"][list][at]["resources"].clone();
        assert_eq!(
            of("containers", 0),
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "1Gi"}})
        );
        assert_eq!(of("containers", 1)["limits"], json!({"cpu": "200m", "memory": "1Mi"}));
        assert_eq!(of("initContainers", 0)["limits"], json!({"cpu": "500m", "memory": "2Mi"}));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; \
             cpu request for init container i; cpu limit for init container i"
        );
    }
}
