//! The cells of services, endpoints and endpoint slices.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cells::{list, text};
use crate::Object;

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// `<none>`, `<pending>`, a name, or addresses.
pub fn external(service: &Object) -> String {
    let spec = &service["spec"];
    let own: Vec<String> = items(spec, "externalIPs").map(text).collect();
    match spec["type"].as_str().unwrap_or_default() {
        "ExternalName" => text(&spec["externalName"]),
        "LoadBalancer" => {
            let balancers = items(&service["status"]["loadBalancer"], "ingress").map(|ingress| {
                ingress["ip"].as_str().or(ingress["hostname"].as_str()).unwrap_or_default().to_owned()
            });
            let all: Vec<String> = balancers.chain(own).collect();
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        _ if own.is_empty() => "<none>".into(),
        _ => own.join(","),
    }
}

/// `80/TCP`, `80:30080/TCP`.
pub fn ports(service: &Object) -> String {
    let ports: Vec<String> = items(&service["spec"], "ports")
        .map(|port| match port["nodePort"].as_i64().unwrap_or(0) {
            0 => format!("{}/{}", port["port"], text(&port["protocol"])),
            node => format!("{}:{node}/{}", port["port"], text(&port["protocol"])),
        })
        .collect();
    if ports.is_empty() { "<none>".into() } else { ports.join(",") }
}

/// The first three of a list, and how many more there are.
fn shortened(all: &[String], unset: &str) -> String {
    match all.len() {
        0 => unset.into(),
        1..=3 => all.join(","),
        more => format!("{} + {} more...", all[..3].join(","), more - 3),
    }
}

/// `10.0.0.1:80,10.0.0.2:80`.
pub fn endpoints(object: &Object) -> String {
    let mut all = Vec::new();
    for subset in items(object, "subsets") {
        let addresses: Vec<String> = items(subset, "addresses").map(|address| text(&address["ip"])).collect();
        if items(subset, "ports").next().is_none() {
            all.extend(addresses.clone());
        }
        for port in items(subset, "ports") {
            all.extend(addresses.iter().map(|address| match address.contains(':') {
                true => format!("[{address}]:{}", port["port"]),
                false => format!("{address}:{}", port["port"]),
            }));
        }
    }
    shortened(&all, "<none>")
}

/// The hosts of an ingress's rules, three at most.
pub fn hosts(ingress: &Object) -> String {
    let rules = list(&ingress["spec"], "rules");
    let named: Vec<String> =
        rules.iter().map(|rule| text(&rule["host"])).filter(|host| !host.is_empty()).collect();
    match named.len() {
        0 => "*".into(),
        1..=3 => named.join(","),
        _ => format!("{} + {} more...", named[..3].join(","), rules.len() - 3),
    }
}

/// Where an ingress is reached.
pub fn balanced(ingress: &Object) -> String {
    let points = list(&ingress["status"]["loadBalancer"], "ingress").iter();
    let named = points.filter_map(|point| {
        [&point["ip"], &point["hostname"]].into_iter().filter_map(Value::as_str).find(|text| !text.is_empty())
    });
    named.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

/// `Kind.group/name` of what an ingress class refers to.
pub fn parameters(class: &Object) -> String {
    let given = &class["spec"]["parameters"];
    if given.is_null() {
        return "<none>".into();
    }
    let group = given["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
    format!("{}{group}/{}", text(&given["kind"]), text(&given["name"]))
}

/// `services/default/name`: what an address belongs to.
pub fn parent(address: &Object) -> String {
    let parent = &address["spec"]["parentRef"];
    if parent.is_null() {
        return "<none>".into();
    }
    let resource =
        crate::status::qualified(&text(&parent["resource"]), &text(&parent["group"])).to_lowercase();
    match text(&parent["namespace"]) {
        none if none.is_empty() => format!("{resource}/{}", text(&parent["name"])),
        namespace => format!("{resource}/{namespace}/{}", text(&parent["name"])),
    }
}

/// The ports of a slice.
pub fn slice_ports(slice: &Object) -> String {
    let shown = |port: &Value| match port["port"].as_i64() {
        Some(number) => number.to_string(),
        None => "*".into(),
    };
    shortened(&items(slice, "ports").map(shown).collect::<Vec<_>>(), "<unset>")
}

/// The addresses of a slice.
pub fn slice_endpoints(slice: &Object) -> String {
    let all: Vec<String> = items(slice, "endpoints").flat_map(|e| items(e, "addresses").map(text)).collect();
    shortened(&all, "<unset>")
}

/// Who serves an API: a Service, or this server itself.
pub fn api_service(object: &Object) -> String {
    let service = &object["spec"]["service"];
    let text = |key: &str| service[key].as_str().unwrap_or_default();
    if service.is_object() { format!("{}/{}", text("namespace"), text("name")) } else { "Local".into() }
}

/// Whether an API is available, and why not.
pub fn api_available(object: &Object) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == "Available");
    let text = |key: &str| found.and_then(|condition| condition[key].as_str()).unwrap_or_default();
    match (text("status"), text("reason")) {
        ("", _) => "Unknown".into(),
        (status, reason) if status == "True" || reason.is_empty() => status.into(),
        (status, reason) => format!("{status} ({reason})"),
    }
}
