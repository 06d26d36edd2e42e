//! `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`: what is encrypted, and by which providers in which order.
//!
//! Behaviour: upstream's `options/encryptionconfig` and `apis/apiserver/validation`. A key is never part of an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::cipher::Cipher;
use super::kms::Kms;
use super::provider::Provider;

const API_VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";
const ALL: &str = "*";
/// How long a KMS may take, unless the file says otherwise.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<Choice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<Keys>,
    kms: Option<KmsChoice>,
    identity: Option<Nothing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    keys: Vec<NamedKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedKey {
    #[serde(default)]
    name: String,
    #[serde(default)]
    secret: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KmsChoice {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    endpoint: String,
    cachesize: Option<i64>,
    timeout: Option<String>,
}

/// What is encrypted, ready for use.
#[derive(Default)]
pub struct Configuration {
    /// By group and resource; either may be `*`.
    rules: HashMap<(String, String), Arc<Vec<Arc<Provider>>>>,
    kms: Vec<Arc<Kms>>,
}

impl Configuration {
    /// Reads a file's text. Keys held elsewhere are not asked for yet.
    ///
    /// # Errors
    /// What is wrong with it, one line a mistake; no key is shown.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| first_line(&error.to_string()))?;
        if file.api_version != API_VERSION || file.kind != KIND {
            return Err(format!(
                "{} of {} is not supported; expected {KIND} of {API_VERSION}",
                file.kind, file.api_version
            ));
        }
        let errors = check(&file.resources);
        if !errors.is_empty() {
            return Err(errors.join("\n"));
        }
        let mut lists: HashMap<(String, String), Vec<Arc<Provider>>> = HashMap::new();
        let mut configuration = Self::default();
        for rule in file.resources {
            let mut providers = Vec::new();
            for choice in rule.providers {
                providers.push(Arc::new(configuration.provider(choice)?));
            }
            for resource in &rule.resources {
                let (group, name) = group_resource(resource);
                for (masking_group, word) in [(group.as_str(), format!("*.{group}")), (ALL, "*.*".to_owned())]
                {
                    if lists.contains_key(&(masking_group.to_owned(), ALL.to_owned())) {
                        return Err(format!("resource {resource:?} is masked by earlier rule {word:?}"));
                    }
                }
                lists.entry((group, name)).or_default().extend(providers.iter().cloned());
            }
        }
        configuration.rules = lists.into_iter().map(|(key, list)| (key, Arc::new(list))).collect();
        Ok(configuration)
    }

    /// The providers of a resource; none if its values are kept as they are.
    pub fn providers(&self, group: &str, resource: &str) -> Option<&Arc<Vec<Arc<Provider>>>> {
        [(group, resource), (group, ALL), (ALL, ALL)]
            .into_iter()
            .find_map(|(group, resource)| self.rules.get(&(group.to_owned(), resource.to_owned())))
    }

    /// The same, which can also read what another wrote.
    #[must_use]
    pub fn also_reading(mut self, other: Self) -> Self {
        for (resource, theirs) in other.rules {
            let own = self.providers(&resource.0, &resource.1).map(|list| list.to_vec());
            let own = own.unwrap_or_else(|| vec![Arc::new(Provider::Identity)]);
            let list: Vec<_> = own.into_iter().chain(theirs.iter().cloned()).collect();
            self.rules.insert(resource, Arc::new(list));
        }
        self.kms.extend(other.kms);
        self
    }

    /// The keepers of keys that it names.
    pub fn kms(&self) -> &[Arc<Kms>] {
        &self.kms
    }

    fn provider(&mut self, choice: Choice) -> Result<Provider, String> {
        let keys = |prefix, keys: Keys, make: fn(&[u8]) -> Option<Cipher>| {
            let made = keys.keys.into_iter().filter_map(|key| {
                let bytes = STANDARD.decode(&key.secret).ok()?;
                Some((key.name, make(&bytes)?))
            });
            Provider::Keys(prefix, made.collect())
        };
        if let Some(given) = choice.aesgcm {
            return Ok(keys("k8s:enc:aesgcm:v1:", given, Cipher::aes_gcm));
        }
        if let Some(given) = choice.aescbc {
            return Ok(keys("k8s:enc:aescbc:v1:", given, Cipher::aes_cbc));
        }
        if let Some(given) = choice.secretbox {
            return Ok(keys("k8s:enc:secretbox:v1:", given, Cipher::secretbox));
        }
        let Some(given) = choice.kms else { return Ok(Provider::Identity) };
        if given.api_version != "v2" {
            return Err("KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.".into());
        }
        let timeout = given.timeout.as_deref().and_then(skiff_api::duration::parse).unwrap_or(KMS_TIMEOUT);
        let path = given.endpoint.strip_prefix("unix://").unwrap_or_default();
        let kms = Arc::new(Kms::new(&given.name, path, timeout));
        self.kms.push(kms.clone());
        Ok(Provider::Kms(format!("k8s:enc:kms:v2:{}:", given.name), kms))
    }
}

/// A parser may quote what it cannot read, and that may be a key: only where, not what.
fn first_line(error: &str) -> String {
    error.lines().next().unwrap_or_default().to_owned()
}

/// `secrets`, `deployments.apps`, `*.` (all of the core group), `*.apps`, `*.*`.
fn group_resource(text: &str) -> (String, String) {
    let (resource, group) = text.split_once('.').unwrap_or((text, ""));
    (group.to_owned(), resource.to_owned())
}

fn check(rules: &[Rule]) -> Vec<String> {
    if rules.is_empty() {
        return vec!["resources: Required value: at least one resources is required".into()];
    }
    let mut errors = Vec::new();
    let mut kms_names = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let (resources, providers) =
            (format!("resources[{at}].resources"), format!("resources[{at}].providers"));
        for (path, empty) in
            [(&resources, rule.resources.is_empty()), (&providers, rule.providers.is_empty())]
        {
            if empty {
                errors.push(format!("{path}: Required value: at least one {path} is required"));
            }
        }
        errors.extend(overlaps(&rule.resources).map(|why| format!("{resources}: Invalid value: {why}")));
        for (index, name) in rule.resources.iter().enumerate() {
            if let Some(why) = bad_resource(name) {
                errors.push(format!("{resources}[{index}]: Invalid value: {name:?}: {why}"));
            }
        }
        for (index, choice) in rule.providers.iter().enumerate() {
            check_choice(&format!("{providers}[{index}]"), choice, &mut kms_names, &mut errors);
        }
    }
    errors
}

/// Group and plural.
type Resource = (String, String);

fn overlaps(resources: &[String]) -> Option<String> {
    let pairs: Vec<_> = resources.iter().map(|text| group_resource(text)).collect();
    let each = |test: &dyn Fn(&Resource, &Resource) -> bool| {
        pairs.iter().enumerate().any(|(i, a)| pairs.iter().skip(i + 1).any(|b| test(a, b) || test(b, a)))
    };
    if each(&|a, b| a == b) {
        return Some("the same resource cannot be specified multiple times".into());
    }
    let everything = (ALL.to_owned(), ALL.to_owned());
    if each(&|a, b| *a == everything || (a.0 == b.0 && a.1 == ALL)) {
        return Some(
            "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they \
             will be masked"
                .into(),
        );
    }
    None
}

fn bad_resource(name: &str) -> Option<&'static str> {
    let (group, resource) = group_resource(name);
    Some(match (group.as_str(), resource.as_str()) {
        _ if name.chars().any(char::is_uppercase) => "resource name should not contain capital letters",
        _ if name == ALL => {
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        }
        ("", "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations") => {
            "resources which do not have REST API/s cannot be encrypted"
        }
        ("events.k8s.io", _) => {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the \
             config file"
        }
        ("extensions", _) => "'extensions' group has been removed and cannot be used for encryption",
        (ALL, resource) if resource != ALL => "encrypting the same resource across groups is not supported",
        _ => return None,
    })
}

fn check_choice(path: &str, choice: &Choice, kms_names: &mut Vec<String>, errors: &mut Vec<String>) {
    let given = [
        choice.aesgcm.is_some(),
        choice.aescbc.is_some(),
        choice.secretbox.is_some(),
        choice.kms.is_some(),
        choice.identity.is_some(),
    ];
    match given.into_iter().filter(|given| *given).count() {
        0 => errors.push(format!(
            "{path}: Invalid value: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, \
             Secretbox, Identity"
        )),
        1 => {}
        _ => errors.push(format!(
            "{path}: Invalid value: more than one provider specified in a single element, should split into different \
             list elements"
        )),
    }
    let aes: &[usize] = &[16, 24, 32];
    for (name, keys, lengths) in [
        ("aesgcm", &choice.aesgcm, aes),
        ("aescbc", &choice.aescbc, aes),
        ("secretbox", &choice.secretbox, &[32]),
    ] {
        if let Some(keys) = keys {
            check_keys(&format!("{path}.{name}.keys"), &keys.keys, lengths, errors);
        }
    }
    if let Some(kms) = &choice.kms {
        check_kms(&format!("{path}.kms"), kms, kms_names, errors);
    }
}

fn check_keys(path: &str, keys: &[NamedKey], lengths: &[usize], errors: &mut Vec<String>) {
    if keys.is_empty() {
        errors.push(format!("{path}: Required value: at least one keys is required"));
    }
    for (at, key) in keys.iter().enumerate() {
        if key.name.is_empty() {
            errors.push(format!("{path}[{at}].name: Required value: name is a mandatory field for a key"));
        }
        let path = format!("{path}[{at}].secret");
        if key.secret.is_empty() {
            errors.push(format!("{path}: Required value: secret is a mandatory field for a key"));
            continue;
        }
        match STANDARD.decode(&key.secret) {
            Err(_) => {
                errors.push(format!("{path}: Invalid value: \"REDACTED\": secrets must be base64 encoded"));
            }
            Ok(bytes) if !lengths.contains(&bytes.len()) => {
                let expected: Vec<String> = lengths.iter().map(ToString::to_string).collect();
                errors.push(format!(
                    "{path}: Invalid value: \"REDACTED\": secret is not of the expected length, got {}, expected one of [{}]",
                    bytes.len(),
                    expected.join(" ")
                ));
            }
            Ok(_) => {}
        }
    }
}

fn check_kms(path: &str, kms: &KmsChoice, names: &mut Vec<String>, errors: &mut Vec<String>) {
    let name = &kms.name;
    if name.is_empty() {
        errors.push(format!("{path}.name: Required value: name is a mandatory field for a provider"));
    } else if name.contains(':') {
        errors.push(format!(
            "{path}.name: Invalid value: {name:?}: invalid KMS provider name {name}, must not contain ':'"
        ));
    } else if names.contains(name) {
        errors.push(format!(
            "{path}.name: Invalid value: {name:?}: duplicate KMS provider name {name}, names must be unique"
        ));
    }
    names.push(name.clone());
    if let Some(timeout) = &kms.timeout
        && skiff_api::duration::parse(timeout).is_none_or(|timeout| timeout.is_zero())
    {
        errors
            .push(format!("{path}.timeout: Invalid value: {timeout:?}: timeout should be a positive value"));
    }
    match kms.endpoint.split_once("://") {
        _ if kms.endpoint.is_empty() => {
            errors.push(format!(
                "{path}.endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms"
            ));
        }
        Some(("unix", _)) => {}
        other => {
            let scheme = other.map_or("", |(scheme, _)| scheme);
            errors.push(format!(
                "{path}.endpoint: Invalid value: {:?}: unsupported scheme {scheme:?} for KMS provider, only unix is supported",
                kms.endpoint
            ));
        }
    }
    match kms.api_version.as_str() {
        "" | "v1" => {}
        "v2" if kms.cachesize.is_some() => {
            errors.push(format!("{path}.cachesize: Invalid value: cachesize is not supported in v2"));
        }
        "v2" => {}
        other => errors.push(format!(
            "{path}.apiVersion: Invalid value: {other:?}: unsupported apiVersion {other} for KMS provider, only v1 and v2 \
             are supported"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn parse(resources: &str, providers: &str) -> Result<Configuration, String> {
        Configuration::parse(&format!(
            "apiVersion: {API_VERSION}\nkind: {KIND}\nresources:\n- resources: {resources}\n  providers: {providers}\n"
        ))
    }

    /// Groups and plurals.
    type Names<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn a_rule_covers_what_it_names() {
        let good = format!("[{{aesgcm: {{keys: [{{name: k, secret: {KEY}}}]}}}}, {{identity: {{}}}}]");
        let table: [(&str, Names<'_>, Names<'_>); 5] = [
            ("[secrets]", &[("", "secrets")], &[("", "configmaps"), ("apps", "secrets")]),
            (
                "[secrets, deployments.apps]",
                &[("", "secrets"), ("apps", "deployments")],
                &[("", "deployments")],
            ),
            ("['*.']", &[("", "secrets"), ("", "pods")], &[("apps", "deployments")]),
            ("['*.apps']", &[("apps", "deployments")], &[("", "secrets")]),
            ("['*.*']", &[("apps", "deployments"), ("", "secrets"), ("example.com", "things")], &[]),
        ];
        for (resources, covered, left) in table {
            let read = parse(resources, &good).map_err(|why| format!("{resources}: {why}")).unwrap();
            let is = |pair: &(&str, &str)| read.providers(pair.0, pair.1).is_some_and(|list| list.len() == 2);
            assert!(covered.iter().all(is), "{resources}");
            assert!(!left.iter().any(is), "{resources}");
        }
    }

    #[test]
    fn mistakes_are_told_in_upstreams_words_and_keys_are_not() {
        let keys = |text: &str| format!("[{{aescbc: {{keys: [{text}]}}}}]");
        let identity = "[{identity: {}}]".to_owned();
        let table = [
            ("[secrets]", "[]".to_owned(), "at least one resources[0].providers is required"),
            ("[]", identity.clone(), "at least one resources[0].resources is required"),
            ("[Secrets]", identity.clone(), "resource name should not contain capital letters"),
            ("['*']", identity.clone(), "use '*.' to encrypt all the resources from core API group"),
            (
                "['secrets.*']",
                identity.clone(),
                "encrypting the same resource across groups is not supported",
            ),
            ("[events.events.k8s.io]", identity.clone(), "Use 'events' instead in the config file"),
            ("[secrets, secrets]", identity.clone(), "the same resource cannot be specified multiple times"),
            ("[secrets, '*.']", identity.clone(), "as they will be masked"),
            ("[secrets, '*.*']", identity.clone(), "as they will be masked"),
            ("[secrets]", "[{}]".into(), "provider does not contain any of the expected providers"),
            (
                "[secrets]",
                format!("[{{identity: {{}}, aesgcm: {{keys: [{{name: k, secret: {KEY}}}]}}}}]"),
                "more than one provider specified in a single element",
            ),
            ("[secrets]", keys(""), "at least one keys is required"),
            ("[secrets]", keys(&format!("{{secret: {KEY}}}")), "name is a mandatory field for a key"),
            ("[secrets]", keys("{name: k}"), "secret is a mandatory field for a key"),
            ("[secrets]", keys("{name: k, secret: hush!}"), "secrets must be base64 encoded"),
            (
                "[secrets]",
                keys("{name: k, secret: aHVzaA==}"),
                "secret is not of the expected length, got 4, expected one of [16 24 32]",
            ),
            (
                "[secrets]",
                "[{kms: {apiVersion: v2, endpoint: 'unix:///a'}}]".into(),
                "name is a mandatory field",
            ),
            (
                "[secrets]",
                "[{kms: {apiVersion: v2, name: a, endpoint: 'tcp://a'}}]".into(),
                "unsupported scheme \"tcp\" for KMS provider, only unix is supported",
            ),
            (
                "[secrets]",
                "[{kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///a'}}]".into(),
                "must not contain ':'",
            ),
            (
                "[secrets]",
                "[{kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', cachesize: 3}}]".into(),
                "cachesize is not supported in v2",
            ),
            ("[secrets]", "[{kms: {name: a, endpoint: 'unix:///a'}}]".into(), "KMSv1 is deprecated"),
            ("[secrets]", "[{rot13: {}}]".into(), "rot13"),
        ];
        for (resources, providers, expected) in table {
            let error = parse(resources, &providers).err().unwrap_or_default();
            assert!(error.contains(expected), "{resources} {providers}: {error}");
            assert!(!error.contains("hush") && !error.contains("aHVzaA"), "{error}");
        }
        assert!(Configuration::parse("kind: Pod\napiVersion: v1\n").is_err());
    }

    #[test]
    fn a_rule_behind_a_wider_one_is_refused() {
        let text = format!(
            "apiVersion: {API_VERSION}\nkind: {KIND}\nresources:\n- resources: ['*.']\n  providers: [{{identity: {{}}}}]\n\
             - resources: [secrets]\n  providers: [{{identity: {{}}}}]\n"
        );
        let error = Configuration::parse(&text).err().unwrap();
        assert_eq!(error, r#"resource "secrets" is masked by earlier rule "*.""#);
    }
}
