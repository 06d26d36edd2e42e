//! Jobs and CronJobs. A job's selector is made by the server, unless its owner wants to.

use serde_json::{Map, Value, json};

use super::super::{Strategy, pod_spec, text};
use super::{schedule, template, unmatched};
use crate::Object;
use crate::meta;
use crate::status::{FieldError, Problem};

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
/// So long may the name of a CronJob be; its jobs add a number.
const CRON_NAME: usize = 52;

/// The strategy of Jobs.
pub struct Job;

/// The strategy of CronJobs.
pub struct CronJob;

impl Strategy for Job {
    fn prepare(&self, new: &mut Object, old: Option<&Object>) {
        select_own_pods(new, old);
        // A job without labels has those of its pods.
        let labels = &new["spec"]["template"]["metadata"]["labels"];
        if labels.is_object() && new["metadata"]["labels"].as_object().is_none_or(Map::is_empty) {
            new["metadata"]["labels"] = labels.clone();
        }
    }

    fn warnings(&self, new: &Object) -> Vec<String> {
        pod_spec::warnings::of(&new["spec"]["template"]["spec"], "spec.template.spec")
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = job(spec, "spec");
        if !spec["selector"].is_object() {
            errors.push(FieldError::required("spec.selector", ""));
        }
        errors.extend(unmatched(&spec["selector"], &spec["template"], "spec.template"));
        if let Some(old) = old {
            for field in
                ["selector", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
            {
                if spec[field] != old["spec"][field] {
                    let path = format!("spec.{field}");
                    errors.push(FieldError::invalid(path, spec[field].clone(), super::super::IMMUTABLE));
                }
            }
            let suspended = old["spec"]["suspend"] == true;
            if !suspended && spec["template"] != old["spec"]["template"] {
                let shown = spec["template"].clone();
                errors.push(FieldError::invalid("spec.template", shown, super::super::IMMUTABLE));
            }
            if text(spec, "completionMode") != "Indexed" && spec["completions"] != old["spec"]["completions"]
            {
                let shown = spec["completions"].clone();
                errors.push(FieldError::invalid("spec.completions", shown, super::super::IMMUTABLE));
            }
        }
        errors
    }
}

impl Strategy for CronJob {
    fn warnings(&self, new: &Object) -> Vec<String> {
        let path = "spec.jobTemplate.spec.template.spec";
        pod_spec::warnings::of(&new["spec"]["jobTemplate"]["spec"]["template"]["spec"], path)
    }

    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let (spec, path) = (&new["spec"], "spec.jobTemplate.spec");
        let made = &spec["jobTemplate"]["spec"];
        let mut errors = job(made, path);
        if meta::name(new).len() > CRON_NAME {
            let why = format!("must be no more than {CRON_NAME} characters");
            errors.push(FieldError::invalid("metadata.name", meta::name(new), why));
        }
        errors.extend(schedule::check(spec));
        if !made["selector"].is_null() {
            let why = "`selector` will be auto-generated";
            errors.push(FieldError::invalid(format!("{path}.selector"), made["selector"].clone(), why));
        }
        if made["manualSelector"] == true {
            let (path, allowed) = (format!("{path}.manualSelector"), r#"supported values: "nil", "false""#);
            errors.push(FieldError::new(Problem::NotSupported, path, true.into(), allowed));
        }
        errors
    }
}

/// Labels and selects the pods of a new job by its own identity.
fn select_own_pods(new: &mut Object, old: Option<&Object>) {
    if old.is_some() || new["spec"]["manualSelector"] == true || !new["spec"].is_object() {
        return;
    }
    let (uid, name) = (meta::uid(new).to_owned(), meta::name(new).to_owned());
    let metadata = &mut new["spec"]["template"]["metadata"];
    if !metadata["labels"].is_object() {
        metadata["labels"] = Value::Object(Map::new());
    }
    for (key, value) in [(NAME, &name), (UID, &uid), ("job-name", &name), ("controller-uid", &uid)] {
        if metadata["labels"].get(key).is_none() {
            metadata["labels"][key] = value.as_str().into();
        }
    }
    if new["spec"]["selector"].is_null() {
        new["spec"]["selector"] = json!({"matchLabels": {}});
    }
    if !new["spec"]["selector"]["matchLabels"].is_object() {
        new["spec"]["selector"]["matchLabels"] = Value::Object(Map::new());
    }
    new["spec"]["selector"]["matchLabels"][UID] = uid.into();
}

/// What both have.
fn job(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = template(&spec["template"], &format!("{path}.template"));
    let (policy, field) =
        (text(&spec["template"]["spec"], "restartPolicy"), format!("{path}.template.spec.restartPolicy"));
    match policy {
        "" | "Always" => errors.push(FieldError::required(field, r#"valid values: "OnFailure", "Never""#)),
        "Never" => {}
        "OnFailure" if spec["podFailurePolicy"].is_object() => {
            let why = r#"only "Never" is supported when podFailurePolicy is specified"#;
            errors.push(FieldError::invalid(field, policy, why));
        }
        "OnFailure" => {}
        _ => {
            let allowed = r#"supported values: "OnFailure", "Never""#;
            errors.push(FieldError::new(Problem::NotSupported, field, policy.into(), allowed));
        }
    }
    if text(spec, "completionMode") != "Indexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            if !spec[field].is_null() {
                let why = "requires indexed completion mode";
                errors.push(FieldError::invalid(format!("{path}.{field}"), spec[field].clone(), why));
            }
        }
    }
    errors
}
