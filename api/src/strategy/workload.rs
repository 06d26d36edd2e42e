//! What makes pods from a template: a selector that fits the template, a restart policy that fits the
//! kind, and what an update may change.

mod job;
mod schedule;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Strategy, metadata, pod_spec, text};
use crate::Object;
use crate::selector::LabelSelector;
use crate::status::{FieldError, Problem};
use crate::walk::TEMPLATE_GENERATION;

pub use job::{CronJob, Job};

/// The strategy of Deployments, ReplicaSets, StatefulSets and DaemonSets.
pub struct Workload {
    /// What an empty selector is invalid for, as upstream says it.
    pub selected: &'static str,
    /// What is said of a deadline of the pods.
    pub deadline: &'static str,
}

/// Fields of a StatefulSet's spec that an update may change.
const STATEFUL: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

impl Strategy for Workload {
    fn prepare(&self, new: &mut Object, old: Option<&Object>) {
        if self.deadline != "DaemonSet" {
            return;
        }
        let generation = match old {
            None => 1,
            Some(old) => {
                let annotated = old["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
                let before: i64 = annotated.and_then(|text| text.parse().ok()).unwrap_or(0);
                before + i64::from(old["spec"]["template"] != new["spec"]["template"])
            }
        };
        new["metadata"]["annotations"][TEMPLATE_GENERATION] = generation.to_string().into();
    }

    fn warnings(&self, new: &Object) -> Vec<String> {
        pod_spec::warnings::of(&new["spec"]["template"]["spec"], "spec.template.spec")
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = selector(spec, self.selected);
        errors.extend(template(&spec["template"], "spec.template"));
        let policy = text(&spec["template"]["spec"], "restartPolicy");
        if policy != "Always" {
            let path = "spec.template.spec.restartPolicy";
            errors.push(FieldError::not_supported(path, policy, &["Always"]));
        }
        if !spec["template"]["spec"]["activeDeadlineSeconds"].is_null() {
            let path = "spec.template.spec.activeDeadlineSeconds";
            let why = format!("activeDeadlineSeconds in {} is not Supported", self.deadline);
            errors.push(FieldError::forbidden(path, why));
        }
        errors.extend(rolling(&spec["strategy"]));
        let ready = spec["minReadySeconds"].as_i64().unwrap_or(0);
        if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64().filter(|deadline| *deadline <= ready)
        {
            let why = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid("spec.progressDeadlineSeconds", deadline, why));
        }
        if self.deadline == "StatefulSet"
            && let Some(old) = old
            && fixed(spec) != fixed(&old["spec"])
        {
            let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                       'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                       'minReadySeconds' are forbidden";
            errors.push(FieldError::forbidden("spec", why));
        }
        errors
    }
}

fn fixed(spec: &Value) -> BTreeMap<&String, &Value> {
    let fields = spec.as_object().into_iter().flatten();
    fields.filter(|(name, value)| !STATEFUL.contains(&name.as_str()) && !value.is_null()).collect()
}

/// What is wrong with a template of pods.
pub(super) fn template(template: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = metadata::labels(&template["metadata"], &format!("{path}.metadata.labels"));
    errors.extend(pod_spec::validate(&template["spec"], &format!("{path}.spec")));
    if !super::list(&template["spec"], "ephemeralContainers").is_empty() {
        let field = format!("{path}.spec.ephemeralContainers");
        errors.push(FieldError::forbidden(field, "ephemeral containers not allowed in pod template"));
    }
    errors
}

fn selector(spec: &Value, selected: &str) -> Vec<FieldError> {
    let selector = &spec["selector"];
    let mut errors = Vec::new();
    pod_spec::label_selector(selector, "spec.selector", &mut errors);
    let parsed = LabelSelector::from_object(selector).ok();
    if selector.is_object() && parsed.as_ref().is_some_and(LabelSelector::is_empty) {
        let why = format!("empty selector is invalid for {selected}");
        errors.push(FieldError::invalid("spec.selector", selector.clone(), why));
    }
    if errors.is_empty() || parsed.is_some() {
        errors.extend(unmatched(selector, &spec["template"], "spec.template"));
    }
    errors
}

/// Refuses a template whose pods would not be found again.
fn unmatched(selector: &Value, template: &Value, path: &str) -> Option<FieldError> {
    let given = &template["metadata"]["labels"];
    let labels: BTreeMap<String, String> = given
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    // No selector selects nothing.
    let matches = selector.is_object()
        && LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches(&labels));
    (!matches).then(|| {
        FieldError::new(
            Problem::Invalid,
            format!("{path}.metadata.labels"),
            given.clone(),
            "`selector` does not match template `labels`",
        )
    })
}

fn rolling(strategy: &Value) -> Vec<FieldError> {
    let (sort, rolling) = (text(strategy, "type"), &strategy["rollingUpdate"]);
    let path = "spec.strategy.rollingUpdate";
    if sort == "Recreate" && rolling.is_object() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        return vec![FieldError::forbidden(path, why)];
    }
    let zero = |value: &Value| value.as_i64() == Some(0) || value.as_str() == Some("0%");
    let mut errors = Vec::new();
    let unavailable = &rolling["maxUnavailable"];
    let percent =
        unavailable.as_str().and_then(|text| text.strip_suffix('%')).and_then(|n| n.parse::<u32>().ok());
    if percent.is_some_and(|percent| percent > 100) {
        let why = "must not be greater than 100%";
        errors.push(FieldError::invalid(format!("{path}.maxUnavailable"), unavailable.clone(), why));
    }
    if zero(unavailable) && zero(&rolling["maxSurge"]) {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.push(FieldError::invalid(format!("{path}.maxUnavailable"), unavailable.clone(), why));
    }
    errors
}
