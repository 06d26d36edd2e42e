//! Defaults that depend on other fields, by definition. Matched to upstream's `defaults.go`.

mod core;
mod workload;

pub use workload::TEMPLATE_GENERATION;

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// What completes an object of that definition, beside the table of plain defaults.
pub fn of(definition: &str) -> Option<fn(&mut Object)> {
    let name = definition.strip_prefix("io.k8s.api.")?;
    Some(match name {
        "core.v1.Container" | "core.v1.EphemeralContainer" => pull_policy,
        "core.v1.Pod" => pod,
        "core.v1.Volume" => volume,
        "core.v1.ServiceSpec" => service,
        "core.v1.Namespace" => namespace,
        "core.v1.NodeStatus" => node_status,
        "core.v1.ReplicationController" => controller,
        "apps.v1.DeploymentStrategy"
        | "apps.v1.DaemonSetUpdateStrategy"
        | "apps.v1.StatefulSetUpdateStrategy" => rolling,
        "apps.v1.DaemonSet" => workload::daemon,
        "apps.v1.StatefulSetSpec" => workload::claims,
        "batch.v1.Job" => workload::job,
        "autoscaling.v2.HorizontalPodAutoscalerSpec" => workload::metrics,
        "autoscaling.v2.HorizontalPodAutoscalerBehavior" => workload::behavior,
        "core.v1.LimitRangeItem" => limits,
        "core.v1.PersistentVolumeClaimSpec" => core::data_source,
        "core.v1.Secret" => core::plain_data,
        "resource.v1.ExactDeviceRequest" | "resource.v1.DeviceSubRequest" => core::device_count,
        "rbac.v1.RoleBinding" | "rbac.v1.ClusterRoleBinding" => subjects,
        "networking.v1.NetworkPolicySpec" => policy_types,
        _ => return None,
    })
}

fn set_if_absent(map: &mut Object, key: &str, value: impl Into<Value>) {
    let slot = map.entry(key).or_insert(Value::Null);
    if slot.is_null() || slot.as_str() == Some("") {
        *slot = value.into();
    }
}

fn text<'a>(map: &'a Object, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What a container's limits and requests are by default follows from the bounds.
fn limits(map: &mut Object) {
    if text(map, "type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let Some(given) = map.get(from).and_then(Value::as_object).cloned() else { continue };
        let slot = map.entry(to).or_insert(Value::Null);
        if !slot.is_object() {
            *slot = json!({});
        }
        if let Some(target) = slot.as_object_mut() {
            for (resource, amount) in given {
                target.entry(resource).or_insert(amount);
            }
        }
    }
}

/// The tag of an image; `latest` when it has neither tag nor digest.
fn tag(image: &str) -> &str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    match (last.split_once(':'), digest) {
        (Some((_, tag)), _) => tag,
        (None, Some(_)) => "",
        (None, None) => "latest",
    }
}

fn pull_policy(map: &mut Object) {
    let policy = if tag(text(map, "image")) == "latest" { "Always" } else { "IfNotPresent" };
    set_if_absent(map, "imagePullPolicy", policy);
}

fn pod(map: &mut Object) {
    let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            requests_from_limits(container);
            if host_network {
                for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                    if port["hostPort"].as_i64().unwrap_or(0) == 0 {
                        port["hostPort"] = port["containerPort"].clone();
                    }
                }
            }
        }
    }
    set_if_absent(spec, "enableServiceLinks", true);
}

fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else { return };
    if !container["resources"]["requests"].is_object() {
        container["resources"]["requests"] = Value::Object(Map::new());
    }
    if let Some(requests) = container["resources"]["requests"].as_object_mut() {
        for (resource, amount) in limits {
            requests.entry(resource).or_insert(amount);
        }
    }
}

fn volume(map: &mut Object) {
    if !map.iter().any(|(key, value)| key != "name" && !value.is_null()) {
        map.insert("emptyDir".into(), json!({}));
    }
    if let Some(image) = map.get_mut("image").and_then(Value::as_object_mut) {
        let policy = if tag(text(image, "reference")) == "latest" { "Always" } else { "IfNotPresent" };
        set_if_absent(image, "pullPolicy", policy);
    }
}

fn service(map: &mut Object) {
    for port in map.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let target = &port["targetPort"];
        if target.is_null() || target.as_i64() == Some(0) || target.as_str() == Some("") {
            let number = port["port"].clone();
            port["targetPort"] = if number.is_null() { 0.into() } else { number };
        }
    }
    match text(map, "sessionAffinity") {
        "None" => {
            map.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let given =
                map.get("sessionAffinityConfig").is_some_and(|c| !c["clientIP"]["timeoutSeconds"].is_null());
            if !given {
                map.insert("sessionAffinityConfig".into(), json!({"clientIP": {"timeoutSeconds": 10800}}));
            }
        }
        _ => {}
    }
    let sort = text(map, "type").to_owned();
    let external = map.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if matches!(sort.as_str(), "NodePort" | "LoadBalancer") || (sort == "ClusterIP" && external) {
        set_if_absent(map, "externalTrafficPolicy", "Cluster");
    }
    if sort != "ExternalName" {
        set_if_absent(map, "internalTrafficPolicy", "Cluster");
    }
    if sort == "LoadBalancer" {
        set_if_absent(map, "allocateLoadBalancerNodePorts", true);
    }
}

fn namespace(map: &mut Object) {
    let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let name = text(metadata, "name").to_owned();
    if name.is_empty() {
        return;
    }
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
}

fn node_status(map: &mut Object) {
    if let Some(capacity) = map.get("capacity").filter(|capacity| !capacity.is_null()).cloned() {
        set_if_absent(map, "allocatable", capacity);
    }
}

fn controller(map: &mut Object) {
    let labels =
        map.get("spec").map(|spec| spec["template"]["metadata"]["labels"].clone()).unwrap_or_default();
    if labels.is_object() {
        for (part, key) in [("spec", "selector"), ("metadata", "labels")] {
            if let Some(part) = map.get_mut(part).and_then(Value::as_object_mut) {
                set_if_absent(part, key, labels.clone());
            }
        }
    }
}

fn rolling(map: &mut Object) {
    if text(map, "type") == "RollingUpdate" {
        set_if_absent(map, "rollingUpdate", json!({}));
    }
}

fn subjects(map: &mut Object) {
    for subject in map.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(subject) = subject.as_object_mut() {
            match text(subject, "kind") {
                "User" | "Group" => set_if_absent(subject, "apiGroup", "rbac.authorization.k8s.io"),
                _ => {}
            }
        }
    }
}

fn policy_types(map: &mut Object) {
    if map.get("policyTypes").is_none_or(|types| types.as_array().is_none_or(Vec::is_empty)) {
        let mut types = vec!["Ingress"];
        if map.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty()) {
            types.push("Egress");
        }
        map.insert("policyTypes".into(), types.into());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tags_are_found_beside_ports_and_digests() {
        for (image, expected) in [
            ("nginx", "latest"),
            ("nginx:1", "1"),
            ("host:5000/nginx", "latest"),
            ("host:5000/a/b:2", "2"),
            ("nginx@sha256:abc", ""),
            ("nginx:3@sha256:abc", "3"),
        ] {
            assert_eq!(super::tag(image), expected, "{image}");
        }
    }
}
