//! Baseline: what is known to lead out of a pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::words::{Values, containers, name, plural, quoted, setters, violation};
use super::{Pod, Violation};

fn each<'a>(of: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    of[list].as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn app_armor(pod: Pod<'_>) -> Option<Violation> {
    let bad = |context: &'_ Value| {
        let profile = &context["appArmorProfile"];
        profile.is_object() && !matches!(text(&profile["type"]), "RuntimeDefault" | "Localhost")
    };
    let mut values = Values::new();
    let on_pod = bad(pod.context());
    if on_pod {
        values.insert(text(&pod.context()["appArmorProfile"]["type"]));
    }
    let mut names = Vec::new();
    for container in pod.containers().filter(|container| bad(&container["securityContext"])) {
        names.push(name(container));
        values.insert(text(&container["securityContext"]["appArmorProfile"]["type"]));
    }
    let mut annotations: Vec<String> = pod
        .annotations()
        .filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .filter(|(_, value)| {
            !value.is_empty() && *value != "runtime/default" && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    annotations.sort();
    let fields = setters(on_pod, &names);
    let noted =
        (!annotations.is_empty()).then(|| plural(annotations.len(), "annotation", "annotations").to_owned());
    let who: Vec<String> = fields.into_iter().chain(noted).collect();
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().map(str::to_owned).chain(annotations).collect();
    violation(
        plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles"),
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)),
    )
}

/// What container engines give by themselves.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

pub fn capabilities(pod: Pod<'_>) -> Option<Violation> {
    let (mut names, mut values) = (Vec::new(), Values::new());
    for container in pod.containers() {
        let added = each(&container["securityContext"]["capabilities"], "add").map(text);
        let bad: Vec<&str> = added.filter(|one| !CAPABILITIES.contains(one)).collect();
        if !bad.is_empty() {
            names.push(name(container));
            values.extend(bad);
        }
    }
    if names.is_empty() {
        return None;
    }
    violation(
        "non-default capabilities",
        format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&names),
            quoted(values)
        ),
    )
}

pub fn host_namespaces(pod: Pod<'_>) -> Option<Violation> {
    let all = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[*field] == true);
    let all: Vec<String> = all.map(|field| format!("{field}=true")).collect();
    if all.is_empty() {
        return None;
    }
    violation("host namespaces", all.join(", "))
}

pub fn host_path_volumes(pod: Pod<'_>) -> Option<Violation> {
    let names: Vec<&str> = pod.volumes().filter(|volume| volume["hostPath"].is_object()).map(name).collect();
    if names.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(&names)))
}

pub fn host_ports(pod: Pod<'_>) -> Option<Violation> {
    let (mut names, mut ports) = (Vec::new(), BTreeSet::new());
    for container in pod.containers() {
        let bad: Vec<i64> = each(container, "ports")
            .filter_map(|port| port["hostPort"].as_i64())
            .filter(|port| *port != 0)
            .collect();
        if !bad.is_empty() {
            names.push(name(container));
            ports.extend(bad.iter().map(ToString::to_string));
        }
    }
    if names.is_empty() {
        return None;
    }
    violation(
        "hostPort",
        format!(
            "{} {} {} {}",
            containers(&names),
            plural(names.len(), "uses", "use"),
            plural(ports.len(), "hostPort", "hostPorts"),
            ports.into_iter().collect::<Vec<_>>().join(", ")
        ),
    )
}

/// Whatever the node itself connects to for a container.
const HANDLERS: [&str; 5] =
    ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];

pub fn probe_hosts(pod: Pod<'_>) -> Option<Violation> {
    let (mut names, mut hosts) = (Values::new(), Values::new());
    for container in pod.containers() {
        let handlers = HANDLERS.iter().filter_map(|path| container.pointer(path));
        let bad =
            handlers.flat_map(|handler| ["httpGet", "tcpSocket"].map(|way| text(&handler[way]["host"])));
        for host in bad.filter(|host| !host.is_empty()) {
            names.insert(name(container));
            hosts.insert(host);
        }
    }
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    violation(
        "probe or lifecycle host",
        format!(
            "{} {} {} {}",
            containers(&names),
            plural(names.len(), "uses", "use"),
            plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts"),
            quoted(hosts)
        ),
    )
}

pub fn privileged(pod: Pod<'_>) -> Option<Violation> {
    let names: Vec<&str> =
        pod.containers().filter(|one| one["securityContext"]["privileged"] == true).map(name).collect();
    if names.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", containers(&names)))
}

pub fn proc_mount(pod: Pod<'_>) -> Option<Violation> {
    let (mut names, mut values) = (Vec::new(), Values::new());
    for container in pod.containers() {
        let mount = container["securityContext"]["procMount"].as_str();
        if let Some(mount) = mount.filter(|mount| *mount != "Default") {
            names.push(name(container));
            values.insert(mount);
        }
    }
    if names.is_empty() {
        return None;
    }
    violation(
        "procMount",
        format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(values)),
    )
}

pub fn proc_mount_1_35(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { proc_mount(pod) }
}

const SE_LINUX: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t"];
const SE_LINUX_1_31: &[&str] =
    &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

pub fn se_linux(pod: Pod<'_>) -> Option<Violation> {
    se_linux_of(pod, SE_LINUX)
}

pub fn se_linux_1_31(pod: Pod<'_>) -> Option<Violation> {
    se_linux_of(pod, SE_LINUX_1_31)
}

fn se_linux_of(pod: Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let (mut types, mut user, mut role) = (Values::new(), false, false);
    let mut names = Vec::new();
    let mut bad = |context: &'_ Value, types: &mut BTreeSet<String>| {
        let options = &context["seLinuxOptions"];
        let set = |field: &str| !text(&options[field]).is_empty();
        let kind = text(&options["type"]);
        if !allowed.contains(&kind) {
            types.insert(kind.to_owned());
        }
        user |= set("user");
        role |= set("role");
        !allowed.contains(&kind) || set("user") || set("role")
    };
    let mut owned = BTreeSet::new();
    let on_pod = bad(pod.context(), &mut owned);
    for container in pod.containers() {
        if bad(&container["securityContext"], &mut owned) {
            names.push(name(container));
        }
    }
    types.extend(owned.iter().map(String::as_str));
    let who = setters(on_pod, &names)?;
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(types)));
    }
    for (set, said) in [(user, "user may not be set"), (role, "role may not be set")] {
        data.extend(set.then(|| said.to_owned()));
    }
    violation(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {}", data.join("; ")),
    )
}

pub fn seccomp_annotations(pod: Pod<'_>) -> Option<Violation> {
    let names: Vec<String> = pod
        .containers()
        .map(|container| format!("container.seccomp.security.alpha.kubernetes.io/{}", name(container)))
        .chain(["seccomp.security.alpha.kubernetes.io/pod".to_owned()])
        .collect();
    let good = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let bad: BTreeSet<String> = pod
        .annotations()
        .filter(|(key, value)| names.iter().any(|name| name == key) && !good(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural(bad.len(), "annotation", "annotations");
    violation(
        "seccompProfile",
        format!("forbidden {word} {}", bad.into_iter().collect::<Vec<_>>().join(", ")),
    )
}

/// The seccomp profile that a context sets, if it sets one, and whether it is allowed.
pub fn seccomp_type(context: &Value) -> Option<(&str, bool)> {
    let profile = &context["seccompProfile"];
    let kind = text(&profile["type"]);
    profile.is_object().then_some((kind, matches!(kind, "RuntimeDefault" | "Localhost")))
}

/// The explicit use of a profile that is not allowed.
pub fn seccomp(pod: Pod<'_>) -> Option<Violation> {
    let mut values = Values::new();
    let mut bad = |context| {
        let found = seccomp_type(context).filter(|(_, allowed)| !allowed);
        values.extend(found.map(|(kind, _)| kind));
        found.is_some()
    };
    let on_pod = bad(pod.context());
    let names: Vec<&str> = pod.containers().filter(|one| bad(&one["securityContext"])).map(name).collect();
    let who = setters(on_pod, &names)?;
    violation(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(values)),
    )
}

/// Each with the minor version since which it may be set.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn sysctls_at(pod: Pod<'_>, minor: u32) -> Option<Violation> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && *since <= minor);
    let bad: Vec<&str> = each(pod.context(), "sysctls").map(name).filter(|name| !allowed(name)).collect();
    if bad.is_empty() {
        return None;
    }
    violation("forbidden sysctls", bad.join(", "))
}

pub fn sysctls(pod: Pod<'_>) -> Option<Violation> {
    sysctls_at(pod, 0)
}

pub fn sysctls_1_27(pod: Pod<'_>) -> Option<Violation> {
    sysctls_at(pod, 27)
}

pub fn sysctls_1_29(pod: Pod<'_>) -> Option<Violation> {
    sysctls_at(pod, 29)
}

pub fn sysctls_1_32(pod: Pod<'_>) -> Option<Violation> {
    sysctls_at(pod, 32)
}

pub fn host_process(pod: Pod<'_>) -> Option<Violation> {
    let bad = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let names: Vec<&str> = pod.containers().filter(|one| bad(&one["securityContext"])).map(name).collect();
    let who = setters(bad(pod.context()), &names)?;
    violation("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}
