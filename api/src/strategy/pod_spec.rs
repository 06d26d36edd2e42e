//! The rules of a pod's spec, for pods and for templates that make them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{PORT, list, text};
use crate::name;
use crate::quantity::Quantity;
use crate::status::FieldError;

/// What is wrong with a pod's spec.
pub fn validate(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let volumes = volumes(spec, path, &mut errors);
    let mut names = BTreeSet::new();
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list(spec, key).iter().enumerate() {
            let path = format!("{path}.{key}[{index}]");
            container_errors(container, &path, &volumes, &mut errors);
            let own = text(container, "name");
            if !own.is_empty() && !names.insert(own) {
                errors.push(FieldError::duplicate(format!("{path}.name"), own));
            }
        }
    }
    if list(spec, "containers").is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    for (field, check) in [
        ("nodeName", name::dns1123_subdomain as fn(&str) -> Vec<String>),
        ("serviceAccountName", name::dns1123_subdomain),
        ("hostname", name::dns1123_label),
        ("subdomain", name::dns1123_label),
    ] {
        let given = text(spec, field);
        if !given.is_empty() {
            errors.extend(
                check(given)
                    .into_iter()
                    .map(|why| FieldError::invalid(format!("{path}.{field}"), given, why)),
            );
        }
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let field = format!("{path}.terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(
            field,
            spec["terminationGracePeriodSeconds"].clone(),
            "must be greater than or equal to 0",
        ));
    }
    errors
}

fn volumes<'a>(spec: &'a Value, path: &str, errors: &mut Vec<FieldError>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let (path, own) = (format!("{path}.volumes[{index}]"), text(volume, "name"));
        if own.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            for why in name::dns1123_label(own) {
                errors.push(FieldError::invalid(format!("{path}.name"), own, why));
            }
            if !names.insert(own) {
                errors.push(FieldError::duplicate(format!("{path}.name"), own));
            }
        }
        let sources: Vec<&String> =
            volume.as_object().into_iter().flat_map(|map| map.keys()).filter(|key| *key != "name").collect();
        for extra in sources.iter().skip(1) {
            errors.push(FieldError::forbidden(
                format!("{path}.{extra}"),
                "may not specify more than 1 volume type",
            ));
        }
        for (source, field) in [("hostPath", "path"), ("secret", "secretName"), ("configMap", "name")] {
            if volume[source].is_object() && text(&volume[source], field).is_empty() {
                errors.push(FieldError::required(format!("{path}.{source}.{field}"), ""));
            }
        }
    }
    names
}

fn container_errors(container: &Value, path: &str, volumes: &BTreeSet<&str>, errors: &mut Vec<FieldError>) {
    let own = text(container, "name");
    if own.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    }
    let whys = if own.is_empty() { Vec::new() } else { name::dns1123_label(own) };
    errors.extend(whys.into_iter().map(|why| FieldError::invalid(format!("{path}.name"), own, why)));
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            format!("{path}.image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    ports(container, path, errors);
    environment(container, path, errors);
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let volume = text(mount, "name");
        if volume.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !volumes.contains(volume) {
            errors.push(FieldError::new(
                crate::status::Problem::NotFound,
                format!("{path}.name"),
                volume.into(),
                "",
            ));
        }
        if text(mount, "mountPath").is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[probe].is_object() {
            handler(&container[probe], &format!("{path}.{probe}"), errors);
            let positive = ["periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold"];
            for field in positive.iter().chain(&["initialDelaySeconds"]) {
                if container[probe][*field].as_i64().is_some_and(|n| n < 0) {
                    let field_path = format!("{path}.{probe}.{field}");
                    let bad = container[probe][*field].clone();
                    errors.push(FieldError::invalid(field_path, bad, "must be greater than or equal to 0"));
                }
            }
            let once = container[probe]["successThreshold"].as_i64().is_none_or(|n| n == 1);
            if probe != "readinessProbe" && !once {
                let field = format!("{path}.{probe}.successThreshold");
                errors.push(FieldError::invalid(
                    field,
                    container[probe]["successThreshold"].clone(),
                    "must be 1",
                ));
            }
        }
    }
    for hook in ["postStart", "preStop"] {
        if container["lifecycle"][hook].is_object() {
            handler(&container["lifecycle"][hook], &format!("{path}.lifecycle.{hook}"), errors);
        }
    }
    resources(&container["resources"], &format!("{path}.resources"), errors);
}

fn ports(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut names = BTreeSet::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        let own = text(port, "name");
        if !own.is_empty() {
            for why in name::port_name(own) {
                errors.push(FieldError::invalid(format!("{path}.name"), own, why));
            }
            if !names.insert(own) {
                errors.push(FieldError::duplicate(format!("{path}.name"), own));
            }
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            number if !(1..=65535).contains(&number) => {
                errors.push(FieldError::invalid(format!("{path}.containerPort"), number, PORT));
            }
            _ => {}
        }
        if let Some(number) = port["hostPort"].as_i64().filter(|n| *n != 0 && !(1..=65535).contains(n)) {
            errors.push(FieldError::invalid(format!("{path}.hostPort"), number, PORT));
        }
    }
}

fn environment(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = format!("{path}.env[{index}]");
        if text(variable, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if text(variable, "name").contains('=') {
            let bad = text(variable, "name");
            errors.push(FieldError::invalid(
                format!("{path}.name"),
                bad,
                "a valid environment variable name must consist only of printable ASCII characters other than '='",
            ));
        }
        let Some(source) = variable.get("valueFrom").and_then(Value::as_object) else { continue };
        if !text(variable, "value").is_empty() && !source.is_empty() {
            errors.push(FieldError::invalid(
                format!("{path}.valueFrom"),
                "",
                "may not be specified when `value` is not empty",
            ));
        }
        if source.is_empty() {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(format!("{path}.valueFrom"), "", why));
        } else if source.len() > 1 {
            let why = "may not have more than one field specified at a time";
            errors.push(FieldError::invalid(format!("{path}.valueFrom"), "", why));
        }
        for reference in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(selector) = source.get(reference) {
                for field in ["name", "key"] {
                    if text(selector, field).is_empty() {
                        errors
                            .push(FieldError::required(format!("{path}.valueFrom.{reference}.{field}"), ""));
                    }
                }
            }
        }
    }
}

fn handler(handler: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let given: Vec<&&str> = kinds.iter().filter(|kind| handler[**kind].is_object()).collect();
    match given[..] {
        [] => errors.push(FieldError::required(path, "must specify a handler type")),
        [_] => {}
        [_, second, ..] => {
            errors.push(FieldError::forbidden(
                format!("{path}.{second}"),
                "may not specify more than 1 handler type",
            ));
        }
    }
    if handler["exec"].is_object() && list(&handler["exec"], "command").is_empty() {
        errors.push(FieldError::required(format!("{path}.exec.command"), ""));
    }
    for kind in ["httpGet", "tcpSocket"] {
        let port = &handler[kind]["port"];
        if handler[kind].is_object() {
            match port {
                Value::String(given) => {
                    for why in name::port_name(given) {
                        errors.push(FieldError::invalid(format!("{path}.{kind}.port"), given.as_str(), why));
                    }
                }
                port if !port.as_i64().is_some_and(|n| (1..=65535).contains(&n)) => {
                    errors.push(FieldError::invalid(format!("{path}.{kind}.port"), port.clone(), PORT));
                }
                _ => {}
            }
        }
    }
}

fn resources(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for of in ["limits", "requests"] {
        for (resource, amount) in resources[of].as_object().into_iter().flatten() {
            let field = format!("{path}.{of}[{resource}]");
            let Some(quantity) = amount.as_str().and_then(Quantity::parse) else { continue };
            if quantity.is_negative() {
                errors.push(FieldError::invalid(
                    field.clone(),
                    amount.clone(),
                    "must be greater than or equal to 0",
                ));
            }
            let known = matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || resource.starts_with("hugepages-");
            if !known && !resource.contains('/') {
                let why = "must be a standard resource type or fully qualified";
                errors.push(FieldError::invalid(field, resource.as_str(), why));
            }
        }
    }
    for (resource, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = resources["limits"].get(resource);
        let (Some(asked), Some(most)) = (
            request.as_str().and_then(Quantity::parse),
            limit.and_then(Value::as_str).and_then(Quantity::parse),
        ) else {
            continue;
        };
        if asked > most {
            let why = format!("must be less than or equal to {resource} limit of {most}");
            errors.push(FieldError::invalid(format!("{path}.requests"), request.clone(), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mistakes_are_named_by_their_path() {
        let good = json!({"name": "c", "image": "i"});
        for (spec, expected) in [
            (json!({"containers": [good]}), None),
            (json!({"containers": null}), Some("spec.containers: Required value")),
            (json!({"containers": [{"name": "c"}]}), Some("spec.containers[0].image: Required value")),
            (json!({"containers": [good, good]}), Some("spec.containers[1].name: Duplicate value: \"c\"")),
            (
                json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}]}),
                Some(
                    "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                ),
            ),
            (
                json!({"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/"}]}]}),
                Some("spec.containers[0].volumeMounts[0].name: Not found: \"v\""),
            ),
            (
                json!({"containers": [{"name": "c", "image": "i", "resources":
                {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}),
                Some(
                    "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
                ),
            ),
            (
                json!({"containers": [{"name": "c", "image": "i", "livenessProbe": {}}]}),
                Some("spec.containers[0].livenessProbe: Required value: must specify a handler type"),
            ),
        ] {
            let errors = validate(&spec, "spec");
            assert_eq!(errors.first().map(ToString::to_string).as_deref(), expected, "{spec}");
        }
    }
}
