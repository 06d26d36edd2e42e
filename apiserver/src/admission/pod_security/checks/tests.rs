use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

fn told(level: Level, version: Version, pod: &Value) -> String {
    detailed(&judge(Standard { level, version }, Pod { object: pod, spec: &pod["spec"] }))
}

/// A pod that the strictest level lets in.
fn good() -> Value {
    let container = |name: &str| {
        json!({"name": name, "image": "i", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}})
    };
    json!({"metadata": {"name": "p"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [container("i")], "containers": [container("a"), container("b")],
    }})
}

/// The good pod with values at paths.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut pod = good();
    for (path, value) in changes {
        let (parent, name) = path.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"))[name] = value.clone();
    }
    pod
}

#[test]
fn every_check_tells_what_it_found_in_upstreams_words() {
    let pod = "/spec/securityContext";
    let a = "/spec/containers/0/securityContext";
    let at = |base: &str, field: &str| format!("{base}/{field}");
    let volume = |kind: &str| json!([{"name": "v", kind: {}}]);
    let probe = |way: &str| json!({way: {"host": "127.0.0.1"}});
    let baseline: Vec<(Vec<(String, Value)>, &str)> = vec![
        (
            vec![
                (at(a, "appArmorProfile"), json!({"type": "Unconfined"})),
                (at(pod, "appArmorProfile"), json!({"type": "x"})),
            ],
            "forbidden AppArmor profiles (pod and container \"a\" must not set AppArmor profile type to \"Unconfined\", \"x\")",
        ),
        (
            vec![(
                "/metadata/annotations".into(),
                json!({"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}),
            )],
            "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
             \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
        ),
        (
            vec![(format!("{a}/capabilities/add"), json!(["SYS_TIME", "NET_RAW", "CHOWN"]))],
            "non-default capabilities (container \"a\" must not include \"NET_RAW\", \"SYS_TIME\" in securityContext.capabilities.add)",
        ),
        (
            vec![("/spec/hostNetwork".into(), json!(true)), ("/spec/hostIPC".into(), json!(true))],
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (vec![("/spec/volumes".into(), volume("hostPath"))], "hostPath volumes (volume \"v\")"),
        (
            vec![
                ("/spec/containers/0/ports".into(), json!([{"hostPort": 9}, {"hostPort": 80}, {}])),
                ("/spec/containers/1/ports".into(), json!([{"hostPort": 80}])),
            ],
            "hostPort (containers \"a\", \"b\" use hostPorts 80, 9)",
        ),
        (
            vec![
                ("/spec/containers/0/livenessProbe".into(), probe("httpGet")),
                ("/spec/containers/0/lifecycle".into(), json!({"preStop": probe("tcpSocket")})),
            ],
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"127.0.0.1\")",
        ),
        (
            vec![(at(a, "privileged"), json!(true))],
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            vec![(at(a, "procMount"), json!("Unmasked"))],
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            vec![
                (at(a, "seLinuxOptions"), json!({"type": "x", "user": "u"})),
                (at(pod, "seLinuxOptions"), json!({"role": "r"})),
            ],
            "seLinuxOptions (pod and container \"a\" set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be \
             set; role may not be set)",
        ),
        (
            vec![(at(pod, "seccompProfile"), json!({"type": "Unconfined"}))],
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (vec![(at(pod, "sysctls"), json!([{"name": "z"}, {"name": "a"}]))], "forbidden sysctls (z, a)"),
        (
            vec![(at(pod, "windowsOptions"), json!({"hostProcess": true}))],
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ];
    let restricted: Vec<(Vec<(String, Value)>, &str)> = vec![
        (
            vec![(at(a, "allowPrivilegeEscalation"), Value::Null)],
            "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            vec![(at(a, "capabilities"), json!({"add": ["CHOWN", "NET_BIND_SERVICE"]}))],
            "unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]; container \"a\" must \
             not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            vec![(
                "/spec/volumes".into(),
                json!([{"name": "v", "nfs": {}}, {"name": "w"}, {"name": "x", "secret": {}}]),
            )],
            "restricted volume types (volumes \"v\", \"w\" use restricted volume types \"nfs\", \"unknown\")",
        ),
        (
            vec![(at(pod, "runAsNonRoot"), Value::Null), (at(a, "runAsNonRoot"), json!(true))],
            "runAsNonRoot != true (pod or containers \"i\", \"b\" must set securityContext.runAsNonRoot=true)",
        ),
        (
            vec![(at(a, "runAsNonRoot"), json!(false))],
            "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false)",
        ),
        (vec![(at(a, "runAsUser"), json!(0))], "runAsUser=0 (container \"a\" must not set runAsUser=0)"),
        (
            vec![
                (at(pod, "seccompProfile"), Value::Null),
                (at(a, "seccompProfile"), json!({"type": "Localhost"})),
            ],
            "seccompProfile (pod or containers \"i\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
             \"Localhost\")",
        ),
    ];
    for (level, table) in [(Level::Baseline, baseline), (Level::Restricted, restricted)] {
        for (changes, expected) in table {
            let changes: Vec<(&str, Value)> =
                changes.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
            let pod = with(&changes);
            assert_eq!(told(level, Version::Latest, &pod), expected);
            assert_eq!(told(Level::Privileged, Version::Latest, &pod), "");
        }
    }
    assert_eq!(told(Level::Restricted, Version::Latest, &good()), "");
}

#[test]
fn a_version_knows_the_checks_of_its_time() {
    let own_users = |mut pod: Value| {
        pod["spec"]["hostUsers"] = false.into();
        pod
    };
    let sysctl = |name: &str| with(&[("/spec/securityContext/sysctls", json!([{"name": name}]))]);
    let unmasked = || with(&[("/spec/containers/0/securityContext/procMount", json!("Unmasked"))]);
    let root = || with(&[("/spec/securityContext/runAsUser", json!(0))]);
    let engine = with(&[("/spec/securityContext/seLinuxOptions", json!({"type": "container_engine_t"}))]);
    let mut windows = with(&[("/spec/containers/0/securityContext/capabilities", Value::Null)]);
    windows["spec"]["os"]["name"] = "windows".into();
    let probe = with(&[("/spec/containers/0/livenessProbe", json!({"tcpSocket": {"host": "h"}}))]);
    // The minor version before which the pod is judged otherwise than from it on.
    for (level, pod, turn, before) in [
        (Level::Baseline, sysctl("net.ipv4.ip_local_reserved_ports"), 27, false),
        (Level::Baseline, sysctl("net.ipv4.tcp_fin_timeout"), 29, false),
        (Level::Baseline, sysctl("net.ipv4.tcp_rmem"), 32, false),
        (Level::Baseline, engine, 31, false),
        (Level::Baseline, own_users(unmasked()), 35, false),
        (Level::Restricted, windows, 25, false),
        (Level::Restricted, own_users(root()), 35, false),
        (Level::Restricted, root(), 23, true),
        (Level::Baseline, probe, 34, true),
    ] {
        for minor in [turn - 1, turn] {
            let passes = told(level, Version::Minor(minor), &pod).is_empty();
            assert_eq!(passes, (minor < turn) == before, "{level:?} 1.{minor} {pod}");
        }
    }
    // Stricter than what it replaces, for pods with users of their own.
    let said = told(Level::Restricted, Version::Latest, &own_users(unmasked()));
    assert_eq!(said, "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")");
}

#[test]
fn checks_are_told_in_order_and_names_are_unique() {
    for level in [Level::Baseline, Level::Restricted] {
        let names: Vec<&str> = CHECKS.iter().filter(|one| one.level == level).map(|one| one.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
    assert!(CHECKS.is_sorted_by_key(|one| one.level));
    for check in CHECKS {
        assert!(check.since.is_sorted_by(|(a, _), (b, _)| a < b), "{}", check.name);
        let known = |name: &str| CHECKS.iter().any(|one| one.name == name && one.level == Level::Baseline);
        assert!(check.replaces.is_empty() || known(check.replaces), "{}", check.name);
    }
}

/// Upstream's own fixtures, where `SKIFF_REFERENCE` names a folder that has them as `pod-security/LEVEL/VERSION/{pass,fail}`.
#[test]
fn upstreams_fixtures_are_judged_as_upstream_does() {
    let Ok(reference) = std::env::var("SKIFF_REFERENCE") else { return };
    let root = PathBuf::from(reference).join("pod-security");
    let schema = skiff_api::schema::definition("io.k8s.api.core.v1.Pod").unwrap();
    let mut judged = 0;
    for (name, level) in [("baseline", Level::Baseline), ("restricted", Level::Restricted)] {
        for version in std::fs::read_dir(root.join(name)).unwrap() {
            let version = version.unwrap().path();
            let at = Version::parse(version.file_name().unwrap().to_str().unwrap()).unwrap();
            for (folder, passes) in [("pass", true), ("fail", false)] {
                for file in std::fs::read_dir(version.join(folder)).unwrap() {
                    let file = file.unwrap().path();
                    let (mut pod, _) =
                        skiff_api::yaml::decode_one(&std::fs::read(&file).unwrap(), true).unwrap();
                    skiff_api::walk::default(schema, &mut pod);
                    let said = told(level, at, &pod);
                    assert_eq!(said.is_empty(), passes, "{}: {said}", file.display());
                    judged += 1;
                }
            }
        }
    }
    assert!(judged > 4000, "{judged}");
}
