//! Containers and volumes, as Pods and their templates show them.

use serde_json::Value;

use super::{Page, items, text, time};

/// All containers of a list, with their status where there is one.
pub(super) fn list(page: &mut Page, level: usize, label: &str, containers: &Value, statuses: &Value) {
    let containers = items(containers);
    if containers.is_empty() {
        return;
    }
    page.line(level, label);
    for container in containers {
        let status = items(statuses).iter().find(|status| status["name"] == container["name"]);
        one(page, level + 1, container, status);
    }
}

fn one(page: &mut Page, level: usize, container: &Value, status: Option<&Value>) {
    page.line(level, format!("{}:", text(&container["name"])));
    let inside = level + 1;
    if let Some(status) = status {
        page.field(inside, "Container ID:", status["containerID"].as_str().unwrap_or_default());
    }
    page.field(inside, "Image:", text(&container["image"]));
    if let Some(status) = status {
        page.field(inside, "Image ID:", status["imageID"].as_str().unwrap_or_default());
    }
    let port = |port: &Value, key: &str| {
        format!("{}/{}", port[key].as_u64().unwrap_or(0), port["protocol"].as_str().unwrap_or("TCP"))
    };
    let ports = items(&container["ports"]);
    let join = |key: &str| ports.iter().map(|entry| port(entry, key)).collect::<Vec<_>>().join(", ");
    let plural = if ports.len() > 1 { "s" } else { "" };
    page.field(
        inside,
        &format!("Port{plural}:"),
        if ports.is_empty() { "<none>".to_owned() } else { join("containerPort") },
    );
    page.field(
        inside,
        &format!("Host Port{plural}:"),
        if ports.is_empty() { "<none>".to_owned() } else { join("hostPort") },
    );
    for (key, label) in [("command", "Command:"), ("args", "Args:")] {
        if !items(&container[key]).is_empty() {
            page.line(inside, label);
            items(&container[key]).iter().for_each(|word| page.line(inside + 1, text(word)));
        }
    }
    if let Some(status) = status {
        state(page, inside, "State:", &status["state"]);
        if status["lastState"].as_object().is_some_and(|last| !last.is_empty()) {
            state(page, inside, "Last State:", &status["lastState"]);
        }
        page.field(inside, "Ready:", if status["ready"] == true { "True" } else { "False" });
        page.field(inside, "Restart Count:", status["restartCount"].as_u64().unwrap_or(0).to_string());
    }
    for (key, label) in [("limits", "Limits:"), ("requests", "Requests:")] {
        if let Some(map) = container["resources"][key].as_object().filter(|map| !map.is_empty()) {
            page.line(inside, label);
            map.iter().for_each(|(name, amount)| page.field(inside + 1, &format!("{name}:"), text(amount)));
        }
    }
    for (key, label) in
        [("livenessProbe", "Liveness:"), ("readinessProbe", "Readiness:"), ("startupProbe", "Startup:")]
    {
        if container[key].is_object() {
            page.field(inside, label, probe(&container[key]));
        }
    }
    environment(page, inside, container);
    let mounts = items(&container["volumeMounts"]);
    if mounts.is_empty() {
        page.field(inside, "Mounts:", "<none>");
    } else {
        page.line(inside, "Mounts:");
        for mount in mounts {
            let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
            page.line(
                inside + 1,
                format!("{} from {} ({mode})", text(&mount["mountPath"]), text(&mount["name"])),
            );
        }
    }
}

fn state(page: &mut Page, level: usize, label: &str, state: &Value) {
    if let Some(running) = state.get("running") {
        page.field(level, label, "Running");
        page.field(level + 1, "Started:", time(&running["startedAt"]));
    } else if let Some(ended) = state.get("terminated") {
        page.field(level, label, "Terminated");
        for key in ["reason", "message"] {
            if let Some(value) = ended[key].as_str().filter(|value| !value.is_empty()) {
                page.field(level + 1, if key == "reason" { "Reason:" } else { "Message:" }, value.trim());
            }
        }
        page.field(level + 1, "Exit Code:", text(&ended["exitCode"]));
        page.field(level + 1, "Started:", time(&ended["startedAt"]));
        page.field(level + 1, "Finished:", time(&ended["finishedAt"]));
    } else {
        page.field(level, label, "Waiting");
        if let Some(reason) = state["waiting"]["reason"].as_str() {
            page.field(level + 1, "Reason:", reason);
        }
    }
}

fn probe(probe: &Value) -> String {
    let number = |key: &str, default: u64| probe[key].as_u64().unwrap_or(default);
    let how = if let Some(http) = probe.get("httpGet") {
        let scheme = http["scheme"].as_str().unwrap_or("HTTP").to_lowercase();
        let path = http["path"].as_str().unwrap_or_default();
        format!(
            "http-get {scheme}://{}:{}{path}",
            http["host"].as_str().unwrap_or_default(),
            text(&http["port"])
        )
    } else if let Some(tcp) = probe.get("tcpSocket") {
        format!("tcp-socket :{}", text(&tcp["port"]))
    } else if let Some(exec) = probe.get("exec") {
        let words: Vec<String> = items(&exec["command"]).iter().map(text).collect();
        format!("exec [{}]", words.join(" "))
    } else if let Some(grpc) = probe.get("grpc") {
        format!("grpc <pod>:{}", text(&grpc["port"]))
    } else {
        "unknown".to_owned()
    };
    format!(
        "{how} delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3)
    )
}

fn environment(page: &mut Page, level: usize, container: &Value) {
    for from in items(&container["envFrom"]) {
        for (key, what) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
            if from[key].is_object() {
                let optional = from[key]["optional"] == true;
                page.field(
                    level,
                    "Environment Variables from:",
                    format!("{} {what}  Optional: {optional}", text(&from[key]["name"])),
                );
            }
        }
    }
    let env = items(&container["env"]);
    if env.is_empty() {
        page.field(level, "Environment:", "<none>");
        return;
    }
    page.line(level, "Environment:");
    for variable in env {
        let source = &variable["valueFrom"];
        let reference = |key: &str, what: &str| {
            let of = &source[key];
            format!(
                "<set to the key '{}' {what} '{}'>  Optional: {}",
                text(&of["key"]),
                text(&of["name"]),
                of["optional"] == true
            )
        };
        let shown = if source["configMapKeyRef"].is_object() {
            reference("configMapKeyRef", "of config map")
        } else if source["secretKeyRef"].is_object() {
            reference("secretKeyRef", "in secret")
        } else if source["fieldRef"].is_object() {
            format!(
                " ({}:{})",
                source["fieldRef"]["apiVersion"].as_str().unwrap_or("v1"),
                text(&source["fieldRef"]["fieldPath"])
            )
        } else if source["resourceFieldRef"].is_object() {
            format!(" ({})", text(&source["resourceFieldRef"]["resource"]))
        } else {
            variable["value"].as_str().unwrap_or_default().to_owned()
        };
        page.field(level + 1, &format!("{}:", text(&variable["name"])), shown);
    }
}
