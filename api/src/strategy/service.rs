//! Services: ports, types, addresses. Giving out addresses is allocation, not strategy.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{PORT, Strategy, list, text};
use crate::status::FieldError;
use crate::{Object, name};

/// The strategy of services.
pub struct Service;

impl Strategy for Service {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        let (sort, address) = (text(spec, "type"), text(spec, "clusterIP"));
        let headless = address == "None";
        if list(spec, "ports").is_empty() && !headless && sort != "ExternalName" {
            errors.push(FieldError::required("spec.ports", ""));
        }
        match sort {
            "ExternalName" => {
                let target = text(spec, "externalName").trim_end_matches('.').to_owned();
                if target.is_empty() {
                    errors.push(FieldError::required("spec.externalName", ""));
                }
                if !address.is_empty() {
                    let why = "may not be set when `type` is 'ExternalName'";
                    errors.push(FieldError::forbidden("spec.clusterIPs", why));
                }
            }
            "NodePort" | "LoadBalancer" if headless => {
                let why = format!("may not be set to 'None' for {sort} services");
                errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", why));
            }
            _ => {}
        }
        ports(spec, &mut errors);
        if let Some(old) = old {
            let before = text(&old["spec"], "clusterIP");
            let kept = sort == "ExternalName" || text(&old["spec"], "type") == "ExternalName";
            if !kept && !before.is_empty() && before != address {
                let now = spec["clusterIPs"].clone();
                errors.push(FieldError::invalid("spec.clusterIPs[0]", now, "may not change once set"));
            }
        }
        errors
    }
}

fn ports(spec: &Value, errors: &mut Vec<FieldError>) {
    let ports = list(spec, "ports");
    let (mut names, mut numbers, mut nodes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let own = text(port, "name");
        if own.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !own.is_empty() {
            for why in name::dns1123_label(own) {
                errors.push(FieldError::invalid(format!("{path}.name"), own, why));
            }
            if !names.insert(own) {
                errors.push(FieldError::duplicate(format!("{path}.name"), own));
            }
        }
        let number = port["port"].as_i64().unwrap_or(0);
        if !(1..=65535).contains(&number) {
            errors.push(FieldError::invalid(format!("{path}.port"), number, PORT));
        }
        match &port["targetPort"] {
            Value::String(given) => {
                for why in name::port_name(given) {
                    errors.push(FieldError::invalid(format!("{path}.targetPort"), given.as_str(), why));
                }
            }
            target if target.as_i64().is_some_and(|n| !(1..=65535).contains(&n)) => {
                errors.push(FieldError::invalid(format!("{path}.targetPort"), target.clone(), PORT));
            }
            _ => {}
        }
        let protocol = text(port, "protocol");
        if !numbers.insert((protocol, number)) {
            let shown = serde_json::json!({"protocol": protocol, "port": number});
            errors.push(FieldError::duplicate(path.clone(), shown));
        }
        let node = port["nodePort"].as_i64().unwrap_or(0);
        if node != 0 && text(spec, "type") == "ClusterIP" {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(format!("{path}.nodePort"), why));
        } else if node != 0 && !nodes.insert((protocol, node)) {
            errors.push(FieldError::duplicate(format!("{path}.nodePort"), node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_checked() {
        for (ports, expected) in [
            (json!([{"port": 80, "protocol": "TCP", "targetPort": "http"}]), None),
            (json!([]), Some("spec.ports: Required value")),
            (
                json!([{"port": 0}]),
                Some("spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
            ),
            (json!([{"port": 1}, {"port": 2}]), Some("spec.ports[0].name: Required value")),
        ] {
            let errors = Service.validate(&json!({"spec": {"type": "ClusterIP", "ports": ports}}), None);
            assert_eq!(errors.first().map(ToString::to_string).as_deref(), expected, "{ports}");
        }
    }
}
