//! The page of a Pod.

use serde_json::Value;

use super::{Page, container, controlled_by, head, items, pairs, selector, text, time, volume};

pub(super) fn describe(page: &mut Page, pod: &Value) {
    let (meta, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
    head(page, pod);
    page.field(0, "Priority:", spec["priority"].as_i64().unwrap_or(0).to_string());
    if spec["priorityClassName"].is_string() {
        page.field(0, "Priority Class Name:", text(&spec["priorityClassName"]));
    }
    page.field(0, "Service Account:", spec["serviceAccountName"].as_str().unwrap_or("default"));
    let node = match (spec["nodeName"].as_str(), status["hostIP"].as_str()) {
        (Some(node), address) => format!("{node}/{}", address.unwrap_or_default()),
        (None, _) => "<none>".to_owned(),
    };
    page.field(0, "Node:", node);
    if status["startTime"].is_string() {
        page.field(0, "Start Time:", time(&status["startTime"]));
    }
    pairs(page, 0, "Labels:", &meta["labels"], "=");
    pairs(page, 0, "Annotations:", &meta["annotations"], ": ");
    if meta["deletionTimestamp"].is_string() {
        page.field(0, "Status:", format!("Terminating (since {})", time(&meta["deletionTimestamp"])));
        page.field(0, "Termination Grace Period:", format!("{}s", text(&meta["deletionGracePeriodSeconds"])));
    } else {
        page.field(0, "Status:", text(&status["phase"]));
    }
    for (key, label) in [("reason", "Reason:"), ("message", "Message:")] {
        if let Some(value) = status[key].as_str().filter(|value| !value.is_empty()) {
            page.field(0, label, value);
        }
    }
    page.field(0, "IP:", status["podIP"].as_str().unwrap_or_default());
    let addresses = items(&status["podIPs"]);
    if addresses.is_empty() {
        page.field(0, "IPs:", "<none>");
    } else {
        page.line(0, "IPs:");
        addresses.iter().for_each(|address| page.field(1, "IP:", text(&address["ip"])));
    }
    controlled_by(page, pod);
    container::list(page, 0, "Init Containers:", &spec["initContainers"], &status["initContainerStatuses"]);
    container::list(page, 0, "Containers:", &spec["containers"], &status["containerStatuses"]);
    let conditions = items(&status["conditions"]);
    if !conditions.is_empty() {
        page.line(0, "Conditions:");
        // Upstream's only table without a rule under its header; the blank makes the column as wide as there.
        page.cells(1, ["Type".to_owned(), "Status".to_owned()]);
        conditions
            .iter()
            .for_each(|one| page.cells(1, [format!("{} ", text(&one["type"])), text(&one["status"])]));
    }
    volume::list(page, 0, &spec["volumes"]);
    page.field(0, "QoS Class:", text(&status["qosClass"]));
    page.field(0, "Node-Selectors:", selector(&spec["nodeSelector"]));
    let mut label = "Tolerations:";
    for toleration in items(&spec["tolerations"]) {
        page.field(0, label, tolerated(toleration));
        label = "";
    }
    if !label.is_empty() {
        page.field(0, label, "<none>");
    }
}

/// `node.kubernetes.io/not-ready:NoExecute op=Exists for 300s`
fn tolerated(toleration: &Value) -> String {
    let mut shown = toleration["key"].as_str().unwrap_or_default().to_owned();
    if let Some(value) = toleration["value"].as_str().filter(|value| !value.is_empty()) {
        shown.push_str(&format!("={value}"));
    }
    if let Some(effect) = toleration["effect"].as_str().filter(|effect| !effect.is_empty()) {
        shown.push_str(&format!(":{effect}"));
    }
    if toleration["operator"] == "Exists" {
        shown.push_str(if shown.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = toleration["tolerationSeconds"].as_i64() {
        shown.push_str(&format!(" for {seconds}s"));
    }
    shown
}
