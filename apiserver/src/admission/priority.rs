//! Priority: turns a pod's priority class into a number.

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::{FieldError, Status};

use super::{Operation, Plugin, Review};

pub struct Priority;

#[async_trait::async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let call = review.call;
        let group = "scheduling.k8s.io";
        let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
        let class = if name.is_empty() {
            let cache = call.app.cache.find(group, "priorityclasses");
            cache.and_then(|cache| {
                let snapshot = cache.snapshot();
                let mut objects = snapshot.items.values().map(|item| item.object(cache.kind(), "v1"));
                objects.find(|class| class["globalDefault"] == true)
            })
        } else {
            let found = call.find(group, "priorityclasses", "", &name);
            if found.is_none() {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(Status::forbidden("", "pods", meta::name(pod), &why));
            }
            found
        };
        let value = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(0);
        let asked = pod["spec"]["priority"].as_i64();
        if asked.is_some_and(|asked| asked != value) {
            let error = FieldError::forbidden(
                "spec.priority",
                format!(
                    "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name",
                    asked.unwrap_or(0)
                ),
            );
            return Err(Status::forbidden("", "pods", meta::name(pod), &error.detail));
        }
        pod["spec"]["priority"] = value.into();
        let policy = class
            .as_ref()
            .and_then(|class| class["preemptionPolicy"].as_str())
            .unwrap_or("PreemptLowerPriority");
        pod["spec"]["preemptionPolicy"] = policy.into();
        if let Some(class) = class {
            pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
        }
        Ok(())
    }
}
