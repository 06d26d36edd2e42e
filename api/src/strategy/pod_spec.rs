//! What the tables of rules cannot say of a pod's spec: fields that depend on each other. For pods and
//! for templates that make them. Matched to `ValidatePodSpec`.

mod container;
mod placement;
pub(super) mod resources;
pub(super) mod warnings;

pub(super) use placement::label_selector;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{list, text};
use crate::status::{FieldError, Problem};

/// What is wrong with a pod's spec beyond the tables.
pub fn validate(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let pod = Pod { spec, path, volumes: volumes(spec, path, &mut errors) };
    let mut names = BTreeSet::new();
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, container) in list(spec, key).iter().enumerate() {
            let at = format!("{path}.{key}[{index}]");
            let own = text(container, "name");
            if !own.is_empty() && !names.insert(own) {
                errors.push(FieldError::duplicate(format!("{at}.name"), own));
            }
            container::check(&pod, key, container, &at, &mut errors);
        }
    }
    container::host_ports(&pod, &mut errors);
    placement::check(spec, path, &mut errors);
    security(spec, path, &mut errors);
    gates(spec, path, &mut errors);
    errors
}

/// The spec that containers are checked in.
struct Pod<'a> {
    spec: &'a Value,
    path: &'a str,
    /// Volumes by name.
    volumes: BTreeMap<&'a str, &'a Value>,
}

fn volumes<'a>(spec: &'a Value, path: &str, errors: &mut Vec<FieldError>) -> BTreeMap<&'a str, &'a Value> {
    let mut known = BTreeMap::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let (at, own) = (format!("{path}.volumes[{index}]"), text(volume, "name"));
        if !own.is_empty() && known.insert(own, volume).is_some() {
            errors.push(FieldError::duplicate(format!("{at}.name"), own));
        }
        // Upstream tells what is wrong with a file at the source, not at the file.
        for file in list(&volume["downwardAPI"], "items") {
            downward(file, &format!("{at}.downwardAPI"), errors);
        }
        for (index, source) in list(&volume["projected"], "sources").iter().enumerate() {
            projected(source, &format!("{at}.projected.sources[{index}]"), errors);
        }
    }
    known
}

fn downward(file: &Value, at: &str, errors: &mut Vec<FieldError>) {
    match (file["fieldRef"].is_object(), file["resourceFieldRef"].is_object()) {
        (false, false) => {
            errors.push(FieldError::required(at, "one of fieldRef and resourceFieldRef is required"))
        }
        (true, true) => errors.push(FieldError::invalid(
            at,
            "resource",
            "fieldRef and resourceFieldRef can not be specified simultaneously",
        )),
        _ => {}
    }
}

fn projected(source: &Value, at: &str, errors: &mut Vec<FieldError>) {
    if source.as_object().is_some_and(|map| map.values().filter(|value| !value.is_null()).count() > 1) {
        errors.push(FieldError::forbidden(at, "may not specify more than 1 volume type per source"));
    }
    for kind in ["secret", "configMap"] {
        if source[kind].is_object() && text(&source[kind], "name").is_empty() {
            errors.push(FieldError::required(format!("{at}.{kind}.name"), ""));
        }
    }
    if let Some(seconds) = source["serviceAccountToken"]["expirationSeconds"].as_i64() {
        let field = format!("{at}.serviceAccountToken.expirationSeconds");
        if seconds < 600 {
            errors.push(FieldError::invalid(
                field,
                seconds,
                "may not specify a duration less than 10 minutes",
            ));
        } else if seconds > 1 << 32 {
            errors.push(FieldError::invalid(
                field,
                seconds,
                "may not specify a duration larger than 2^32 seconds",
            ));
        }
    }
}

fn security(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(format!("{path}.securityContext.shareProcessNamespace"), true, why));
    }
    if spec["hostUsers"] == false {
        for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
        {
            if spec[field] == true {
                errors.push(FieldError::forbidden(format!("{path}.{shown}"), "when `hostUsers` is false"));
            }
        }
    }
    for (index, sysctl) in list(&spec["securityContext"], "sysctls").iter().enumerate() {
        let own = text(sysctl, "name").replace('/', ".");
        let field = format!("{path}.securityContext.sysctls[{index}].name");
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|start| own.starts_with(start))
            || own == "kernel.sem";
        if own.starts_with("net.") && spec["hostNetwork"] == true {
            let why = "may not be specified when 'hostNetwork' is true";
            errors.push(FieldError::invalid(field, text(sysctl, "name"), why));
        } else if ipc && spec["hostIPC"] == true {
            let why = "may not be specified when 'hostIPC' is true";
            errors.push(FieldError::invalid(field, text(sysctl, "name"), why));
        }
    }
    let os = text(&spec["os"], "name");
    if !os.is_empty() && !matches!(os, "linux" | "windows") {
        errors.push(FieldError::not_supported(format!("{path}.os"), os, &["linux", "windows"]));
    }
    if os == "linux" && spec["securityContext"]["windowsOptions"].is_object() {
        let field = format!("{path}.securityContext.windowsOptions");
        errors.push(FieldError::forbidden(field, "windows options cannot be set for a linux pod"));
    }
}

fn gates(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (own, at) = (text(gate, "name"), format!("{path}.schedulingGates[{index}]"));
        errors.extend(crate::name::qualified(own).into_iter().map(|why| FieldError::invalid(&at, own, why)));
        if !seen.insert(own) {
            errors.push(FieldError::duplicate(at, own));
        }
    }
    for (index, claim) in list(spec, "resourceClaims").iter().enumerate() {
        let at = format!("{path}.resourceClaims[{index}]");
        let given = ["resourceClaimName", "resourceClaimTemplateName"].map(|field| claim[field].is_string());
        let why = match given {
            [false, false] => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            [true, true] => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
            _ => continue,
        };
        errors.push(FieldError::new(Problem::Invalid, at, claim.clone(), why));
    }
}
