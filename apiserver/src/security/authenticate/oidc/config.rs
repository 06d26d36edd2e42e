//! Which issuers are believed: an AuthenticationConfiguration (`apiserver.config.k8s.io`, v1 and v1beta1), or the `--oidc-*` flags.
//!
//! Checked as upstream's `apiserver/pkg/apis/apiserver/validation`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::mapping::{Condition, From, Mapping, claim_condition, of_claims, user_condition};
use crate::security::authenticate::anonymous::Anonymous;
use crate::security::{Invalid, items, text, texts};

/// The `--oidc-*` flags.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--oidc-issuer-url`; the others mean nothing without it.
    pub issuer_url: String,
    /// `--oidc-client-id`.
    pub client_id: String,
    /// `--oidc-ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--oidc-username-claim`.
    pub username_claim: String,
    /// `--oidc-username-prefix`; `-` for none.
    pub username_prefix: String,
    /// `--oidc-groups-claim`.
    pub groups_claim: String,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: String,
    /// `--oidc-required-claim`: `key=value`.
    pub required_claims: Vec<String>,
    /// `--oidc-signing-algs`.
    pub signing_algs: Vec<String>,
}

/// An issuer that is believed.
pub struct Issuer {
    /// Its URL, as tokens say it.
    pub url: String,
    /// Where its discovery document is, if not below its URL.
    pub discovery_url: Option<String>,
    /// Whose certificates are believed, as PEM; this machine's if nothing.
    pub ca_pem: Option<String>,
    /// Those for whom its tokens must be meant: one is enough.
    pub audiences: Vec<String>,
    /// How users are made from its tokens.
    pub mapping: Mapping,
}

/// What a file says.
#[derive(Default)]
pub struct Configuration {
    /// The issuers.
    pub issuers: Vec<Issuer>,
    /// Where nobody in particular may ask, if it says so.
    pub anonymous: Option<Anonymous>,
}

impl Flags {
    /// The same as a file's `jwt` entry, so that there is one way to read both.
    ///
    /// # Errors
    /// The CA file cannot be read.
    pub fn to_object(&self) -> anyhow::Result<Value> {
        let ca_pem = match &self.ca_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| anyhow::anyhow!("--oidc-ca-file: {}: {error}", path.display()))?,
            None => String::new(),
        };
        let claim = if self.username_claim.is_empty() { "sub" } else { &self.username_claim };
        // Names of several issuers must not be mixed up; addresses name their own domain.
        let prefix = match (self.username_prefix.as_str(), claim) {
            ("-", _) | ("", "email") => String::new(),
            ("", _) => format!("{}#", self.issuer_url),
            (prefix, _) => prefix.to_owned(),
        };
        let rules: Vec<Value> = self
            .required_claims
            .iter()
            .filter_map(|rule| rule.split_once('='))
            .map(|(claim, value)| json!({"claim": claim, "requiredValue": value}))
            .collect();
        let mut jwt = json!({
            "issuer": {"url": self.issuer_url, "audiences": [self.client_id], "certificateAuthority": ca_pem},
            "claimMappings": {"username": {"claim": claim, "prefix": prefix}},
            "claimValidationRules": rules,
        });
        if !self.groups_claim.is_empty() {
            jwt["claimMappings"]["groups"] =
                json!({"claim": self.groups_claim, "prefix": self.groups_prefix});
        }
        Ok(
            json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt]}),
        )
    }
}

/// What a file says; `reserved` are the issuers of service accounts, which are none of others.
///
/// # Errors
/// It cannot be read, or does not say what it should.
pub fn read(path: &Path, reserved: &[String]) -> anyhow::Result<Configuration> {
    let told =
        |why: &dyn std::fmt::Display| anyhow::anyhow!("authentication config {}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|error| told(&error))?;
    let (object, _) = skiff_api::yaml::decode_one(&bytes, true).map_err(|why| told(&why))?;
    of_object(&object, reserved).map_err(|why| told(&why))
}

/// What an AuthenticationConfiguration says.
///
/// # Errors
/// What is wrong, at which field.
pub fn of_object(object: &Value, reserved: &[String]) -> Result<Configuration, Invalid> {
    let version = text(object, "/apiVersion").strip_prefix("apiserver.config.k8s.io/").unwrap_or_default();
    let known = matches!(version, "v1" | "v1beta1" | "v1alpha1");
    if text(object, "/kind") != "AuthenticationConfiguration" || !known {
        return Err(Invalid(format!(
            "no kind {:?} is registered for version {:?}",
            text(object, "/kind"),
            text(object, "/apiVersion")
        )));
    }
    let listed = items(object, "/jwt");
    if listed.len() > 64 {
        return Err(Invalid(format!("jwt: Too many: {}: must have at most 64 items", listed.len())));
    }
    let (mut issuers, mut urls) = (Vec::new(), BTreeSet::new());
    for (at, jwt) in listed.iter().enumerate() {
        let place = format!("jwt[{at}]");
        let issuer = issuer(jwt, &place, reserved)?;
        if !urls.insert(issuer.url.clone()) {
            return Err(Invalid(format!("{place}.issuer.url: Duplicate value: {:?}", issuer.url)));
        }
        issuers.push(issuer);
    }
    let anonymous = match object.get("anonymous").filter(|given| !given.is_null()) {
        None => None,
        Some(given) => {
            let paths: Vec<String> =
                items(given, "/conditions").iter().map(|one| text(one, "/path").to_owned()).collect();
            Some(match (given["enabled"] == true, paths.is_empty()) {
                (true, true) => Anonymous::Always,
                (true, false) => Anonymous::On(paths),
                (false, true) => Anonymous::Never,
                (false, false) => {
                    return Err(Invalid(
                        "anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined".into(),
                    ));
                }
            })
        }
    };
    Ok(Configuration { issuers, anonymous })
}

fn issuer(jwt: &Value, place: &str, reserved: &[String]) -> Result<Issuer, Invalid> {
    let fail = |field: &str, why: &str| Invalid(format!("{place}.{field}: {why}"));
    let url = text(jwt, "/issuer/url");
    if url.is_empty() {
        return Err(fail("issuer.url", "Required value"));
    }
    if reserved.iter().any(|one| one == url) {
        let why =
            format!("Invalid value: {url:?}: URL must not overlap with disallowed issuers: {reserved:?}");
        return Err(fail("issuer.url", &why));
    }
    check_url(url).map_err(|why| fail("issuer.url", &format!("Invalid value: {url:?}: {why}")))?;
    let discovery = text(jwt, "/issuer/discoveryURL");
    if !discovery.is_empty() {
        check_url(discovery)
            .map_err(|why| fail("issuer.discoveryURL", &format!("Invalid value: {discovery:?}: {why}")))?;
        if discovery.trim_end_matches('/') == url.trim_end_matches('/') {
            let why = format!("Invalid value: {discovery:?}: discoveryURL must be different from URL");
            return Err(fail("issuer.discoveryURL", &why));
        }
    }
    let audiences = texts(jwt, "/issuer/audiences");
    if audiences.is_empty() || audiences.iter().any(String::is_empty) {
        return Err(fail("issuer.audiences", "Required value: at least one issuer.audiences is required"));
    }
    let policy = text(jwt, "/issuer/audienceMatchPolicy");
    if audiences.len() > 1 && policy != "MatchAny" {
        let why =
            format!("Invalid value: {policy:?}: audienceMatchPolicy must be MatchAny for multiple audiences");
        return Err(fail("issuer.audienceMatchPolicy", &why));
    }
    let ca_pem = text(jwt, "/issuer/certificateAuthority");
    Ok(Issuer {
        url: url.to_owned(),
        discovery_url: (!discovery.is_empty()).then(|| discovery.to_owned()),
        ca_pem: (!ca_pem.is_empty()).then(|| ca_pem.to_owned()),
        audiences,
        mapping: mapping(jwt, place)?,
    })
}

fn check_url(url: &str) -> Result<(), &'static str> {
    let Some(rest) = url.strip_prefix("https://") else { return Err("URL scheme must be https") };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("URL must not contain a username or password");
    }
    if rest.contains('?') {
        return Err("URL must not contain a query");
    }
    if rest.contains('#') {
        return Err("URL must not contain a fragment");
    }
    Ok(())
}

fn mapping(jwt: &Value, place: &str) -> Result<Mapping, Invalid> {
    let fail = |field: &str, why: &str| Invalid(format!("{place}.{field}: {why}"));
    let mut mapping = Mapping::default();
    for (at, rule) in items(jwt, "/claimValidationRules").iter().enumerate() {
        let field = format!("claimValidationRules[{at}]");
        match (text(rule, "/claim"), text(rule, "/expression")) {
            ("", "") => return Err(fail(&field, "Required value: claim or expression is required")),
            (claim, "") => mapping.required.push((claim.to_owned(), text(rule, "/requiredValue").to_owned())),
            ("", expression) => mapping.claim_rules.push(Condition {
                program: claim_condition(expression)
                    .map_err(|why| fail(&format!("{field}.expression"), &why))?,
                message: text(rule, "/message").to_owned(),
            }),
            (claim, _) => {
                return Err(fail(
                    &field,
                    &format!("Invalid value: {claim:?}: claim and expression can't both be set"),
                ));
            }
        }
    }
    let find = |name: &str, prefixed: bool| -> Result<Option<From>, Invalid> {
        let field = format!("claimMappings.{name}");
        let given = &jwt["claimMappings"][name];
        match (text(given, "/claim"), text(given, "/expression")) {
            ("", "") => Ok(None),
            (claim, "") => {
                let prefix = given.get("prefix").and_then(Value::as_str);
                if prefixed && prefix.is_none() {
                    let why = "Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                    return Err(fail(&format!("{field}.prefix"), why));
                }
                Ok(Some(From::Claim {
                    name: claim.to_owned(),
                    prefix: prefix.unwrap_or_default().to_owned(),
                }))
            }
            ("", expression) => of_claims(expression)
                .map(|program| Some(From::Expression(Box::new(program))))
                .map_err(|why| fail(&format!("{field}.expression"), &why)),
            _ => Err(fail(&field, "Invalid value: \"\": claim and expression can't both be set")),
        }
    };
    mapping.username = find("username", true)?;
    if mapping.username.is_none() {
        return Err(fail("claimMappings.username", "Required value: claim or expression is required"));
    }
    mapping.groups = find("groups", true)?;
    mapping.uid = find("uid", false)?;
    for (at, one) in items(jwt, "/claimMappings/extra").iter().enumerate() {
        let field = format!("claimMappings.extra[{at}]");
        let (key, expression) = (text(one, "/key"), text(one, "/valueExpression"));
        let domain = key.split_once('/').map(|(domain, _)| domain).unwrap_or_default();
        if domain.is_empty() || key != key.to_lowercase() {
            let why = format!(
                "Invalid value: {key:?}: must be a lowercase domain-prefixed path (such as \"acme.io/foo\")"
            );
            return Err(fail(&format!("{field}.key"), &why));
        }
        if ["kubernetes.io", "k8s.io"]
            .iter()
            .any(|own| domain == *own || domain.ends_with(&format!(".{own}")))
        {
            let why = format!(
                "Invalid value: {key:?}: k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
            );
            return Err(fail(&format!("{field}.key"), &why));
        }
        if mapping.extra.iter().any(|(known, _)| known == key) {
            return Err(fail(&format!("{field}.key"), &format!("Duplicate value: {key:?}")));
        }
        let program = of_claims(expression).map_err(|why| fail(&format!("{field}.valueExpression"), &why))?;
        mapping.extra.push((key.to_owned(), program));
    }
    for (at, rule) in items(jwt, "/userValidationRules").iter().enumerate() {
        let field = format!("userValidationRules[{at}].expression");
        mapping.user_rules.push(Condition {
            program: user_condition(text(rule, "/expression")).map_err(|why| fail(&field, &why))?,
            message: text(rule, "/message").to_owned(),
        });
    }
    let username = text(jwt, "/claimMappings/username/expression");
    let elsewhere = [username.to_owned()]
        .into_iter()
        .chain(items(jwt, "/claimMappings/extra").iter().map(|one| text(one, "/valueExpression").to_owned()))
        .chain(items(jwt, "/claimValidationRules").iter().map(|one| text(one, "/expression").to_owned()));
    let uses_email = username.replace("claims.email_verified", "").contains("claims.email");
    if uses_email && !elsewhere.into_iter().any(|one| one.contains("claims.email_verified")) {
        let why = format!(
            "Invalid value: {username:?}: claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
        );
        return Err(fail("claimMappings.username.expression", &why));
    }
    Ok(mapping)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(change: impl FnOnce(&mut Value)) -> Result<Configuration, String> {
        let mut object = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{
                "issuer": {"url": "https://issuer.example", "audiences": ["k"]},
                "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
            }],
        });
        change(&mut object);
        of_object(&object, &["https://own".to_owned()]).map_err(|why| why.0)
    }

    #[test]
    fn a_configuration_is_read_and_its_mistakes_are_told_at_their_place() {
        assert_eq!(configuration(|_| {}).unwrap().issuers[0].audiences, ["k"]);
        type Change = fn(&mut Value);
        let table: [(Change, &str); 9] = [
            (|o| o["kind"] = "Other".into(), "no kind \"Other\" is registered"),
            (|o| o["jwt"][0]["issuer"]["url"] = "http://x".into(), "URL scheme must be https"),
            (
                |o| o["jwt"][0]["issuer"]["url"] = "https://own".into(),
                "must not overlap with disallowed issuers",
            ),
            (|o| o["jwt"][0]["issuer"]["audiences"] = json!([]), "jwt[0].issuer.audiences: Required value"),
            (
                |o| o["jwt"][0]["issuer"]["audiences"] = json!(["a", "b"]),
                "audienceMatchPolicy must be MatchAny for multiple audiences",
            ),
            (
                |o| o["jwt"][0]["claimMappings"]["username"] = json!({"claim": "sub"}),
                "jwt[0].claimMappings.username.prefix: Required value",
            ),
            (
                |o| o["jwt"][0]["claimMappings"]["username"] = json!({"expression": "claims.email"}),
                "claims.email_verified must be used",
            ),
            (
                |o| {
                    o["jwt"][0]["claimMappings"]["extra"] =
                        json!([{"key": "x.k8s.io/a", "valueExpression": "'a'"}])
                },
                "reserved for Kubernetes use",
            ),
            (
                |o| o["jwt"][0]["userValidationRules"] = json!([{"expression": "user.nope == ''"}]),
                "undefined field 'nope'",
            ),
        ];
        for (change, expected) in table {
            let why = configuration(change).err().unwrap_or_default();
            assert!(why.contains(expected), "{expected}: {why}");
        }
    }

    #[test]
    fn anonymous_may_be_limited_to_paths() {
        let anonymous = |given: Value| configuration(|o| o["anonymous"] = given).map(|found| found.anonymous);
        assert_eq!(anonymous(Value::Null), Ok(None));
        assert_eq!(anonymous(json!({"enabled": false})), Ok(Some(Anonymous::Never)));
        let on = json!({"enabled": true, "conditions": [{"path": "/livez"}]});
        assert_eq!(anonymous(on), Ok(Some(Anonymous::On(vec!["/livez".into()]))));
        assert!(anonymous(json!({"enabled": false, "conditions": [{"path": "/"}]})).is_err());
    }

    #[test]
    fn flags_say_the_same_in_other_words() {
        let flags = Flags { issuer_url: "https://i".into(), client_id: "k".into(), ..Flags::default() };
        let object = flags.to_object().unwrap();
        assert_eq!(
            object["jwt"][0]["claimMappings"]["username"],
            json!({"claim": "sub", "prefix": "https://i#"})
        );
        assert!(of_object(&object, &[]).is_ok());
        let flags = Flags { username_claim: "email".into(), ..flags };
        assert_eq!(flags.to_object().unwrap()["jwt"][0]["claimMappings"]["username"]["prefix"], "");
    }
}
