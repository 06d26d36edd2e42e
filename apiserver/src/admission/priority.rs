//! Priority: turns a pod's priority class into a number. There is one default class at most.

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";

pub struct Priority;

#[async_trait::async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.writes("", "pods", "")
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.writes(GROUP, CLASSES, "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        if let Some(old) = review.old {
            for field in ["priority", "preemptionPolicy"] {
                if pod["spec"].get(field).is_none_or(Value::is_null) && !old["spec"][field].is_null() {
                    pod["spec"][field] = old["spec"][field].clone();
                }
            }
            return Ok(());
        }
        let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
        let class = if name.is_empty() {
            default_of(review.list(GROUP, CLASSES))
        } else {
            let found = review.find_now(GROUP, CLASSES, "", &name).await?;
            if found.is_none() {
                return Err(review.forbidden(pod, &format!("no PriorityClass with name {name} was found")));
            }
            found
        };
        resolve(pod, class.as_ref()).map_err(|why| review.forbidden(pod, &why))
    }

    async fn validate(&self, review: &Review<'_>, class: &Value) -> Result<(), Status> {
        if class["globalDefault"] != true {
            return Ok(());
        }
        let Some(default) = default_of(review.list(GROUP, CLASSES)) else { return Ok(()) };
        let name = meta::name(&default);
        if review.operation == Operation::Create || name != meta::name(class) {
            let why =
                format!("PriorityClass {name} is already marked as default. Only one default can exist");
            return Err(review.forbidden(class, &why));
        }
        Ok(())
    }
}

/// The class of pods that name none; should there be several, the least.
fn default_of(classes: Vec<Value>) -> Option<Value> {
    let defaults = classes.into_iter().filter(|class| class["globalDefault"] == true);
    defaults.min_by_key(|class| class["value"].as_i64().unwrap_or(0))
}

/// Gives the pod its class's number, unless it says another itself.
fn resolve(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let value = class.and_then(|class| class["value"].as_i64()).unwrap_or(0);
    let spec = &mut pod["spec"];
    if let Some(asked) = spec["priority"].as_i64().filter(|asked| *asked != value) {
        return Err(format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        ));
    }
    spec["priority"] = value.into();
    let policy = match class {
        Some(class) => class["preemptionPolicy"].as_str(),
        None => Some("PreemptLowerPriority"),
    };
    if let Some(policy) = policy {
        if let Some(asked) = spec["preemptionPolicy"].as_str().filter(|asked| *asked != policy) {
            return Err(format!(
                "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            ));
        }
        spec["preemptionPolicy"] = policy.into();
    }
    if let Some(class) = class {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_has_the_number_of_its_class() {
        let class = json!({"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"});
        for (spec, class, expected) in [
            (json!({}), None, Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}))),
            (
                json!({"priority": 7}),
                Some(&class),
                Ok(json!({"priority": 7, "preemptionPolicy": "Never", "priorityClassName": "high"})),
            ),
            (
                json!({"priority": 8}),
                Some(&class),
                Err("the integer value of priority (8) must not be provided"),
            ),
            (json!({"preemptionPolicy": "Never"}), None, Err("the string value of PreemptionPolicy (Never)")),
        ] {
            let mut pod = json!({"spec": spec});
            match (resolve(&mut pod, class), expected) {
                (Ok(()), Ok(expected)) => assert_eq!(pod["spec"], expected),
                (Err(why), Err(expected)) => assert!(why.starts_with(expected), "{why}"),
                other => panic!("{spec}: {other:?}"),
            }
        }
    }

    #[test]
    fn of_several_default_classes_the_least_is_taken() {
        let class = |name: &str, value: i64, default: bool| json!({"metadata": {"name": name}, "value": value, "globalDefault": default});
        let all = vec![class("a", 1, false), class("b", 9, true), class("c", 5, true)];
        assert_eq!(default_of(all).unwrap()["metadata"]["name"], "c");
        assert_eq!(default_of(Vec::new()), None);
    }
}
