//! Whether an extension API server can be reached: the condition `Available`, in upstream's words
//! (`kube-aggregator/pkg/controllers/status`).

use serde_json::{Value, json};

use super::service::ApiService;
use crate::backend::{Place, resolve};
use crate::cache::Cache;

/// A status, a reason and a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub available: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Self {
        Self { available: false, reason, message }
    }

    /// This server serves it.
    pub fn local() -> Self {
        Self { available: true, reason: "Local", message: "Local APIServices are always available".into() }
    }

    /// It answered.
    pub fn passed() -> Self {
        Self { available: true, reason: "Passed", message: "all checks passed".into() }
    }

    /// It did not, or not well.
    pub fn failed(url: &str, why: &str) -> Self {
        Self::no("FailedDiscoveryCheck", format!("failing or missing response from {url}: {why}"))
    }
}

/// What keeps a server from being asked at all, or its endpoints.
pub fn endpoints(cache: &Cache, service: &ApiService) -> Result<Vec<std::net::SocketAddr>, Verdict> {
    let Some(Place::Service { namespace, name, port }) =
        service.backend.as_ref().map(|backend| &backend.place)
    else {
        return Ok(Vec::new());
    };
    let found = cache
        .find("", "services")
        .and_then(|services| services.get(namespace, name).map(|item| item.object(services.kind(), "v1")));
    let Some(object) = found else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return Err(Verdict::no("ServiceNotFound", message));
    };
    if !matches!(object["spec"]["type"].as_str(), None | Some("ClusterIP" | "NodePort" | "LoadBalancer")) {
        return Ok(Vec::new());
    }
    let ports = object["spec"]["ports"].as_array();
    let Some(wanted) = ports.into_iter().flatten().find(|one| one["port"] == *port) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Err(Verdict::no("ServicePortError", message));
    };
    let port_name = wanted["name"].as_str().unwrap_or_default();
    if !resolve::has_slices(cache, namespace, name) {
        let message = format!("cannot find endpoints for service/{name} in {namespace:?}");
        return Err(Verdict::no("EndpointsNotFound", message));
    }
    let mut found = resolve::endpoints(cache, namespace, name, port_name);
    if found.is_empty() {
        let message = format!(
            "endpoints for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return Err(Verdict::no("MissingEndpoints", message));
    }
    found.sort();
    Ok(found)
}

/// The status with this verdict; nothing if it says so already.
pub fn told(status: &Value, verdict: &Verdict, now: &str) -> Option<Value> {
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let value = if verdict.available { "True" } else { "False" };
    let old = conditions.iter().position(|condition| condition["type"] == "Available");
    let mut condition = json!({
        "type": "Available", "status": value, "reason": verdict.reason, "message": verdict.message,
        "lastTransitionTime": now,
    });
    match old {
        None => conditions.push(condition),
        Some(index) => {
            let old = &conditions[index];
            if old["status"] == value {
                if old["reason"] == verdict.reason && old["message"] == verdict.message {
                    return None;
                }
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            conditions[index] = condition;
        }
    }
    let mut status = status.clone();
    if !status.is_object() {
        status = json!({});
    }
    status["conditions"] = conditions.into();
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_written_when_it_is_new_and_its_time_when_it_turns() {
        let first = told(&Value::Null, &Verdict::passed(), "1").unwrap();
        assert_eq!(told(&first, &Verdict::passed(), "2"), None);
        let failed = told(&first, &Verdict::failed("u", "w"), "3").unwrap();
        assert_eq!(failed["conditions"][0]["lastTransitionTime"], "3");
        assert_eq!(failed["conditions"][0]["message"], "failing or missing response from u: w");
        let other = told(&failed, &Verdict::failed("u", "x"), "4").unwrap();
        assert_eq!(other["conditions"][0]["lastTransitionTime"], "3");
    }
}
