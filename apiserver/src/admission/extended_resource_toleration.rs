//! ExtendedResourceToleration: who asks for a device tolerates that nodes are kept for those who do.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skiff_api::resources;
use skiff_api::status::Status;

use super::{Plugin, Review};

pub struct ExtendedResourceToleration;

#[async_trait::async_trait]
impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.writes("", "pods", "")
    }

    async fn mutate(&self, _review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        tolerate(pod);
        Ok(())
    }
}

fn tolerate(pod: &mut Value) {
    let lists = ["containers", "initContainers"].into_iter();
    let containers = lists.filter_map(|list| pod["spec"][list].as_array()).flatten();
    let requests =
        containers.filter_map(|container| container["resources"]["requests"].as_object()).flatten();
    let devices: BTreeSet<String> =
        requests.map(|(name, _)| name.clone()).filter(|name| resources::is_extended(name)).collect();
    if devices.is_empty() {
        return;
    }
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for device in devices {
        let wanted = json!({"key": device, "operator": "Exists", "effect": "NoSchedule"});
        let same = |one: &Value| {
            let field = |name: &str| {
                one[name].as_str().unwrap_or_default() == wanted[name].as_str().unwrap_or_default()
            };
            ["key", "operator", "effect", "value"].into_iter().all(field)
        };
        match tolerations.iter_mut().find(|one| same(one)) {
            Some(old) => *old = wanted,
            None => tolerations.push(wanted),
        }
    }
    pod["spec"]["tolerations"] = tolerations.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_tolerated_once() {
        let mut pod = json!({"spec": {"containers": [
            {"resources": {"requests": {"cpu": "1", "example.com/b": "1", "example.com/a": "1"}}},
        ]}});
        tolerate(&mut pod);
        tolerate(&mut pod);
        let keys: Vec<_> =
            pod["spec"]["tolerations"].as_array().unwrap().iter().map(|one| one["key"].clone()).collect();
        assert_eq!(keys, ["example.com/a", "example.com/b"]);
    }
}
