//! Which authorizers there are: from the flags, or from an AuthorizationConfiguration (`apiserver.config.k8s.io`, v1 and v1beta1).
//!
//! Checked as upstream's `apiserver/pkg/apis/apiserver/validation`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::webhook::{self, Failure};
use crate::security::{Invalid, items, text};

/// An authorizer and its name.
#[derive(Debug, Clone)]
pub struct Authorizer {
    /// What logs and errors call it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What an authorizer is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Allows everything.
    AlwaysAllow,
    /// Allows nothing.
    AlwaysDeny,
    /// What node agents may do.
    Node,
    /// Roles and bindings.
    Rbac,
    /// A server outside.
    Webhook(Box<webhook::Options>),
}

/// The authorizers of `--authorization-mode`.
///
/// # Errors
/// A mode that there is not or that comes twice; `Webhook` without its file.
pub fn of_flags(modes: &[String], webhook: Option<&webhook::Options>) -> Result<Vec<Authorizer>, Invalid> {
    let mut all: Vec<Authorizer> = Vec::new();
    for mode in modes {
        if all.iter().any(|known| known.name == *mode) {
            return Err(Invalid(format!("authorization-mode {modes:?} has mode specified more than once")));
        }
        let kind = match (mode.as_str(), webhook) {
            ("Webhook", Some(options)) => Kind::Webhook(Box::new(options.clone())),
            ("Webhook", None) => {
                return Err(Invalid(
                    "authorization-mode Webhook's authorization config file not passed".into(),
                ));
            }
            (mode, _) => plain(mode)
                .ok_or_else(|| Invalid(format!("authorization-mode {mode:?} is not a valid mode")))?,
        };
        all.push(Authorizer { name: mode.clone(), kind });
    }
    if all.is_empty() {
        return Err(Invalid("at least one authorization-mode must be passed".into()));
    }
    Ok(all)
}

fn plain(name: &str) -> Option<Kind> {
    Some(match name {
        "AlwaysAllow" => Kind::AlwaysAllow,
        "AlwaysDeny" => Kind::AlwaysDeny,
        "Node" => Kind::Node,
        "RBAC" => Kind::Rbac,
        _ => return None,
    })
}

/// The authorizers of a file.
///
/// # Errors
/// It cannot be read, or does not say what it should.
pub fn read(path: &Path) -> anyhow::Result<Vec<Authorizer>> {
    let bytes = std::fs::read(path)
        .map_err(|error| anyhow::anyhow!("authorization config {}: {error}", path.display()))?;
    let (object, _) = skiff_api::yaml::decode_one(&bytes, true)
        .map_err(|why| anyhow::anyhow!("authorization config {}: {why}", path.display()))?;
    of_object(&object).map_err(|why| anyhow::anyhow!("authorization config {}: {why}", path.display()))
}

/// The authorizers of an AuthorizationConfiguration.
///
/// # Errors
/// What is wrong, at which field.
pub fn of_object(object: &Value) -> Result<Vec<Authorizer>, Invalid> {
    let fail = |why: String| Err(Invalid(why));
    let version = text(object, "/apiVersion").strip_prefix("apiserver.config.k8s.io/").unwrap_or_default();
    if text(object, "/kind") != "AuthorizationConfiguration"
        || !matches!(version, "v1" | "v1beta1" | "v1alpha1")
    {
        return fail(format!(
            "no kind {:?} is registered for version {:?}",
            text(object, "/kind"),
            text(object, "/apiVersion")
        ));
    }
    let listed = items(object, "/authorizers");
    if listed.is_empty() {
        return fail("authorizers: Required value: at least one authorization mode must be defined".into());
    }
    let (mut all, mut types, mut names) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (at, one) in listed.iter().enumerate() {
        let place = format!("authorizers[{at}]");
        let (sort, name) = (text(one, "/type"), text(one, "/name"));
        if sort != "Webhook" && !types.insert(sort) {
            return fail(format!("{place}.type: Duplicate value: {sort:?}"));
        }
        if name.is_empty() {
            return fail(format!("{place}.name: Required value"));
        }
        if !names.insert(name) {
            return fail(format!("{place}.name: Duplicate value: {name:?}"));
        }
        let given = one.get("webhook").filter(|given| !given.is_null());
        let kind = match (sort, given) {
            ("", _) => return fail(format!("{place}.type: Required value")),
            ("Webhook", Some(given)) => Kind::Webhook(Box::new(of_webhook(given, name, &place)?)),
            ("Webhook", None) => {
                return fail(format!("{place}.webhook: Required value: required when type=Webhook"));
            }
            (sort, given) => match plain(sort) {
                None => {
                    return fail(format!(
                        "{place}.type: Unsupported value: {sort:?}: supported values: \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\""
                    ));
                }
                Some(_) if given.is_some() => {
                    return fail(format!(
                        "{place}.webhook: Invalid value: \"non-null\": may only be specified when type=Webhook"
                    ));
                }
                Some(kind) => kind,
            },
        };
        all.push(Authorizer { name: name.to_owned(), kind });
    }
    Ok(all)
}

fn of_webhook(given: &Value, name: &str, place: &str) -> Result<webhook::Options, Invalid> {
    let place = format!("{place}.webhook");
    let fail = |field: &str, why: &str| Invalid(format!("{place}.{field}: {why}"));
    let time = |field: &str, default: Duration| match text(given, &format!("/{field}")) {
        "" => Ok(default),
        text => skiff_api::duration::parse(text)
            .ok_or_else(|| fail(field, &format!("Invalid value: {text:?}: must be a duration"))),
    };
    let timeout = time("timeout", Duration::ZERO)?;
    if timeout.is_zero() {
        return Err(fail("timeout", "Required value"));
    }
    if timeout > Duration::from_secs(30) {
        let why = format!("Invalid value: {:?}: must be <= 30s", text(given, "/timeout"));
        return Err(fail("timeout", &why));
    }
    let version = text(given, "/subjectAccessReviewVersion");
    match version {
        "v1" | "v1beta1" => {}
        "" => return Err(fail("subjectAccessReviewVersion", "Required value")),
        other => {
            let why = format!("Unsupported value: {other:?}: supported values: \"v1\", \"v1beta1\"");
            return Err(fail("subjectAccessReviewVersion", &why));
        }
    }
    let failure = match text(given, "/failurePolicy") {
        "NoOpinion" => Failure::NoOpinion,
        "Deny" => Failure::Deny,
        "" => return Err(fail("failurePolicy", "Required value")),
        other => {
            let why = format!("Unsupported value: {other:?}: supported values: \"Deny\", \"NoOpinion\"");
            return Err(fail("failurePolicy", &why));
        }
    };
    let file = match text(given, "/connectionInfo/type") {
        "KubeConfigFile" => text(given, "/connectionInfo/kubeConfigFile"),
        "" => return Err(fail("connectionInfo.type", "Required value")),
        other => {
            let why = format!("Unsupported value: {other:?}: supported values: \"KubeConfigFile\"");
            return Err(fail("connectionInfo.type", &why));
        }
    };
    if file.is_empty() {
        return Err(fail("connectionInfo.kubeConfigFile", "Required value"));
    }
    let conditions: Vec<String> =
        items(given, "/matchConditions").iter().map(|one| text(one, "/expression").to_owned()).collect();
    let matched_version = text(given, "/matchConditionSubjectAccessReviewVersion");
    if !conditions.is_empty() && matched_version != "v1" {
        let why = match matched_version {
            "" => "Required value".to_owned(),
            other => format!("Unsupported value: {other:?}: supported values: \"v1\""),
        };
        return Err(fail("matchConditionSubjectAccessReviewVersion", &why));
    }
    for (at, condition) in conditions.iter().enumerate() {
        webhook::compile(condition).map_err(|why| {
            fail(
                &format!("matchConditions[{at}].expression"),
                &format!("Invalid value: {condition:?}: {why}"),
            )
        })?;
    }
    Ok(webhook::Options {
        name: name.to_owned(),
        config_file: file.into(),
        version: version.to_owned(),
        authorized_ttl: if given["cacheAuthorizedRequests"] == false {
            Duration::ZERO
        } else {
            time("authorizedTTL", Duration::from_secs(300))?
        },
        unauthorized_ttl: if given["cacheUnauthorizedRequests"] == false {
            Duration::ZERO
        } else {
            time("unauthorizedTTL", Duration::from_secs(30))?
        },
        timeout,
        failure,
        conditions,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn webhook(change: impl FnOnce(&mut Value)) -> Value {
        let mut webhook = json!({
            "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
            "matchConditionSubjectAccessReviewVersion": "v1",
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/k"},
            "matchConditions": [{"expression": "request.user == 'jane'"}],
        });
        change(&mut webhook);
        json!({"type": "Webhook", "name": "w", "webhook": webhook})
    }

    fn read(authorizers: Value) -> Result<Vec<Authorizer>, String> {
        let object = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
            "authorizers": authorizers});
        of_object(&object).map_err(|why| why.0)
    }

    #[test]
    fn a_configuration_is_read_and_its_mistakes_are_told_at_their_place() {
        let rbac = json!({"type": "RBAC", "name": "r"});
        let all = read(json!([webhook(|_| {}), {"type": "Node", "name": "n"}, rbac])).unwrap();
        let Kind::Webhook(options) = &all[0].kind else { panic!("{all:?}") };
        assert_eq!((options.timeout, options.failure), (Duration::from_secs(3), Failure::Deny));
        assert_eq!(options.authorized_ttl, Duration::from_secs(300));
        assert_eq!(all.len(), 3);
        let table = [
            (json!([]), "authorizers: Required value: at least one authorization mode must be defined"),
            (json!([rbac, {"type": "RBAC", "name": "x"}]), "authorizers[1].type: Duplicate value: \"RBAC\""),
            (json!([rbac, {"type": "Node", "name": "r"}]), "authorizers[1].name: Duplicate value: \"r\""),
            (
                json!([{"type": "Webhook", "name": "w"}]),
                "authorizers[0].webhook: Required value: required when type=Webhook",
            ),
            (
                json!([webhook(|w| w["timeout"] = "31s".into())]),
                "authorizers[0].webhook.timeout: Invalid value: \"31s\": must be <= 30s",
            ),
            (
                json!([webhook(|w| w["failurePolicy"] = "".into())]),
                "authorizers[0].webhook.failurePolicy: Required value",
            ),
            (
                json!([webhook(|w| w["subjectAccessReviewVersion"] = "v2".into())]),
                "authorizers[0].webhook.subjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\", \"v1beta1\"",
            ),
        ];
        for (authorizers, expected) in table {
            assert_eq!(read(authorizers.clone()).err().as_deref(), Some(expected), "{authorizers}");
        }
        let wrong = read(json!([webhook(|w| w["matchConditions"][0]["expression"] = "request.nope".into())]));
        assert!(wrong.unwrap_err().contains("undefined field 'nope'"));
    }

    #[test]
    fn modes_are_named_once_each() {
        let modes = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|mode| (*mode).to_owned()).collect();
            of_flags(&list, None).map(|all| all.len()).map_err(|why| why.0)
        };
        assert_eq!(modes(&["Node", "RBAC"]), Ok(2));
        assert!(modes(&["RBAC", "RBAC"]).unwrap_err().contains("more than once"));
        assert!(modes(&["ABAC"]).unwrap_err().contains("is not a valid mode"));
        assert!(modes(&["Webhook"]).unwrap_err().contains("config file not passed"));
        assert!(modes(&[]).is_err());
    }
}
