//! Where a pod may go, and how it resolves names: tolerations, affinity, spreading, DNS.

use serde_json::Value;

use super::super::{list, text};
use crate::name;
use crate::status::FieldError;

pub(super) fn check(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (_, value) in spec["nodeSelector"].as_object().into_iter().flatten() {
        let own = value.as_str().unwrap_or_default();
        let whys = name::label_value(own).into_iter();
        errors.extend(whys.map(|why| FieldError::invalid(format!("{path}.nodeSelector"), own, why)));
    }
    tolerations(spec, path, errors);
    spreading(spec, path, errors);
    dns(spec, path, errors);
    let affinity = &spec["affinity"];
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let nodes = format!("{path}.affinity.nodeAffinity");
    for (index, term) in list(&affinity["nodeAffinity"][required], "nodeSelectorTerms").iter().enumerate() {
        node_term(term, &format!("{nodes}.{required}.nodeSelectorTerms[{index}]"), true, errors);
    }
    for (index, term) in list(&affinity["nodeAffinity"], preferred).iter().enumerate() {
        node_term(&term["preference"], &format!("{nodes}.{preferred}[{index}].preference"), false, errors);
    }
    for sort in ["podAffinity", "podAntiAffinity"] {
        let at = format!("{path}.affinity.{sort}");
        for (index, term) in list(&affinity[sort], required).iter().enumerate() {
            pod_term(term, &format!("{at}.{required}[{index}]"), errors);
        }
        for (index, term) in list(&affinity[sort], preferred).iter().enumerate() {
            pod_term(&term["podAffinityTerm"], &format!("{at}.{preferred}[{index}].podAffinityTerm"), errors);
        }
    }
}

fn tolerations(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (index, toleration) in list(spec, "tolerations").iter().enumerate() {
        let at = format!("{path}.tolerations[{index}]");
        let (operator, effect, value) =
            (text(toleration, "operator"), text(toleration, "effect"), text(toleration, "value"));
        if text(toleration, "key").is_empty() && operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(format!("{at}.operator"), operator, why));
        }
        if toleration["tolerationSeconds"].is_number() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(format!("{at}.effect"), effect, why));
        }
        match operator {
            "" | "Equal" => {
                let whys = name::label_value(value);
                if !whys.is_empty() {
                    errors.push(FieldError::invalid(format!("{at}.operator"), value, whys.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(format!("{at}.operator"), value, why));
            }
            "Exists" => {}
            other => {
                errors.push(FieldError::not_supported(format!("{at}.operator"), other, &["Equal", "Exists"]));
            }
        }
    }
}

fn spreading(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let all = list(spec, "topologySpreadConstraints");
    for (index, one) in all.iter().enumerate() {
        let at = format!("{path}.topologySpreadConstraints[{index}]");
        let pair =
            |one: &Value| format!("{{{}, {}}}", text(one, "topologyKey"), text(one, "whenUnsatisfiable"));
        if all[index + 1..].iter().any(|other| pair(other) == pair(one)) {
            errors.push(FieldError::duplicate(format!("{at}.{{topologyKey, whenUnsatisfiable}}"), pair(one)));
        }
        let action = text(one, "whenUnsatisfiable");
        if one["minDomains"].is_number() && action != "DoNotSchedule" {
            let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            errors.push(FieldError::invalid(format!("{at}.minDomains"), one["minDomains"].clone(), why));
        }
        label_selector(&one["labelSelector"], &format!("{at}.labelSelector"), errors);
        if !list(one, "matchLabelKeys").is_empty() && !one["labelSelector"].is_object() {
            let why = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(format!("{at}.matchLabelKeys"), why));
        }
    }
}

fn dns(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (config, at) = (&spec["dnsConfig"], format!("{path}.dnsConfig"));
    let (servers, searches) = (list(config, "nameservers"), list(config, "searches"));
    if config.is_object() && text(spec, "dnsPolicy") == "None" && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(format!("{at}.nameservers"), why));
    }
    if servers.len() > 3 {
        let why = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(format!("{at}.nameservers"), config["nameservers"].clone(), why));
    }
    if searches.len() > 32 {
        let why = "must not have more than 32 search paths";
        errors.push(FieldError::invalid(format!("{at}.searches"), config["searches"].clone(), why));
    }
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(FieldError::required(format!("{at}.options[{index}]"), "must not be empty"));
        }
    }
}

/// A selector of labels as workloads and policies have it.
pub fn label_selector(selector: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let labels = serde_json::json!({"labels": selector["matchLabels"]});
    errors.extend(super::super::metadata::labels(&labels, &format!("{at}.matchLabels")));
    for (index, one) in list(selector, "matchExpressions").iter().enumerate() {
        requirement(one, &format!("{at}.matchExpressions[{index}]"), false, true, errors);
    }
}

fn requirement(one: &Value, at: &str, numbers: bool, values: bool, errors: &mut Vec<FieldError>) {
    let (operator, count) = (text(one, "operator"), list(one, "values").len());
    match operator {
        "In" | "NotIn" if count == 0 => errors.push(FieldError::required(
            format!("{at}.values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if count > 0 => errors.push(FieldError::forbidden(
            format!("{at}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Gt" | "Lt" if numbers && count != 1 => errors.push(FieldError::required(
            format!("{at}.values"),
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        "Gt" | "Lt" if numbers => {}
        other => {
            errors.push(FieldError::invalid(
                format!("{at}.operator"),
                other,
                "not a valid selector operator",
            ));
        }
    }
    let key = text(one, "key");
    errors.extend(
        name::qualified(key).into_iter().map(|why| FieldError::invalid(format!("{at}.key"), key, why)),
    );
    if values {
        for (index, value) in list(one, "values").iter().enumerate() {
            let own = value.as_str().unwrap_or_default();
            let whys = name::label_value(own).into_iter();
            errors.extend(whys.map(|why| FieldError::invalid(format!("{at}.values[{index}]"), own, why)));
        }
    }
}

fn node_term(term: &Value, at: &str, values: bool, errors: &mut Vec<FieldError>) {
    for (index, one) in list(term, "matchExpressions").iter().enumerate() {
        requirement(one, &format!("{at}.matchExpressions[{index}]"), true, values, errors);
    }
    for (index, one) in list(term, "matchFields").iter().enumerate() {
        let at = format!("{at}.matchFields[{index}]");
        if !matches!(text(one, "operator"), "In" | "NotIn") {
            let why = "not a valid selector operator";
            errors.push(FieldError::invalid(format!("{at}.operator"), text(one, "operator"), why));
        } else if list(one, "values").len() != 1 {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(format!("{at}.values"), why));
        }
        if text(one, "key") != "metadata.name" {
            let why = "not a valid field selector key";
            errors.push(FieldError::invalid(format!("{at}.key"), text(one, "key"), why));
        }
    }
}

fn pod_term(term: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for field in ["labelSelector", "namespaceSelector"] {
        label_selector(&term[field], &format!("{at}.{field}"), errors);
    }
    for namespace in list(term, "namespaces") {
        let own = namespace.as_str().unwrap_or_default();
        let whys = name::dns1123_label(own).into_iter();
        errors.extend(whys.map(|why| FieldError::invalid(format!("{at}.namespace"), own, why)));
    }
    // Told besides that it is missing.
    if text(term, "topologyKey").is_empty() {
        let whys = name::qualified("").into_iter();
        errors.extend(whys.map(|why| FieldError::invalid(format!("{at}.topologyKey"), "", why)));
    }
}
