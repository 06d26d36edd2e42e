//! What `PodSecurityConfiguration` says: the policy of namespaces that have no labels, and who is exempt.

use serde_json::Value;
use skiff_api::name;
use skiff_api::status::FieldError;

use super::policy::{Level, Policy, Standard, Version};
use crate::admission::configuration;

const GROUP: &str = "pod-security.admission.config.k8s.io";

/// The plugin's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What holds where labels say nothing.
    pub defaults: Policy,
    /// Whose requests are not judged.
    pub users: Vec<String>,
    /// Where nothing is judged.
    pub namespaces: Vec<String>,
    /// Pods of which classes are not judged.
    pub runtime_classes: Vec<String>,
}

impl Settings {
    /// Reads them; without any, nothing is asked and no one exempt.
    ///
    /// # Errors
    /// Every mistake.
    pub fn read(told: Option<&Value>) -> Result<Self, String> {
        let told = told.unwrap_or(&Value::Null);
        if !told.is_null() {
            configuration::check_kind(
                told,
                GROUP,
                &["v1", "v1beta1", "v1alpha1"],
                "PodSecurityConfiguration",
            )?;
        }
        let mut errors = Vec::new();
        let mut standard = |mode: &str| {
            let said = |name: &str| told["defaults"][name].as_str().filter(|text| !text.is_empty());
            let version_name = format!("{mode}-version");
            let (level, version) =
                (said(mode).unwrap_or("privileged"), said(&version_name).unwrap_or("latest"));
            let read = (Level::parse(level), Version::parse(version));
            if let Err(why) = read.0 {
                errors.push(FieldError::invalid(format!("defaults.{mode}"), level, why));
            }
            if let Err(why) = read.1 {
                errors.push(FieldError::invalid(format!("defaults.{version_name}"), version, why));
            }
            Standard {
                level: read.0.unwrap_or(Level::Restricted),
                version: read.1.unwrap_or(Version::Latest),
            }
        };
        let defaults =
            Policy { enforce: standard("enforce"), warn: standard("warn"), audit: standard("audit") };
        let mut exempt = |list: &str, wrong: fn(&str) -> Vec<String>| {
            let names = told["exemptions"][list].as_array().into_iter().flatten().filter_map(Value::as_str);
            let names: Vec<String> = names.map(str::to_owned).collect();
            for (at, name) in names.iter().enumerate() {
                let path = format!("exemptions.{list}[{at}]");
                let why = wrong(name);
                if !why.is_empty() {
                    errors.push(FieldError::invalid(path, name.as_str(), why.join(", ")));
                } else if names[..at].contains(name) {
                    errors.push(FieldError::duplicate(path, name.as_str()));
                }
            }
            names
        };
        let named = |name: &str| match name {
            "" => vec!["username must not be empty".to_owned()],
            _ => Vec::new(),
        };
        let settings = Self {
            defaults,
            namespaces: exempt("namespaces", name::dns1123_label),
            runtime_classes: exempt("runtimeClasses", name::dns1123_subdomain),
            users: exempt("usernames", named),
        };
        match errors.as_slice() {
            [] => Ok(settings),
            errors => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_configuration_is_read_or_every_mistake_is_told() {
        let told = |defaults: Value, exemptions: Value| {
            Settings::read(Some(&json!({
                "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
                "defaults": defaults, "exemptions": exemptions,
            })))
        };
        let read = told(
            json!({"enforce": "baseline", "enforce-version": "v1.30", "audit": "restricted"}),
            json!({"usernames": ["system:serviceaccount:a:b"], "namespaces": ["kube-system"], "runtimeClasses": []}),
        )
        .unwrap();
        assert_eq!(read.defaults.enforce.to_string(), "baseline:v1.30");
        assert_eq!(read.defaults.audit.to_string(), "restricted:latest");
        assert_eq!(read.namespaces, ["kube-system"]);
        assert!(Settings::read(None).unwrap().defaults.is_privileged());
        let wrong = told(
            json!({"enforce": "x", "warn-version": "1"}),
            json!({"namespaces": ["A", "b", "b"], "usernames": [""]}),
        );
        let wrong = wrong.unwrap_err();
        for part in [
            "defaults.enforce: ",
            "defaults.warn-version: ",
            "namespaces[0]: ",
            "namespaces[2]: Dup",
            "usernames[0]: ",
        ] {
            assert!(wrong.contains(part), "{wrong}");
        }
        assert!(Settings::read(Some(&json!({"kind": "X"}))).is_err());
    }
}
