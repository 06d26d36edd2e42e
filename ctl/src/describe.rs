//! `describe`: an object as a page of text. Pure; what it needs besides the object is gathered by the command.

mod access;
mod container;
mod data;
mod events;
mod generic;
mod node;
mod page;
mod pod;
mod service;
mod volume;
mod workload;

use jiff::Timestamp;
use serde_json::Value;

pub use page::Page;

/// What is shown with an object.
#[derive(Debug, Clone, Default)]
pub struct Related {
    /// Events about it.
    pub events: Vec<Value>,
    /// Other objects that its page reads: ReplicaSets of a Deployment, EndpointSlices of a Service, Pods of a Node.
    pub objects: Vec<Value>,
    /// The present, for ages.
    pub now: Timestamp,
}

/// The page of an object.
pub fn render(object: &Value, related: &Related) -> String {
    let mut page = Page::default();
    let kind = object["kind"].as_str().unwrap_or_default();
    match kind {
        "Pod" => pod::describe(&mut page, object),
        "Deployment" => workload::deployment(&mut page, object, related),
        "ReplicaSet" => workload::replica_set(&mut page, object),
        "Service" => service::describe(&mut page, object, related),
        "Node" => node::describe(&mut page, object, related),
        "Secret" => data::secret(&mut page, object),
        "ConfigMap" => data::config_map(&mut page, object),
        "Role" | "ClusterRole" => access::role(&mut page, object),
        "RoleBinding" | "ClusterRoleBinding" => access::binding(&mut page, object),
        "ServiceAccount" => access::service_account(&mut page, object),
        _ => generic::describe(&mut page, object),
    }
    // Kinds that nothing reports on have no events to show.
    if !matches!(kind, "Secret" | "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding") {
        events::describe(&mut page, related);
    }
    page.render()
}

/// A pod template, as `rollout history` shows it.
pub fn template(template: &Value) -> String {
    let mut page = Page::default();
    workload::template(&mut page, template);
    page.render()
}

/// Name, namespace, labels and annotations: every page begins with some of these.
fn head(page: &mut Page, object: &Value) {
    let meta = &object["metadata"];
    page.field(0, "Name:", text(&meta["name"]));
    if meta["namespace"].is_string() {
        page.field(0, "Namespace:", text(&meta["namespace"]));
    }
}

/// A mapping, one pair a line.
fn pairs(page: &mut Page, level: usize, label: &str, map: &Value, between: &str) {
    let mut first = label;
    for (key, value) in map.as_object().into_iter().flatten() {
        // kubectl hides the manifest as applied: it is the whole object again.
        if key == crate::merge::LAST_APPLIED {
            continue;
        }
        page.field(level, first, format!("{key}{between}{}", text(value)));
        first = "";
    }
    if !first.is_empty() {
        page.field(level, first, "<none>");
    }
}

/// A value on a line: strings bare, nothing as `<none>`.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) if text.is_empty() => "<none>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `a=b,c=d`
fn selector(map: &Value) -> String {
    crate::table::pairs(map)
}

/// A timestamp as kubectl's pages show it.
fn time(value: &Value) -> String {
    match value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(time) => {
            time.to_zoned(jiff::tz::TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
        }
        None => text(value),
    }
}

fn controlled_by(page: &mut Page, object: &Value) {
    if let Some(owner) =
        items(&object["metadata"]["ownerReferences"]).iter().find(|owner| owner["controller"] == true)
    {
        page.field(0, "Controlled By:", format!("{}/{}", text(&owner["kind"]), text(&owner["name"])));
    }
}

fn conditions(page: &mut Page, conditions: &Value, columns: &[(&str, &str)]) {
    let conditions = items(conditions);
    if conditions.is_empty() {
        return;
    }
    page.line(0, "Conditions:");
    page.table(1, columns, conditions);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: Value, related: Related, lines: &[&str]) {
        let page = render(&object, &related);
        for line in lines {
            assert!(page.lines().any(|shown| shown == *line), "no line {line:?} in:\n{page}");
        }
    }

    #[test]
    fn a_pods_page_tells_state_and_events() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "web", "namespace": "n", "labels": {"a": "b"}},
            "spec": {"nodeName": "host", "containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]},
            "status": {"phase": "Pending", "qosClass": "BestEffort", "containerStatuses": [{"name": "c", "restartCount": 2, "ready": false,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}],
                "conditions": [{"type": "Ready", "status": "False"}]}});
        let events = vec![
            json!({"type": "Warning", "reason": "Failed", "message": "cannot pull", "count": 3,
            "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": "1970-01-01T00:01:00Z", "source": {"component": "kubelet"}}),
        ];
        let related =
            Related { events, now: Timestamp::from_second(120).expect("valid"), ..Related::default() };
        check(
            pod,
            related,
            &[
                "Name:             web",
                "Containers:",
                "  c:",
                "    Image:          nginx",
                "    State:          Waiting",
                "      Reason:       ImagePullBackOff",
                "    Restart Count:  2",
                "  Type     Reason  Age               From     Message",
                "  Warning  Failed  60s (x3 over 2m)  kubelet  cannot pull",
            ],
        );
    }

    #[test]
    fn other_kinds_show_all_their_fields() {
        check(
            json!({"kind": "Thing", "apiVersion": "x.io/v1", "metadata": {"name": "t"}, "spec": {"maxSize": 3, "list": [{"a": 1}]}}),
            Related::default(),
            &[
                "Name:         t",
                "Kind:         Thing",
                "Spec:",
                "  Max Size:  3",
                "  List:",
                "    A:       1",
                "Events:      <none>",
            ],
        );
    }
}
