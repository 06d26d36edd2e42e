//! DefaultStorageClass and DefaultIngressClass: claims and ingresses that name no class get the default one, the newest
//! if there are several.

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};

pub struct DefaultStorageClass;

#[async_trait::async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "", "persistentvolumeclaims", "")
    }

    async fn mutate(&self, review: &Review<'_>, claim: &mut Value) -> Result<(), Status> {
        if has_class(claim, "volume.beta.kubernetes.io/storage-class", "storageClassName") {
            return Ok(());
        }
        let marks = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        if let Some(class) = newest(&review.list("storage.k8s.io", "storageclasses"), &marks) {
            claim["spec"]["storageClassName"] = class.into();
        }
        Ok(())
    }
}

pub struct DefaultIngressClass;

#[async_trait::async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Create, "networking.k8s.io", "ingresses", "")
    }

    async fn mutate(&self, review: &Review<'_>, ingress: &mut Value) -> Result<(), Status> {
        if has_class(ingress, "kubernetes.io/ingress.class", "ingressClassName") {
            return Ok(());
        }
        let classes = review.list("networking.k8s.io", "ingressclasses");
        if let Some(class) = newest(&classes, &["ingressclass.kubernetes.io/is-default-class"]) {
            ingress["spec"]["ingressClassName"] = class.into();
        }
        Ok(())
    }
}

/// Whether it names a class, an empty one too, in the field or in the annotation that was before the field.
fn has_class(object: &Value, annotation: &str, field: &str) -> bool {
    object["spec"][field].is_string() || meta::annotations(object).any(|(key, _)| key == annotation)
}

/// The class that is marked as the default one: the newest, and of those the first by name.
fn newest<'a>(classes: &'a [Value], marks: &[&str]) -> Option<&'a str> {
    let marked =
        |class: &&Value| meta::annotations(class).any(|(key, value)| marks.contains(&key) && value == "true");
    let newest = classes.iter().filter(marked).max_by(|a, b| {
        let made = |class| meta::creation_timestamp(class).unwrap_or_default();
        made(a).cmp(made(b)).then_with(|| meta::name(b).cmp(meta::name(a)))
    });
    newest.map(meta::name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_default_class_is_taken() {
        let class = |name: &str, made: &str, default: &str| json!({"metadata": {"name": name, "creationTimestamp": made, "annotations": {"mark": default}}});
        let classes = [
            class("a", "2026-01-01T00:00:00Z", "true"),
            class("b", "2026-01-02T00:00:00Z", "true"),
            class("c", "2026-01-02T00:00:00Z", "true"),
            class("d", "2026-01-03T00:00:00Z", "false"),
        ];
        assert_eq!(newest(&classes, &["mark"]), Some("b"));
        assert_eq!(newest(&classes, &["other"]), None);
    }

    #[test]
    fn an_empty_class_is_one_too() {
        let field = |spec: Value| has_class(&json!({"spec": spec}), "old", "class");
        assert!(field(json!({"class": ""})) && field(json!({"class": "x"})) && !field(json!({})));
        assert!(has_class(&json!({"metadata": {"annotations": {"old": ""}}, "spec": {}}), "old", "class"));
    }
}
