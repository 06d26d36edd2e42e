//! The page of a Service.

use serde_json::Value;

use super::{Page, Related, head, items, pairs, selector, text};

pub(super) fn describe(page: &mut Page, service: &Value, related: &Related) {
    let (meta, spec) = (&service["metadata"], &service["spec"]);
    head(page, service);
    pairs(page, 0, "Labels:", &meta["labels"], "=");
    pairs(page, 0, "Annotations:", &meta["annotations"], ": ");
    page.field(0, "Selector:", selector(&spec["selector"]));
    page.field(0, "Type:", text(&spec["type"]));
    let list = |value: &Value| items(value).iter().map(text).collect::<Vec<_>>().join(",");
    page.field(0, "IP Family Policy:", text(&spec["ipFamilyPolicy"]));
    page.field(
        0,
        "IP Families:",
        Some(list(&spec["ipFamilies"]))
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "<none>".to_owned()),
    );
    page.field(0, "IP:", text(&spec["clusterIP"]));
    page.field(
        0,
        "IPs:",
        Some(list(&spec["clusterIPs"]))
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "<none>".to_owned()),
    );
    if !items(&spec["externalIPs"]).is_empty() {
        page.field(0, "External IPs:", list(&spec["externalIPs"]));
    }
    if spec["externalName"].is_string() {
        page.field(0, "External Name:", text(&spec["externalName"]));
    }
    let ingress: Vec<String> = items(&service["status"]["loadBalancer"]["ingress"])
        .iter()
        .map(|entry| text(if entry["ip"].is_string() { &entry["ip"] } else { &entry["hostname"] }))
        .collect();
    if !ingress.is_empty() {
        page.field(0, "LoadBalancer Ingress:", ingress.join(", "));
    }
    for port in items(&spec["ports"]) {
        let name = port["name"].as_str().filter(|name| !name.is_empty()).unwrap_or("<unset>");
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        page.cells(0, ["Port:".to_owned(), name.to_owned(), format!("{}/{protocol}", text(&port["port"]))]);
        page.field(0, "TargetPort:", format!("{}/{protocol}", text(&port["targetPort"])));
        if port["nodePort"].as_u64().is_some_and(|number| number > 0) {
            page.cells(
                0,
                ["NodePort:".to_owned(), name.to_owned(), format!("{}/{protocol}", text(&port["nodePort"]))],
            );
        }
        page.field(0, "Endpoints:", endpoints(port, &related.objects));
    }
    page.field(0, "Session Affinity:", text(&spec["sessionAffinity"]));
    if spec["externalTrafficPolicy"].is_string() {
        page.field(0, "External Traffic Policy:", text(&spec["externalTrafficPolicy"]));
    }
    if spec["internalTrafficPolicy"].is_string() {
        page.field(0, "Internal Traffic Policy:", text(&spec["internalTrafficPolicy"]));
    }
}

/// `10.0.0.1:80,10.0.0.2:80 + 3 more...`, of ready endpoints, for one of the Service's ports.
fn endpoints(port: &Value, slices: &[Value]) -> String {
    let name = port["name"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    for slice in slices {
        let Some(number) =
            items(&slice["ports"]).iter().find(|entry| entry["name"].as_str().unwrap_or_default() == name)
        else {
            continue;
        };
        for endpoint in
            items(&slice["endpoints"]).iter().filter(|endpoint| endpoint["conditions"]["ready"] != false)
        {
            found.extend(
                items(&endpoint["addresses"])
                    .iter()
                    .map(|address| format!("{}:{}", text(address), text(&number["port"]))),
            );
        }
    }
    found.sort();
    match found.len() {
        0 => String::new(),
        1..=3 => found.join(","),
        many => format!("{} + {} more...", found[..3].join(","), many - 3),
    }
}
