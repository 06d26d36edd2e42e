//! The checks of the Pod Security Standards, as a table, and a pod held to a level of them. Pure.

mod baseline;
mod restricted;
#[cfg(test)]
mod tests;
mod words;

use serde_json::Value;
use skiff_api::meta;

use super::policy::{Level, Standard, Version};

/// A pod, or the template of some.
#[derive(Clone, Copy)]
pub struct Pod<'a> {
    /// What has `metadata`.
    pub object: &'a Value,
    /// `spec`.
    pub spec: &'a Value,
}

/// Why a pod is not let in by a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What it is about.
    pub reason: String,
    /// Where it is.
    pub detail: String,
}

type Judge = fn(Pod<'_>) -> Option<Violation>;

struct Check {
    level: Level,
    name: &'static str,
    /// Each with the minor version since which it holds, the oldest first.
    since: &'static [(u32, Judge)],
    /// A check of the lower level that this one is stricter than.
    replaces: &'static str,
}

const fn baseline(name: &'static str, since: &'static [(u32, Judge)]) -> Check {
    Check { level: Level::Baseline, name, since, replaces: "" }
}

const fn restricted(name: &'static str, since: &'static [(u32, Judge)], replaces: &'static str) -> Check {
    Check { level: Level::Restricted, name, since, replaces }
}

/// In the order in which violations are told.
const CHECKS: &[Check] = &[
    baseline("appArmorProfile", &[(0, baseline::app_armor)]),
    baseline("capabilities_baseline", &[(0, baseline::capabilities)]),
    baseline("hostNamespaces", &[(0, baseline::host_namespaces)]),
    baseline("hostPathVolumes", &[(0, baseline::host_path_volumes)]),
    baseline("hostPorts", &[(0, baseline::host_ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, baseline::probe_hosts)]),
    baseline("privileged", &[(0, baseline::privileged)]),
    baseline("procMount", &[(0, baseline::proc_mount), (35, baseline::proc_mount_1_35)]),
    baseline("seLinuxOptions", &[(0, baseline::se_linux), (31, baseline::se_linux_1_31)]),
    baseline("seccompProfile_baseline", &[(0, baseline::seccomp_annotations), (19, baseline::seccomp)]),
    baseline(
        "sysctls",
        &[
            (0, baseline::sysctls),
            (27, baseline::sysctls_1_27),
            (29, baseline::sysctls_1_29),
            (32, baseline::sysctls_1_32),
        ],
    ),
    baseline("windowsHostProcess", &[(0, baseline::host_process)]),
    restricted(
        "allowPrivilegeEscalation",
        &[(8, restricted::privilege_escalation), (25, restricted::privilege_escalation_1_25)],
        "",
    ),
    restricted(
        "capabilities_restricted",
        &[(22, restricted::capabilities), (25, restricted::capabilities_1_25)],
        "capabilities_baseline",
    ),
    restricted("procMount_restricted", &[(35, baseline::proc_mount)], "procMount"),
    restricted("restrictedVolumes", &[(0, restricted::volumes)], "hostPathVolumes"),
    restricted("runAsNonRoot", &[(0, restricted::non_root), (35, restricted::non_root_1_35)], ""),
    restricted("runAsUser", &[(23, restricted::user), (35, restricted::user_1_35)], ""),
    restricted(
        "seccompProfile_restricted",
        &[(19, restricted::seccomp), (25, restricted::seccomp_1_25)],
        "seccompProfile_baseline",
    ),
];

impl Check {
    /// As a version has it, if that has it.
    fn at(&self, version: Version) -> Option<Judge> {
        let since = self.since.iter().rev().find(|(minor, _)| Version::Minor(*minor) <= version);
        since.map(|(_, judge)| *judge)
    }
}

/// What in a pod is against a standard.
pub fn judge(standard: Standard, pod: Pod<'_>) -> Vec<Violation> {
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let held: Vec<(&Check, Judge)> = CHECKS
        .iter()
        .filter(|check| check.level <= standard.level)
        .filter_map(|check| Some((check, check.at(standard.version)?)))
        .collect();
    let replaced = |name: &str| held.iter().any(|(check, _)| check.replaces == name);
    held.iter().filter(|(check, _)| !replaced(check.name)).filter_map(|(_, judge)| judge(pod)).collect()
}

/// All reasons with where they are: `hostPort (container "a" uses hostPort 80), privileged`.
pub fn detailed(violations: &[Violation]) -> String {
    let each = violations.iter().map(|one| match one.detail.as_str() {
        "" => one.reason.clone(),
        detail => format!("{} ({detail})", one.reason),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// All reasons.
pub fn brief(violations: &[Violation]) -> String {
    violations.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>().join(", ")
}

impl<'a> Pod<'a> {
    /// Every container, those that run first at first.
    fn containers(self) -> impl Iterator<Item = &'a Value> {
        let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
        lists.filter_map(move |list| self.spec[list].as_array()).flatten()
    }

    fn volumes(self) -> impl Iterator<Item = &'a Value> {
        self.spec["volumes"].as_array().into_iter().flatten()
    }

    /// The security context of the pod as a whole.
    fn context(self) -> &'a Value {
        &self.spec["securityContext"]
    }

    fn annotations(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        meta::annotations(self.object)
    }

    fn is_windows(self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Root in it is no one outside.
    fn has_own_users(self) -> bool {
        self.spec["hostUsers"] == false
    }
}
