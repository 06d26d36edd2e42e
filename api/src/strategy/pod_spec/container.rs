//! One container within its pod. Matched to `validateContainerCommon` and its neighbours.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{list, text};
use super::{Pod, resources};
use crate::name;
use crate::status::{FieldError, Problem};

const DOWNWARD: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// What an ephemeral container may have none of.
const NOT_EPHEMERAL: [&str; 7] = [
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resizePolicy",
    "restartPolicyRules",
];

pub(super) fn check(pod: &Pod<'_>, key: &str, container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    ports(container, at, errors);
    environment(container, at, errors);
    mounts(pod, container, at, errors);
    devices(pod, container, at, errors);
    resources::check(pod.spec, &container["resources"], &format!("{at}.resources"), errors);
    security(pod, container, at, errors);
    let sidecar = text(container, "restartPolicy") == "Always";
    match key {
        "containers" => hooks(pod, container, at, errors),
        "initContainers" if sidecar => hooks(pod, container, at, errors),
        "initContainers" => {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container[field].is_object() {
                    let why = "may not be set for init containers without restartPolicy=Always";
                    errors.push(FieldError::forbidden(format!("{at}.{field}"), why));
                }
            }
        }
        _ => ephemeral(pod, container, at, errors),
    }
}

fn ephemeral(pod: &Pod<'_>, container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let why = "cannot be set for an Ephemeral Container";
    for field in NOT_EPHEMERAL {
        if !crate::walk::is_zero(&container[field]) {
            errors.push(FieldError::forbidden(format!("{at}.{field}"), why));
        }
    }
    if !crate::walk::is_zero(&container["resources"]) {
        errors.push(FieldError::forbidden(format!("{at}.resources"), why));
    }
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        for field in ["subPath", "subPathExpr"] {
            if !text(mount, field).is_empty() {
                errors.push(FieldError::forbidden(format!("{at}.volumeMounts[{index}].{field}"), why));
            }
        }
    }
    let target = text(container, "targetContainerName");
    let known = ["containers", "initContainers"].iter().flat_map(|key| list(pod.spec, key));
    if !target.is_empty() && !known.into_iter().any(|other| text(other, "name") == target) {
        errors.push(FieldError::new(
            Problem::NotFound,
            format!("{at}.targetContainerName"),
            target.into(),
            "",
        ));
    }
}

fn hooks(pod: &Pod<'_>, container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for probe in ["livenessProbe", "startupProbe"] {
        let threshold = &container[probe]["successThreshold"];
        if threshold.as_i64().is_some_and(|count| count != 1) {
            errors.push(FieldError::invalid(
                format!("{at}.{probe}.successThreshold"),
                threshold.clone(),
                "must be 1",
            ));
        }
    }
    let grace = &container["readinessProbe"]["terminationGracePeriodSeconds"];
    if !grace.is_null() {
        let field = format!("{at}.readinessProbe.terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(field, grace.clone(), "must not be set for readinessProbes"));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        headers(&container[probe], &format!("{at}.{probe}"), errors);
    }
    let Some(grace) = pod.spec["terminationGracePeriodSeconds"].as_i64() else { return };
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        headers(handler, &format!("{at}.lifecycle.{hook}"), errors);
        if let Some(seconds) = handler["sleep"]["seconds"].as_i64().filter(|s| !(0..=grace).contains(s)) {
            let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
            errors.push(FieldError::invalid(format!("{at}.lifecycle.{hook}.sleep"), seconds, why));
        }
    }
}

/// Headers are told at the list and not at their own place.
fn headers(handler: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for header in list(&handler["httpGet"], "httpHeaders") {
        for why in crate::rules::reasons("header", &header["name"]) {
            let field = format!("{at}.httpGet.httpHeaders");
            errors.push(FieldError::invalid(field, text(header, "name"), why));
        }
    }
}

fn ports(container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let mut names = BTreeSet::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let (at, own) = (format!("{at}.ports[{index}]"), text(port, "name"));
        if name::port_name(own).is_empty() && !own.is_empty() && !names.insert(own) {
            errors.push(FieldError::duplicate(format!("{at}.name"), own));
        }
        if let Some(number) = port["hostPort"].as_i64().filter(|n| *n != 0 && !(1..=65535).contains(n)) {
            errors.push(FieldError::invalid(format!("{at}.hostPort"), number, super::super::PORT));
        }
    }
}

/// One port of the host is for one container; in the host's network it is the container's own.
pub(super) fn host_ports(pod: &Pod<'_>, errors: &mut Vec<FieldError>) {
    let mut taken = BTreeSet::new();
    for (c, container) in list(pod.spec, "containers").iter().enumerate() {
        for (p, port) in list(container, "ports").iter().enumerate() {
            let at = format!("{}.containers[{c}].ports[{p}].hostPort", pod.path);
            let number = port["hostPort"].as_i64().unwrap_or(0);
            let shown = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if number != 0 && !taken.insert(shown.clone()) {
                errors.push(FieldError::duplicate(&at, shown));
            }
            let differs = number != 0 && port["hostPort"] != port["containerPort"];
            if pod.spec["hostNetwork"] == true && differs {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(at, number, why));
            }
        }
    }
}

fn environment(container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for (index, variable) in list(container, "env").iter().enumerate() {
        let at = format!("{at}.env[{index}].valueFrom");
        let Some(source) = variable.get("valueFrom").and_then(Value::as_object) else { continue };
        let why = match source.values().filter(|value| !value.is_null()).count() {
            0 => {
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                 `fileKeyRef`"
            }
            _ if !text(variable, "value").is_empty() => "may not be specified when `value` is not empty",
            1 => "",
            _ => "may not have more than one field specified at a time",
        };
        if !why.is_empty() {
            errors.push(FieldError::invalid(&at, "", why));
        }
        // A name that is missing is told as one that is malformed.
        for key in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(selector) = source.get(key) {
                let own = text(selector, "name");
                let whys = name::dns1123_subdomain(own).into_iter();
                errors.extend(whys.map(|why| FieldError::invalid(format!("{at}.{key}.name"), own, why)));
            }
        }
        if let Some(field) = source.get("fieldRef") {
            field_path(field, &format!("{at}.fieldRef"), errors);
        }
        if let Some(field) = source.get("resourceFieldRef") {
            let (own, at) = (text(field, "resource"), format!("{at}.resourceFieldRef.resource"));
            let huge =
                ["limits.hugepages-", "requests.hugepages-"].iter().any(|start| own.starts_with(start));
            if own.is_empty() {
                errors.push(FieldError::required(at, ""));
            } else if !RESOURCES.contains(&own) && !huge {
                errors.push(FieldError::not_supported(at, own, &RESOURCES));
            }
        }
    }
    for source in list(container, "envFrom") {
        let given = ["configMapRef", "secretRef"].iter().filter(|key| source[**key].is_object()).count();
        let why = match given {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(FieldError::invalid(format!("{at}.envFrom"), "", why));
    }
}

fn field_path(field: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let own = text(field, "fieldPath");
    if own.is_empty() || own == "spec.host" {
        return;
    }
    if let Some((path, rest)) = own.split_once("['") {
        let key = rest.strip_suffix("']").unwrap_or(rest);
        match path {
            "metadata.labels" | "metadata.annotations" => errors.extend(
                name::qualified(&if path == "metadata.labels" { key.to_owned() } else { key.to_lowercase() })
                    .into_iter()
                    .map(|why| FieldError::invalid(at, key, why)),
            ),
            _ => errors.push(FieldError::invalid(
                format!("{at}.fieldPath"),
                own,
                format!("error converting fieldPath: field label does not support subscript: {path}"),
            )),
        }
        return;
    }
    // What a pod has, but not for its environment.
    let pod = [
        "metadata.labels",
        "metadata.annotations",
        "spec.restartPolicy",
        "spec.schedulerName",
        "status.phase",
    ];
    if pod.contains(&own) {
        errors.push(FieldError::not_supported(format!("{at}.fieldPath"), own, &DOWNWARD));
    } else if !DOWNWARD.contains(&own) {
        let why = format!("error converting fieldPath: field label not supported: {own}");
        errors.push(FieldError::invalid(format!("{at}.fieldPath"), own, why));
    }
}

fn mounts(pod: &Pod<'_>, container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let list_path = format!("{at}.volumeMounts");
    let mut paths = BTreeSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let (at, volume, path) =
            (format!("{list_path}[{index}]"), text(mount, "name"), text(mount, "mountPath"));
        if !pod.volumes.contains_key(volume) {
            errors.push(FieldError::new(Problem::NotFound, format!("{at}.name"), volume.into(), ""));
        }
        if !paths.insert(path) {
            errors.push(FieldError::invalid(format!("{at}.mountPath"), path, "must be unique"));
        }
        for device in list(container, "volumeDevices") {
            if text(device, "name") == volume {
                let why = "must not already exist in volumeDevices";
                errors.push(FieldError::invalid(format!("{at}.name"), volume, why));
            }
            if text(device, "devicePath") == path {
                let why = "must not already exist as a path in volumeDevices";
                errors.push(FieldError::invalid(format!("{at}.mountPath"), path, why));
            }
        }
        // Upstream tells these at the list.
        for field in ["subPath", "subPathExpr"] {
            let whys = crate::rules::reasons("relative", &mount[field]).into_iter();
            errors.extend(
                whys.map(|why| FieldError::invalid(format!("{list_path}.{field}"), text(mount, field), why)),
            );
        }
        if !text(mount, "subPath").is_empty() && !text(mount, "subPathExpr").is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(format!("{at}.subPathExpr"), text(mount, "subPathExpr"), why));
        }
        let privileged = container["securityContext"]["privileged"] == true;
        if text(mount, "mountPropagation") == "Bidirectional" && !privileged {
            let why = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(FieldError::forbidden(format!("{list_path}.mountPropagation"), why));
        }
        if matches!(text(mount, "recursiveReadOnly"), "Enabled" | "IfPossible") && mount["readOnly"] != true {
            let field = format!("{list_path}.recursiveReadOnly");
            errors.push(FieldError::forbidden(field, "may only be specified when readOnly is true"));
        }
    }
}

fn devices(pod: &Pod<'_>, container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let at = format!("{at}.volumeDevices[{index}]");
        let (own, path) = (text(device, "name"), text(device, "devicePath"));
        match pod.volumes.get(own) {
            None => errors.push(FieldError::new(Problem::NotFound, format!("{at}.name"), own.into(), "")),
            Some(volume)
                if !volume["persistentVolumeClaim"].is_object() && !volume["ephemeral"].is_object() =>
            {
                let why =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(format!("{at}.name"), own, why));
            }
            Some(_) => {}
        }
        if !names.insert(own) {
            errors.push(FieldError::invalid(format!("{at}.name"), own, "must be unique"));
        }
        if path.split('/').any(|part| part == "..") {
            let why = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid(format!("{at}.devicePath"), path, why));
        } else if !paths.insert(path) {
            errors.push(FieldError::invalid(format!("{at}.devicePath"), path, "must be unique"));
        }
    }
}

fn security(pod: &Pod<'_>, container: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let context = &container["securityContext"];
    let at = format!("{at}.securityContext");
    if context["allowPrivilegeEscalation"] == false && context["privileged"] == true {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(&at, context.clone(), why));
    }
    let added = list(&context["capabilities"], "add");
    if context["allowPrivilegeEscalation"] == false && added.iter().any(|one| one == "CAP_SYS_ADMIN") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(&at, context.clone(), why));
    }
    if text(context, "procMount") == "Unmasked" && pod.spec["hostUsers"] != false {
        let why = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(format!("{at}.procMount"), "Unmasked", why));
    }
}
