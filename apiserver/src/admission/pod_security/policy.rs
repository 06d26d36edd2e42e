//! What a namespace's labels say about its pods. Pure.

use std::collections::BTreeMap;
use std::fmt;

use skiff_api::status::FieldError;

/// How much a pod may do; the later, the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything.
    Privileged,
    /// Nothing that is known to lead out of the pod.
    Baseline,
    /// As little as is held to be good practice.
    Restricted,
}

/// Of which Kubernetes version a level is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.N.
    Minor(u32),
    /// The newest there is.
    Latest,
}

/// A level as one version knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    /// How much.
    pub level: Level,
    /// As of when.
    pub version: Version,
}

/// What is enforced, noted in the audit log, and warned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

const PREFIX: &str = "pod-security.kubernetes.io/";

impl Level {
    /// Reads a level.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

impl Version {
    /// Reads a version.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let number = text.strip_prefix("v1.").filter(|rest| {
            rest.bytes().all(|byte| byte.is_ascii_digit()) && (*rest == "0" || !rest.starts_with('0'))
        });
        number.and_then(|rest| rest.parse().ok()).map(Self::Minor).ok_or("must be \"latest\" or \"v1.x\"")
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

impl Standard {
    /// Anything goes.
    #[cfg(test)]
    pub const NOTHING: Self = Self { level: Level::Privileged, version: Version::Latest };

    /// Whether both let the same in.
    fn equivalent(self, other: Self) -> bool {
        self == other || (self.level == Level::Privileged && other.level == Level::Privileged)
    }
}

impl Policy {
    /// Whether nothing is asked of pods.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|one| one.level == Level::Privileged)
    }

    /// What labels make of the defaults, and what is wrong with them. A level that is not understood is enforced as the
    /// strictest, and otherwise ignored.
    pub fn of(labels: &BTreeMap<String, String>, defaults: &Self) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut policy = *defaults;
        let label = |name: &str| labels.get(&format!("{PREFIX}{name}"));
        let mut wrong = |name: &str, value: &str, why: &str| {
            let path = format!("metadata.labels[{PREFIX}{name}]");
            errors.push(FieldError::invalid(path, value, why));
        };
        let modes: [(&str, &mut Standard, Level); 3] = [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ];
        let mut enforced = false;
        for (name, standard, otherwise) in modes {
            if let Some(text) = label(name) {
                let level = Level::parse(text);
                enforced |= name == "enforce" && level.is_ok();
                standard.level = level.unwrap_or_else(|why| {
                    wrong(name, text, why);
                    otherwise
                });
            }
            let name = format!("{name}-version");
            if let Some(text) = label(&name) {
                standard.version = Version::parse(text).unwrap_or_else(|why| {
                    wrong(&name, text, why);
                    Version::Latest
                });
            }
        }
        // What is enforced is warned of, too: in templates it would not be seen otherwise.
        if label("warn").is_none() && enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if label("warn-version").is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// What to say about the labels of a namespace in which nothing is enforced anyway.
    pub fn ignored(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        defaults: &Self,
    ) -> Option<String> {
        let pairs =
            [(self.enforce, defaults.enforce), (self.audit, defaults.audit), (self.warn, defaults.warn)];
        if self.is_privileged() || pairs.iter().all(|(own, default)| own.equivalent(*default)) {
            return None;
        }
        let given = |name: &str| {
            labels.contains_key(&format!("{PREFIX}{name}"))
                || labels.contains_key(&format!("{PREFIX}{name}-version"))
        };
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let said = modes.iter().filter(|(name, one)| one.level != Level::Privileged && given(name));
        let said: Vec<String> = said.map(|(name, one)| format!("{name}={one}")).collect();
        Some(format!(
            "namespace {namespace:?} is exempt from Pod Security, and the policy ({}) will be ignored",
            said.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Policy =
        Policy { enforce: Standard::NOTHING, audit: Standard::NOTHING, warn: Standard::NOTHING };

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned())).collect()
    }

    #[test]
    fn labels_say_what_is_asked_of_pods() {
        for (pairs, expected, errors) in [
            (&[] as &[_], ["privileged:latest"; 3], 0),
            (&[("enforce", "baseline")], ["baseline:latest", "privileged:latest", "baseline:latest"], 0),
            (
                &[("enforce", "restricted"), ("enforce-version", "v1.25"), ("warn-version", "v1.30")],
                ["restricted:v1.25", "privileged:latest", "restricted:v1.30"],
                0,
            ),
            (
                &[("enforce", "baseline"), ("warn", "privileged"), ("audit", "restricted")],
                ["baseline:latest", "restricted:latest", "privileged:latest"],
                0,
            ),
            (&[("enforce", "x")], ["restricted:latest", "privileged:latest", "privileged:latest"], 1),
            (&[("audit", "x"), ("warn", "y"), ("enforce-version", "1.2")], ["privileged:latest"; 3], 3),
        ] {
            let (policy, wrong) = Policy::of(&labels(pairs), &DEFAULTS);
            let shown = [policy.enforce, policy.audit, policy.warn].map(|one| one.to_string());
            assert_eq!((shown, wrong.len()), (expected.map(str::to_owned), errors), "{pairs:?}");
        }
        let (_, wrong) = Policy::of(&labels(&[("enforce", "x")]), &DEFAULTS);
        assert_eq!(
            wrong[0].to_string(),
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be one of privileged, \
             baseline, restricted"
        );
    }

    #[test]
    fn versions_are_latest_or_a_minor_one() {
        for (text, version) in [
            ("latest", Ok(Version::Latest)),
            ("v1.0", Ok(Version::Minor(0))),
            ("v1.36", Ok(Version::Minor(36))),
        ] {
            assert_eq!(Version::parse(text), version);
        }
        for text in ["", "v1", "v1.", "v1.01", "v2.0", "1.3", "v1.3.1", "v1.+3", "v1.99999999999"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
        assert!(Version::Minor(99) < Version::Latest);
    }

    #[test]
    fn a_policy_that_is_ignored_is_told() {
        let labels = labels(&[("enforce", "baseline"), ("warn", "restricted"), ("warn-version", "v1.30")]);
        let (policy, _) = Policy::of(&labels, &DEFAULTS);
        let said = "namespace \"n\" is exempt from Pod Security, and the policy (enforce=baseline:latest, \
                    warn=restricted:v1.30) will be ignored";
        assert_eq!(policy.ignored("n", &labels, &DEFAULTS).as_deref(), Some(said));
        assert_eq!(policy.ignored("n", &labels, &policy), None);
        assert_eq!(DEFAULTS.ignored("n", &labels, &policy), None);
    }
}
