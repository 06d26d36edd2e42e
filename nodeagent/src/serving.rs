//! A pod that Services lead to: it is called ready when it can be connected to, and is left in peace when it goes until
//! the proxies have heard.
//!
//! Kubernetes gives neither an order. A container without a readiness probe is ready once it runs, and the signal that
//! ends it may come before its endpoint is gone. Upstream's agent hides the first by looking once a second; ours looks
//! at once, so the pauses that it needs are here, and only for pods behind a Service.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::cri::{Observed, State};

/// From a pod's deletion to the signal for its containers: many times what the proxies need, and little beside a grace
/// period.
pub const LEAVING: Duration = Duration::from_millis(500);

/// A container without a readiness probe that nobody can connect to is called ready so long after its start all the
/// same: as late as upstream's agent, which looks once a second.
pub const OPENING: SignedDuration = SignedDuration::from_secs(1);

/// How often it is looked at meanwhile.
pub const LOOK: SignedDuration = SignedDuration::from_millis(25);

/// The Services that select a pod.
pub fn services_of<'a>(services: &'a [Arc<Service>], pod: &'a Pod) -> impl Iterator<Item = &'a Service> {
    let labels = pod.metadata.labels.as_ref();
    services.iter().map(Arc::as_ref).filter(move |service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let has = |(key, value): (&String, &String)| labels.and_then(|all| all.get(key)) == Some(value);
        service.metadata.namespace == pod.metadata.namespace
            && selector.is_some_and(|selector| !selector.is_empty() && selector.iter().all(has))
    })
}

/// The TCP ports of a pod that Services lead to.
fn ports(services: &[Arc<Service>], pod: &Pod) -> BTreeSet<u16> {
    let all = services_of(services, pod).flat_map(|service| service.spec.iter().flat_map(|spec| &spec.ports));
    all.flatten().filter_map(|port| target(port, pod)).collect()
}

fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    if port.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
        return None;
    }
    let number = match &port.target_port {
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut declared = containers.flat_map(|container| container.ports.iter().flatten());
            declared.find(|port| port.name.as_ref() == Some(name))?.container_port
        }
        Some(IntOrString::Int(number)) => *number,
        None => port.port,
    };
    u16::try_from(number).ok().filter(|number| *number > 0)
}

/// The containers (by id) that run and are not ready yet, only because nobody can connect.
pub fn opening(
    services: impl FnOnce() -> Vec<Arc<Service>>,
    pod: &Pod,
    observed: &Observed,
    now: Timestamp,
) -> BTreeSet<String> {
    let unprobed = pod.spec.iter().flat_map(|spec| &spec.containers).filter(|c| c.readiness_probe.is_none());
    let young = unprobed.filter_map(|container| observed.latest(&container.name)).filter(
        |found| matches!(found.state, State::Running { started } if now.duration_since(started) < OPENING),
    );
    let young: BTreeSet<String> = young.map(|found| found.id.clone()).collect();
    // Where nothing can be told (no process, not of this machine) nobody waits.
    let Some(pid) = observed.live_sandbox().and_then(|sandbox| sandbox.pid) else { return BTreeSet::new() };
    if young.is_empty() || ports(&services(), pod).is_subset(&listening(pid)) {
        return BTreeSet::new();
    }
    young
}

/// The TCP ports that something listens on in the network of a process. No connection is made for that: a program
/// might take it for its only one.
fn listening(pid: i32) -> BTreeSet<u16> {
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{pid}/net/{table}")));
    tables.into_iter().flatten().flat_map(|table| parse(&table).collect::<Vec<_>>()).collect()
}

/// The local ports of sockets in the state `LISTEN` (0A).
fn parse(table: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next()?, words.nth(1)?);
        let port = local.rsplit(':').next()?;
        (state == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn sockets_that_listen_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
                     0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
                     1: 0100007F:1F90 0100007F:9C4E 01 00000000:00000000 00:00000000 00000000     0\n   \
                     2: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0:0 0:0 0\n";
        assert_eq!(parse(table).collect::<Vec<_>>(), [80, 443]);
    }

    #[test]
    fn the_ports_are_those_that_services_lead_to() {
        let pod = json!({
            "metadata": {"namespace": "default", "labels": {"app": "web", "tier": "front"}},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let check = |namespace: &str, selector: Value, port: Value, expected: &[u16]| {
            let service = json!({"metadata": {"namespace": namespace}, "spec": {"selector": selector, "ports": [port]}});
            let services = [Arc::new(serde_json::from_value(service).unwrap())];
            assert_eq!(ports(&services, &pod).into_iter().collect::<Vec<_>>(), expected);
        };
        let web = || json!({"app": "web"});
        check("default", web(), json!({"port": 80}), &[80]);
        check("default", web(), json!({"port": 80, "targetPort": 81}), &[81]);
        check("default", web(), json!({"port": 80, "targetPort": "http"}), &[8080]);
        check("default", web(), json!({"port": 80, "targetPort": "other"}), &[]);
        check("default", web(), json!({"port": 53, "protocol": "UDP"}), &[]);
        check("default", json!({"app": "api"}), json!({"port": 80}), &[]);
        check("default", json!({}), json!({"port": 80}), &[]);
        check("elsewhere", web(), json!({"port": 80}), &[]);
    }
}
