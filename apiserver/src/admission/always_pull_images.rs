//! AlwaysPullImages: no one runs an image that another was allowed to pull.

use serde_json::{Value, json};
use skiff_api::status::{FieldError, Status};

use super::{Plugin, Review};

const ALWAYS: &str = "Always";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

pub struct AlwaysPullImages;

#[async_trait::async_trait]
impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.writes("", "pods", "")
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.writes("", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        if review.old.is_none_or(|old| brings_images(pod, old)) {
            set(pod);
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), Status> {
        if !review.old.is_none_or(|old| brings_images(pod, old)) {
            return Ok(());
        }
        let errors: Vec<String> =
            wrong(pod).iter().map(|error| review.forbidden(pod, &error.to_string()).message).collect();
        match errors.as_slice() {
            [] => Ok(()),
            // Upstream gives several as an error without a code.
            [one] => Err(Status::new(403, "Forbidden", one)),
            many => Err(Status::new(403, "Forbidden", format!("[{}]", many.join(", ")))),
        }
    }
}

fn each<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    pod["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether it has an image that the old one has not.
fn brings_images(new: &Value, old: &Value) -> bool {
    let images = |pod| LISTS.iter().flat_map(move |list| each(pod, list)).map(|one| &one["image"]);
    images(new).any(|image| !images(old).any(|had| had == image))
}

fn set(pod: &mut Value) {
    for list in LISTS {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container["imagePullPolicy"] = ALWAYS.into();
        }
    }
    for volume in pod["spec"].get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if volume["image"].is_object() {
            volume["image"]["pullPolicy"] = json!(ALWAYS);
        }
    }
}

fn wrong(pod: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |path: String, policy: &Value| {
        if *policy != ALWAYS {
            let bad = policy.as_str().unwrap_or_default();
            errors.push(FieldError::not_supported(path, bad, &[ALWAYS]));
        }
    };
    for list in LISTS {
        for (at, container) in each(pod, list).iter().enumerate() {
            check(format!("spec.{list}[{at}].imagePullPolicy"), &container["imagePullPolicy"]);
        }
    }
    for (at, volume) in
        each(pod, "volumes").iter().enumerate().filter(|(_, volume)| volume["image"].is_object())
    {
        check(format!("spec.volumes[{at}].image.pullPolicy"), &volume["image"]["pullPolicy"]);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_pulled_whenever_it_is_run() {
        let mut pod = json!({"spec": {
            "containers": [{"image": "a", "imagePullPolicy": "Never"}],
            "initContainers": [{"image": "b"}],
            "volumes": [{"name": "v", "image": {"reference": "c"}}, {"name": "w", "emptyDir": {}}],
        }});
        let errors: Vec<String> = wrong(&pod).iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 3);
        assert_eq!(
            errors[1],
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Never\": supported values: \"Always\""
        );
        set(&mut pod);
        assert!(wrong(&pod).is_empty());
        assert!(!brings_images(&pod, &pod));
        let other = json!({"spec": {"containers": [{"image": "z"}]}});
        assert!(brings_images(&other, &pod));
    }
}
