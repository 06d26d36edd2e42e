//! APIServices. Matched to `kube-aggregator/pkg/apis/apiregistration/validation`.

use super::{Strategy, text};
use crate::status::FieldError;
use crate::{Object, meta, name};

/// The strategy.
pub struct ApiService;

impl Strategy for ApiService {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let (group, version) = (text(spec, "group"), text(spec, "version"));
        let mut errors = Vec::new();
        let wanted = format!("{version}.{group}");
        if meta::name(new) != wanted {
            let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
            errors.push(FieldError::invalid("metadata.name", meta::name(new), why));
        }
        if group.is_empty() && version != "v1" {
            let why = "only v1 may have an empty group and it better be legacy kube";
            errors.push(FieldError::required("spec.group", why));
        }
        if !group.is_empty() {
            let wrong = name::dns1123_subdomain(group).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid("spec.group", group, why)));
        }
        let wrong = name::dns1035_label(version).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid("spec.version", version, why)));
        for (key, most) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
            let given = spec[key].as_i64().unwrap_or(0);
            if !(1..=most).contains(&given) {
                let why = format!("must be positive and less than {most}");
                errors.push(FieldError::invalid(format!("spec.{key}"), given, why));
            }
        }
        let (bundle, skips) = (text(spec, "caBundle"), spec["insecureSkipTLSVerify"] == true);
        let service = &spec["service"];
        if !service.is_object() {
            if !bundle.is_empty() {
                let shown = format!("{} bytes", bundle.trim_end_matches('=').len() * 3 / 4);
                let why = "local APIServices may not have a caBundle";
                errors.push(FieldError::invalid("spec.caBundle", shown, why));
            }
            if skips {
                let why = "local APIServices may not have insecureSkipTLSVerify";
                errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, why));
            }
            return errors;
        }
        for key in ["namespace", "name"] {
            if text(service, key).is_empty() {
                errors.push(FieldError::required(format!("spec.service.{key}"), ""));
            }
        }
        let port = service["port"].as_i64().unwrap_or(443);
        if !(1..=65535).contains(&port) {
            let why = format!("port is not valid: {}", super::PORT);
            errors.push(FieldError::invalid("spec.service.port", port, why));
        }
        if skips && !bundle.is_empty() {
            let why = "may not be true if caBundle is present";
            errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, why));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(name: &str, spec: Value) -> Vec<String> {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        ApiService.validate(&object, None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_service_is_named_for_what_it_serves_and_is_verified_or_not() {
        let service = json!({"name": "a", "namespace": "b"});
        let good = json!({"group": "g.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1, "service": service});
        assert_eq!(said("v1.g.io", good.clone()), Vec::<String>::new());
        assert_eq!(
            said("v1", good.clone()),
            ["metadata.name: Invalid value: \"v1\": must be `spec.version+\".\"+spec.group`: \"v1.g.io\""]
        );
        let mut both = good.clone();
        both["insecureSkipTLSVerify"] = true.into();
        both["caBundle"] = "YQ==".into();
        assert_eq!(
            said("v1.g.io", both.clone()),
            ["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"]
        );
        both["service"] = Value::Null;
        both["groupPriorityMinimum"] = 0.into();
        assert_eq!(
            said("v1.g.io", both),
            [
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.caBundle: Invalid value: \"1 bytes\": local APIServices may not have a caBundle",
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ]
        );
    }
}
