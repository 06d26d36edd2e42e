//! PodTolerationRestriction: a namespace, or the cluster, says what its pods tolerate and what they may tolerate at most.

use serde_json::{Value, json};
use skiff_api::status::Status;
use skiff_api::{meta, strategy};

use super::{Operation, Plugin, Review, configuration, toleration};

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
const GROUP: &str = "podtolerationrestriction.admission.k8s.io";

pub struct PodTolerationRestriction {
    defaults: Vec<Value>,
    allowed: Vec<Value>,
}

impl PodTolerationRestriction {
    pub fn make(told: Option<&Value>) -> Result<Box<dyn Plugin>, String> {
        if let Some(told) = told {
            configuration::check_kind(told, GROUP, &["v1alpha1"], "Configuration")?;
        }
        let list = |name: &str| told.and_then(|told| told[name].as_array()).cloned().unwrap_or_default();
        Ok(Box::new(Self { defaults: list("default"), allowed: list("whitelist") }))
    }
}

#[async_trait::async_trait]
impl Plugin for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.writes("", "pods", "")
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.writes("", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let mut more = Vec::new();
        if review.operation == Operation::Create {
            more = of_namespace(review, DEFAULTS).await?.unwrap_or_else(|| self.defaults.clone());
        }
        if strategy::qos_class(pod) != "BestEffort" {
            let pressed = "node.kubernetes.io/memory-pressure";
            more.push(json!({"key": pressed, "operator": "Exists", "effect": "NoSchedule"}));
        }
        if !more.is_empty() {
            let own = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
            pod["spec"]["tolerations"] = toleration::merge(&own, &more).into();
        }
        self.validate(review, pod).await
    }

    async fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), Status> {
        let own = pod["spec"]["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
        if own.is_empty() {
            return Ok(());
        }
        let (allowed, whose) = match of_namespace(review, ALLOWED).await? {
            Some(allowed) => (allowed, "namespace"),
            None => (self.allowed.clone(), "cluster"),
        };
        if toleration::all_allowed(own, &allowed) {
            return Ok(());
        }
        // Not framed as the others are, as upstream.
        let why = format!(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its {whose} whitelist"
        );
        Err(Status::new(500, "", why))
    }
}

/// The tolerations that an annotation of the namespace lists, if it has it.
async fn of_namespace(review: &Review<'_>, annotation: &str) -> Result<Option<Vec<Value>>, Status> {
    let name = review.call.namespace();
    let found = review.find_now("", "namespaces", "", name).await?;
    let namespace = found.ok_or_else(|| Status::not_found("", "namespaces", name))?;
    let text =
        meta::annotations(&namespace).find(|(key, _)| *key == annotation).map(|(_, text)| text.to_owned());
    match text.as_deref() {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => {
            let list = serde_json::from_str(text).map_err(|error| Status::new(500, "", error.to_string()))?;
            Ok(Some(list))
        }
    }
}
