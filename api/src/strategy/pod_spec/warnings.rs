//! What a pod's spec may say and should not: upstream's warnings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::{list, text};
use crate::quantity::Quantity;

/// Volumes that are no more, and what is said of them.
const VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Labels of nodes that have other names now.
const LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

fn label(key: &str) -> Option<&'static str> {
    LABELS.iter().find(|(name, _)| *name == key).map(|(_, why)| *why)
}

/// What should be known of a spec at `path`.
pub fn of(spec: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    nodes(spec, path, &mut warnings);
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let found = VOLUMES.iter().filter(|(name, _)| volume[*name].is_object());
        warnings.extend(found.map(|(name, why)| {
            // Upstream's path has a letter that its field has not.
            let name = if *name == "storageos" { "storageOS" } else { name };
            format!("{path}.volumes[{index}].{name}: {why}")
        }));
    }
    twins(spec, path, "hostAliases", "ip", &mut warnings);
    twins(spec, path, "imagePullSecrets", "name", &mut warnings);
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            warnings.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
    fractions(&spec["overhead"], &format!("{path}.overhead"), &mut warnings);
    let containers: Vec<(String, &Value)> = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|key| {
            list(spec, key)
                .iter()
                .enumerate()
                .map(move |(index, container)| (format!("{path}.{key}[{index}]"), container))
        })
        .collect();
    for (at, container) in &containers {
        for side in ["limits", "requests"] {
            fractions(&container["resources"][side], &format!("{at}.resources.{side}"), &mut warnings);
        }
        variables(container, at, &mut warnings);
    }
    ports(&containers, &mut warnings);
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{path}.terminationGracePeriodSeconds: {why}"));
    }
    affinity(&spec["affinity"], &format!("{path}.affinity"), &mut warnings);
    warnings
}

const MATCHES_NONE: &str = "a null labelSelector results in matching no pod";

fn nodes(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for key in spec["nodeSelector"].as_object().into_iter().flatten().map(|(key, _)| key) {
        warnings.extend(label(key).map(|why| format!("{path}.nodeSelector[{key}]: {why}")));
    }
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let at = format!("{path}.topologySpreadConstraints[{index}]");
        let key = text(constraint, "topologyKey");
        warnings.extend(label(key).map(|why| format!("{at}.topologyKey: {key} is {why}")));
        if constraint["labelSelector"].is_null() {
            warnings.push(format!("{at}.labelSelector: {MATCHES_NONE}"));
        }
    }
}

fn twins(spec: &Value, path: &str, field: &str, key: &str, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, item) in list(spec, field).iter().enumerate() {
        if !seen.insert(text(item, key)) {
            warnings.push(format!("{path}.{field}[{index}].{key}: duplicate {key} {:?}", text(item, key)));
        }
    }
}

fn fractions(amounts: &Value, path: &str, warnings: &mut Vec<String>) {
    for resource in ["memory", "ephemeral-storage"] {
        let Some(amount) = amounts[resource].as_str() else { continue };
        if Quantity::parse(amount).is_some_and(|quantity| quantity.millis() % 1000 != 0) {
            warnings.push(format!(
                "{path}[{resource}]: fractional byte value {amount:?} is invalid, must be an integer"
            ));
        }
    }
}

/// A variable that is set again without use of its former value hides it.
fn variables(container: &Value, at: &str, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        if !variable["valueFrom"].is_null() || value == reference || !value.contains(&reference) {
            warnings.push(format!(
                "{at}.env[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
}

fn ports(containers: &[(String, &Value)], warnings: &mut Vec<String>) {
    let mut known: BTreeMap<String, Vec<(String, &Value)>> = BTreeMap::new();
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut same_names = Vec::new();
    for (at, container) in containers {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let path = format!("{at}.ports[{index}]");
            let number = |port: &Value, key: &str| port[key].as_i64().unwrap_or(0);
            let key = format!("{}/{}", number(port, "containerPort"), text(port, "protocol"));
            for (other_path, other) in known.get(&key).into_iter().flatten() {
                let (host, other_host) = (number(port, "hostPort"), number(other, "hostPort"));
                let (ip, other_ip) = (text(port, "hostIP"), text(other, "hostIP"));
                if ip == other_ip && host == other_host {
                    warnings.push(format!("{path}: duplicate port definition with {other_path}"));
                } else if host == 0 || other_host == 0 {
                    warnings.push(format!("{path}: overlapping port definition with {other_path}"));
                } else if host == other_host && ip.is_empty() != other_ip.is_empty() {
                    warnings.push(format!("{path}: dangerously ambiguous port definition with {other_path}"));
                }
            }
            known.entry(key).or_default().push((path.clone(), port));
            let name = text(port, "name");
            match names.get(name) {
                Some(other) if !name.is_empty() => same_names.push(format!(
                    "{path}: duplicate port name {name:?} with {other}, services and probes that select ports by \
                     name will use {other}"
                )),
                _ => {
                    names.insert(name, path);
                }
            }
        }
    }
    warnings.extend(same_names);
}

fn affinity(affinity: &Value, path: &str, warnings: &mut Vec<String>) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    for sort in ["podAffinity", "podAntiAffinity"] {
        for (index, term) in list(&affinity[sort], REQUIRED).iter().enumerate() {
            if term["labelSelector"].is_null() {
                warnings.push(format!("{path}.{sort}.{REQUIRED}[{index}].labelSelector: {MATCHES_NONE}"));
            }
        }
        for (index, term) in list(&affinity[sort], PREFERRED).iter().enumerate() {
            if term["podAffinityTerm"]["labelSelector"].is_null() {
                let at = format!("{path}.{sort}.{PREFERRED}[{index}].podAffinityTerm.labelSelector");
                warnings.push(format!("{at}: {MATCHES_NONE}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_allowed_and_odd_is_told() {
        for (spec, expected) in [
            (
                json!({"volumes": [{"rbd": {}}]}),
                "s.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
            ),
            (
                json!({"topologySpreadConstraints": [{"topologyKey": "z"}]}),
                "s.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            ),
            (
                json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]}),
                "s.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            ),
            (
                json!({"containers": [{"resources": {"limits": {"memory": "100m"}}}]}),
                "s.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            ),
            (
                json!({"containers": [{"ports": [{"containerPort": 1}]}, {"ports": [{"containerPort": 1, "hostPort": 2}]}]}),
                "s.containers[1].ports[0]: overlapping port definition with s.containers[0].ports[0]",
            ),
            (
                json!({"nodeSelector": {"beta.kubernetes.io/os": "x"}}),
                "s.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ),
        ] {
            assert_eq!(of(&spec, "s"), [expected], "{spec}");
        }
        let fine =
            json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}]});
        assert_eq!(of(&fine, "s"), Vec::<String>::new());
    }
}
