//! The pages of Deployments and ReplicaSets.

use serde_json::Value;

use super::{
    Page, Related, conditions, container, controlled_by, head, items, pairs, selector, text, time, volume,
};
use crate::rollout;

const CONDITIONS: [(&str, &str); 3] = [("Type", "/type"), ("Status", "/status"), ("Reason", "/reason")];

pub(super) fn deployment(page: &mut Page, deployment: &Value, related: &Related) {
    let (meta, spec, status) = (&deployment["metadata"], &deployment["spec"], &deployment["status"]);
    head(page, deployment);
    page.field(0, "CreationTimestamp:", time(&meta["creationTimestamp"]));
    pairs(page, 0, "Labels:", &meta["labels"], "=");
    pairs(page, 0, "Annotations:", &meta["annotations"], ": ");
    page.field(0, "Selector:", selector(&spec["selector"]["matchLabels"]));
    let count = |key: &str| status[key].as_i64().unwrap_or(0);
    page.field(
        0,
        "Replicas:",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            spec["replicas"].as_i64().unwrap_or(1),
            count("updatedReplicas"),
            count("replicas"),
            count("availableReplicas"),
            count("unavailableReplicas")
        ),
    );
    page.field(0, "StrategyType:", text(&spec["strategy"]["type"]));
    page.field(0, "MinReadySeconds:", spec["minReadySeconds"].as_i64().unwrap_or(0).to_string());
    let rolling = &spec["strategy"]["rollingUpdate"];
    if rolling.is_object() {
        let (unavailable, surge) = (text(&rolling["maxUnavailable"]), text(&rolling["maxSurge"]));
        page.field(0, "RollingUpdateStrategy:", format!("{unavailable} max unavailable, {surge} max surge"));
    }
    template(page, &spec["template"]);
    conditions(page, &status["conditions"], &CONDITIONS);
    let sets = rollout::history(deployment, &related.objects);
    let newest = sets.last().copied();
    let show = |set: &Value| {
        format!(
            "{} ({}/{} replicas created)",
            text(&set["metadata"]["name"]),
            set["status"]["replicas"].as_i64().unwrap_or(0),
            set["spec"]["replicas"].as_i64().unwrap_or(0)
        )
    };
    let old: Vec<String> = sets.iter().rev().skip(1).map(|set| show(set)).collect();
    page.field(0, "OldReplicaSets:", if old.is_empty() { "<none>".to_owned() } else { old.join(", ") });
    page.field(0, "NewReplicaSet:", newest.map_or("<none>".to_owned(), show));
}

pub(super) fn replica_set(page: &mut Page, set: &Value) {
    let (meta, spec, status) = (&set["metadata"], &set["spec"], &set["status"]);
    head(page, set);
    page.field(0, "Selector:", selector(&spec["selector"]["matchLabels"]));
    pairs(page, 0, "Labels:", &meta["labels"], "=");
    pairs(page, 0, "Annotations:", &meta["annotations"], ": ");
    controlled_by(page, set);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    page.field(
        0,
        "Replicas:",
        format!("{} current / {wanted} desired", status["replicas"].as_i64().unwrap_or(0)),
    );
    page.field(0, "Ready Replicas:", status["readyReplicas"].as_i64().unwrap_or(0).to_string());
    template(page, &spec["template"]);
    conditions(page, &status["conditions"], &CONDITIONS);
}

pub(super) fn template(page: &mut Page, template: &Value) {
    page.line(0, "Pod Template:");
    pairs(page, 1, "Labels:", &template["metadata"]["labels"], "=");
    if template["metadata"]["annotations"].is_object() {
        pairs(page, 1, "Annotations:", &template["metadata"]["annotations"], ": ");
    }
    let spec = &template["spec"];
    if spec["serviceAccountName"].is_string() {
        page.field(1, "Service Account:", text(&spec["serviceAccountName"]));
    }
    container::list(page, 1, "Init Containers:", &spec["initContainers"], &Value::Null);
    container::list(page, 1, "Containers:", &spec["containers"], &Value::Null);
    volume::list(page, 1, &spec["volumes"]);
    page.field(1, "Node-Selectors:", selector(&spec["nodeSelector"]));
    page.field(
        1,
        "Tolerations:",
        if items(&spec["tolerations"]).is_empty() { "<none>" } else { "(see the pods)" },
    );
}
