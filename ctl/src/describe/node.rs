//! The page of a Node.

use serde_json::Value;

use super::{Page, Related, conditions, items, pairs, text, time};
use crate::age;

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
    conditions(
        page,
        &status["conditions"],
        &[
            ("Type", "/type"),
            ("Status", "/status"),
            ("LastHeartbeatTime", "/lastHeartbeatTime"),
            ("LastTransitionTime", "/lastTransitionTime"),
            ("Reason", "/reason"),
            ("Message", "/message"),
        ],
    );
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
    let running: Vec<&Value> = related
        .objects
        .iter()
        .filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
        .collect();
    page.line(0, format!("Non-terminated Pods:          ({} in total)", running.len()));
    page.cells(
        1,
        ["Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age"]
            .map(str::to_owned),
    );
    page.cells(
        1,
        ["---------", "----", "------------", "----------", "---------------", "-------------", "---"]
            .map(str::to_owned),
    );
    for pod in running {
        let total = |what: &str, resource: &str| {
            let amounts: Vec<String> = items(&pod["spec"]["containers"])
                .iter()
                .filter_map(|container| container["resources"][what][resource].as_str().map(str::to_owned))
                .collect();
            if amounts.is_empty() { "0".to_owned() } else { amounts.join("+") }
        };
        page.cells(
            1,
            [
                text(&pod["metadata"]["namespace"]),
                text(&pod["metadata"]["name"]),
                total("requests", "cpu"),
                total("limits", "cpu"),
                total("requests", "memory"),
                total("limits", "memory"),
                age::since(pod["metadata"]["creationTimestamp"].as_str(), related.now),
            ],
        );
    }
}
