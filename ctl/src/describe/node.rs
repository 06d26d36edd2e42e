//! The page of a Node.

use serde_json::Value;
use skiff_api::quantity::Quantity;

use super::{Page, Related, items, pairs, text, time};
use skiff_api::duration;

pub(super) fn describe(page: &mut Page, node: &Value, related: &Related) {
    let (meta, spec, status) = (&node["metadata"], &node["spec"], &node["status"]);
    page.field(0, "Name:", text(&meta["name"]));
    let roles: Vec<&str> = meta["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    page.field(0, "Roles:", if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") });
    pairs(page, 0, "Labels:", &meta["labels"], "=");
    pairs(page, 0, "Annotations:", &meta["annotations"], ": ");
    page.field(0, "CreationTimestamp:", time(&meta["creationTimestamp"]));
    let mut label = "Taints:";
    for taint in items(&spec["taints"]) {
        let value = taint["value"]
            .as_str()
            .filter(|value| !value.is_empty())
            .map(|value| format!("={value}"))
            .unwrap_or_default();
        page.field(0, label, format!("{}{value}:{}", text(&taint["key"]), text(&taint["effect"])));
        label = "";
    }
    if !label.is_empty() {
        page.field(0, label, "<none>");
    }
    page.field(0, "Unschedulable:", (spec["unschedulable"] == true).to_string());
    if let Some(lease) = related.objects.iter().find(|object| object["kind"] == "Lease") {
        page.line(0, "Lease:");
        page.field(1, "HolderIdentity:", text(&lease["spec"]["holderIdentity"]));
        for (label, key) in [("AcquireTime:", "acquireTime"), ("RenewTime:", "renewTime")] {
            let at = &lease["spec"][key];
            page.field(1, label, if at.is_null() { "<unset>".to_owned() } else { time(at) });
        }
    }
    conditions(page, items(&status["conditions"]));
    page.line(0, "Addresses:");
    for address in items(&status["addresses"]) {
        page.field(1, &format!("{}:", text(&address["type"])), text(&address["address"]));
    }
    for (key, label) in [("capacity", "Capacity:"), ("allocatable", "Allocatable:")] {
        page.line(0, label);
        for (name, amount) in status[key].as_object().into_iter().flatten() {
            page.field(1, &format!("{name}:"), text(amount));
        }
    }
    page.line(0, "System Info:");
    const INFO: [(&str, &str); 10] = [
        ("machineID", "Machine ID:"),
        ("systemUUID", "System UUID:"),
        ("bootID", "Boot ID:"),
        ("kernelVersion", "Kernel Version:"),
        ("osImage", "OS Image:"),
        ("operatingSystem", "Operating System:"),
        ("architecture", "Architecture:"),
        ("containerRuntimeVersion", "Container Runtime Version:"),
        ("kubeletVersion", "Kubelet Version:"),
        ("kubeProxyVersion", "Kube-Proxy Version:"),
    ];
    for (key, label) in INFO {
        page.field(1, label, status["nodeInfo"][key].as_str().unwrap_or_default());
    }
    if spec["podCIDR"].is_string() {
        page.field(0, "PodCIDR:", text(&spec["podCIDR"]));
        page.field(0, "PodCIDRs:", items(&spec["podCIDRs"]).iter().map(text).collect::<Vec<_>>().join(","));
    }
    pods(page, &status["allocatable"], related);
}

fn conditions(page: &mut Page, conditions: &[Value]) {
    if conditions.is_empty() {
        return;
    }
    const HEAD: [&str; 6] =
        ["Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"];
    page.line(0, "Conditions:");
    // Upstream puts a blank behind each cell.
    page.cells(1, HEAD.map(str::to_owned));
    page.cells(1, HEAD.map(|title| "-".repeat(title.len())));
    for one in conditions {
        let cells = [
            text(&one["type"]),
            text(&one["status"]),
            time(&one["lastHeartbeatTime"]),
            time(&one["lastTransitionTime"]),
            text(&one["reason"]),
            text(&one["message"]),
        ];
        page.cells(1, cells.map(|cell| format!("{cell} ")));
    }
}

/// What the pods ask for, each and together.
fn pods(page: &mut Page, allocatable: &Value, related: &Related) {
    let running: Vec<&Value> = related
        .objects
        .iter()
        .filter(|object| object["kind"] == "Pod")
        .filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
        .collect();
    page.line(0, format!("Non-terminated Pods:          ({} in total)", running.len()));
    const HEAD: [&str; 7] =
        ["Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age"];
    page.cells(1, HEAD.map(str::to_owned));
    page.cells(1, HEAD.map(|title| "-".repeat(title.len())));
    let share = |amount: Option<Quantity>, resource: &str| {
        let all = allocatable[resource].as_str().and_then(Quantity::parse).map_or(0, |all| all.millis());
        let part = amount.map_or(0, |amount| amount.millis());
        let percent = if all > 0 { part * 100 / all } else { 0 };
        format!("{} ({percent}%)", amount.map_or_else(|| "0".to_owned(), |amount| amount.to_string()))
    };
    for pod in &running {
        let of = |what: &str, resource: &str| share(asked(pod, what, resource), resource);
        page.cells(
            1,
            [
                text(&pod["metadata"]["namespace"]),
                text(&pod["metadata"]["name"]),
                of("requests", "cpu"),
                of("limits", "cpu"),
                of("requests", "memory"),
                of("limits", "memory"),
                duration::since(pod["metadata"]["creationTimestamp"].as_str(), related.now),
            ],
        );
    }
    page.line(0, "Allocated resources:");
    page.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    page.cells(1, ["Resource", "Requests", "Limits"].map(str::to_owned));
    page.cells(1, ["--------", "--------", "------"].map(str::to_owned));
    let usual = ["cpu", "memory", "ephemeral-storage"];
    let other = allocatable.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    for resource in usual.into_iter().chain(other.filter(|name| *name != "pods" && !usual.contains(name))) {
        let total = |what: &str| {
            let amounts = running.iter().filter_map(|pod| asked(pod, what, resource));
            share(amounts.reduce(Quantity::plus), resource)
        };
        // Of what only some nodes have there are no shares.
        let plain = |cell: String| match resource {
            _ if usual.contains(&resource) || resource.starts_with("hugepages-") => cell,
            _ => cell.split(' ').next().unwrap_or_default().to_owned(),
        };
        page.cells(1, [resource.to_owned(), plain(total("requests")), plain(total("limits"))]);
    }
}

/// What a pod asks for of a resource: the sum of its containers, or the most that one of its init containers takes.
fn asked(pod: &Value, what: &str, resource: &str) -> Option<Quantity> {
    let of = |container: &Value| container["resources"][what][resource].as_str().and_then(Quantity::parse);
    let (sidecars, first): (Vec<&Value>, Vec<&Value>) =
        items(&pod["spec"]["initContainers"]).iter().partition(|one| one["restartPolicy"] == "Always");
    let lasting = items(&pod["spec"]["containers"]).iter().chain(sidecars);
    let sum = lasting.filter_map(of).reduce(Quantity::plus);
    let most = first.into_iter().filter_map(of);
    most.fold(sum, |sum, one| if sum.is_none_or(|sum| sum < one) { Some(one) } else { sum })
}
