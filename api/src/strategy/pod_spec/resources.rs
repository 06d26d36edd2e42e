//! Requests and limits. Matched to `validateResourceRequirements`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{list, text};
use crate::name;
use crate::quantity::Quantity;
use crate::status::{FieldError, Problem};

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

pub(super) fn check(spec: &Value, resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for of in ["limits", "requests"] {
        for (resource, amount) in resources[of].as_object().into_iter().flatten() {
            let at = format!("{path}.{of}[{resource}]");
            container_resource(resource, &at, errors);
            let Some(quantity) = amount.as_str().and_then(Quantity::parse) else { continue };
            if quantity.is_negative() {
                let why = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(&at, amount.clone(), why));
            }
            if !shared(resource) && quantity.millis() % 1000 != 0 {
                errors.push(FieldError::invalid(&at, amount.clone(), "must be an integer"));
            }
        }
    }
    for (resource, request) in resources["requests"].as_object().into_iter().flatten() {
        let parsed = |value: &Value| value.as_str().and_then(Quantity::parse);
        let at = format!("{path}.requests");
        match (resources["limits"].get(resource), shared(resource)) {
            (Some(limit), shared) => {
                let (Some(asked), Some(most)) = (parsed(request), parsed(limit)) else { continue };
                if asked != most && !shared {
                    let why = format!("must be equal to {resource} limit of {most}");
                    errors.push(FieldError::invalid(at, request.clone(), why));
                } else if asked > most {
                    let why = format!("must be less than or equal to {resource} limit of {most}");
                    errors.push(FieldError::invalid(at, request.clone(), why));
                }
            }
            (None, false) => {
                let why = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(format!("{path}.limits"), why));
            }
            (None, true) => {}
        }
    }
    claims(spec, resources, path, errors);
}

/// Whether more may be given out than there is.
fn shared(resource: &str) -> bool {
    !resource.starts_with("hugepages-") && (!resource.contains('/') || resource.contains("kubernetes.io/"))
}

/// What containers may ask for.
pub(in crate::strategy) fn container_resource(resource: &str, at: &str, errors: &mut Vec<FieldError>) {
    let whys = name::qualified(resource);
    if !whys.is_empty() {
        errors.extend(whys.into_iter().map(|why| FieldError::invalid(at, resource, why)));
        return;
    }
    let known = STANDARD.contains(&resource) || resource.starts_with("hugepages-");
    if !resource.contains('/') && !known {
        let standard = ["storage", "pods", "services", "secrets", "configmaps", "persistentvolumeclaims"];
        if !standard.contains(&resource) {
            let why = "must be a standard resource type or fully qualified";
            errors.push(FieldError::invalid(at, resource, why));
        }
        errors.push(FieldError::invalid(at, resource, "must be a standard resource for containers"));
    } else if resource.starts_with("requests.") && resource.contains('/') {
        errors.push(FieldError::invalid(at, resource, "doesn't follow extended resource name standard"));
    }
}

fn claims(spec: &Value, resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let known: BTreeSet<&str> =
        list(spec, "resourceClaims").iter().map(|claim| text(claim, "name")).collect();
    for (index, claim) in list(resources, "claims").iter().enumerate() {
        let (own, at) = (text(claim, "name"), format!("{path}.claims[{index}]"));
        if own.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if !known.contains(own) {
            let names: Vec<&str> = known.iter().copied().collect();
            let why =
                if names.is_empty() { " which is empty".into() } else { format!(": {}", names.join(", ")) };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{why}");
            errors.push(FieldError::new(Problem::NotFound, at, own.into(), detail));
        }
    }
}
