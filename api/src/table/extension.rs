//! The cells of what extends the API: certificate requests, policies, API services.

use super::cells::{condition, text};
use crate::selector::LabelSelector;
use crate::{Object, duration};

/// `Approved,Issued`.
pub fn certificate(request: &Object) -> String {
    let has = |of: &str| condition(request, of).is_some();
    let mut status = match () {
        () if has("Denied") => "Denied",
        () if has("Approved") => "Approved",
        () => "Pending",
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !text(&request["status"]["certificate"]).is_empty() {
        status.push_str(",Issued");
    }
    status
}

/// How long a certificate is asked for.
pub fn requested(request: &Object) -> String {
    request["spec"]["expirationSeconds"].as_i64().map_or("<none>".into(), duration::human)
}

/// `v1/ConfigMap`: what a policy takes its parameters from.
pub fn param_kind(policy: &Object) -> String {
    let kind = &policy["spec"]["paramKind"];
    if kind.is_null() {
        "<unset>".into()
    } else {
        format!("{}/{}", text(&kind["apiVersion"]), text(&kind["kind"]))
    }
}

/// The parameters that a binding names or selects.
pub fn param_ref(binding: &Object) -> String {
    let reference = &binding["spec"]["paramRef"];
    let (namespace, name) = (text(&reference["namespace"]), text(&reference["name"]));
    match (name.is_empty(), namespace.is_empty()) {
        (false, false) => format!("{namespace}/{name}"),
        (false, true) => format!("*/{name}"),
        (true, _) if reference["selector"].is_object() => {
            LabelSelector::from_object(&reference["selector"]).map(|s| s.to_string()).unwrap_or_default()
        }
        (true, _) => "<unset>".into(),
    }
}
