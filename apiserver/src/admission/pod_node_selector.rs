//! PodNodeSelector: the nodes that a namespace's pods may be on, by labels that an annotation or the configuration names.

use std::collections::BTreeMap;

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
const CLUSTER: &str = "clusterDefaultNodeSelector";
const CONFLICT: &str = "pod node label selector conflicts with its namespace node label selector";

type Labels = BTreeMap<String, String>;

pub struct PodNodeSelector {
    /// By namespace; the cluster's default among them.
    told: BTreeMap<String, Labels>,
}

impl PodNodeSelector {
    pub fn make(told: Option<&Value>) -> Result<Box<dyn Plugin>, String> {
        let map = told.and_then(|told| told["podNodeSelectorPluginConfig"].as_object());
        let read = |(namespace, text): (&String, &Value)| {
            Ok((namespace.clone(), labels(text.as_str().unwrap_or_default())?))
        };
        Ok(Box::new(Self { told: map.into_iter().flatten().map(read).collect::<Result<_, String>>()? }))
    }

    /// What the namespace, else the cluster, wants its pods' nodes to be.
    async fn wanted(&self, review: &Review<'_>) -> Result<Labels, Status> {
        let name = review.call.namespace();
        let found = review.find_now("", "namespaces", "", name).await?;
        let namespace = found.ok_or_else(|| Status::not_found("", "namespaces", name))?;
        match meta::annotations(&namespace).find(|(key, _)| *key == ANNOTATION) {
            Some((_, text)) => labels(text).map_err(|why| Status::new(500, "", why)),
            None => Ok(self.told.get(CLUSTER).cloned().unwrap_or_default()),
        }
    }
}

#[async_trait::async_trait]
impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "pods", "")
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let wanted = self.wanted(review).await?;
        if conflict(&own(pod), &wanted) {
            return Err(review.forbidden(pod, CONFLICT));
        }
        for (key, value) in wanted {
            pod["spec"]["nodeSelector"][key] = value.into();
        }
        self.validate(review, pod).await
    }

    async fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), Status> {
        let own = own(pod);
        if conflict(&own, &self.wanted(review).await?) {
            return Err(review.forbidden(pod, CONFLICT));
        }
        let allowed = self.told.get(review.call.namespace()).filter(|allowed| !allowed.is_empty());
        if allowed.is_some_and(|allowed| own.iter().any(|(key, value)| allowed.get(key) != Some(value))) {
            let why = "pod node label selector labels conflict with its namespace whitelist";
            return Err(review.forbidden(pod, why));
        }
        Ok(())
    }
}

fn own(pod: &Value) -> Labels {
    let map = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    map.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn conflict(a: &Labels, b: &Labels) -> bool {
    a.iter().any(|(key, value)| b.get(key).is_some_and(|other| other != value))
}

/// Reads `a=b, c=d`.
fn labels(text: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for pair in text.split(',').filter(|_| !text.is_empty()) {
        let parts: Vec<&str> = pair.split('=').collect();
        let [key, value] = parts.as_slice() else {
            return Err(format!("invalid selector: {}", parts.join(" ")));
        };
        let (key, value) = (key.trim(), value.trim());
        if let Some(why) = skiff_api::name::qualified(key).first() {
            return Err(format!("invalid label key {key:?}: {why}"));
        }
        if let Some(why) = skiff_api::name::label_value(value).first() {
            return Err(format!("invalid label value: {value:?}: {why}"));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_and_conflict_where_a_value_differs() {
        let read = |text| labels(text).unwrap();
        assert_eq!(read("a=b, c = d").len(), 2);
        assert!(read("").is_empty());
        assert!(labels("a").is_err() && labels("a=b=c").is_err() && labels("/=b").is_err());
        assert!(conflict(&read("a=b"), &read("a=c")));
        assert!(!conflict(&read("a=b"), &read("a=b,c=d")));
    }
}
