//! What writes of CertificateSigningRequests do besides: who asked is kept, decisions are given their times, and each
//! view changes its own part of the answer.
//!
//! Behaviour as upstream's `pkg/registry/certificates/certificates/strategy.go`.

use serde_json::{Value, json};
use skiff_api::kind::Kind;
use skiff_api::status::FieldError;

use super::metadata;
use crate::app::Call;
use crate::security::User;

const APPROVAL: &str = "approval";
/// What only who approves may say.
const APPROVALS: [&str; 2] = ["Approved", "Denied"];
/// What is never taken back.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];

fn is_one(kind: &Kind) -> bool {
    kind.group == "certificates.k8s.io" && kind.plural == "certificatesigningrequests"
}

/// Notes who asks, whatever the client says about that.
pub fn create(call: &Call, new: &mut Value) {
    if is_one(&call.kind) {
        asked_by(&call.context.user, new);
    }
}

fn asked_by(user: &User, new: &mut Value) {
    let Some(spec) = new["spec"].as_object_mut() else { return };
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    spec.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        spec.insert("uid".into(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        spec.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".into(), json!(user.extra));
    }
}

/// Keeps what this view may not decide, and gives new conditions their times.
pub fn update(call: &Call, new: &mut Value, old: &Value) {
    if is_one(&call.kind) && !call.info.subresource.is_empty() {
        settle(&call.info.subresource, &metadata::time(call.context.now), new, old);
    }
}

fn settle(subresource: &str, now: &str, new: &mut Value, old: &Value) {
    let before = conditions(old).to_vec();
    let Some(list) = new["status"]["conditions"].as_array_mut() else { return };
    if subresource != APPROVAL {
        for sort in APPROVALS {
            let had: Vec<&Value> = before.iter().filter(|condition| condition["type"] == sort).collect();
            let has: Vec<&mut Value> =
                list.iter_mut().filter(|condition| condition["type"] == sort).collect();
            // With more or fewer of them the write is refused later.
            if had.len() == has.len() {
                has.into_iter().zip(had).for_each(|(new, old)| *new = old.clone());
            }
        }
    }
    let is_empty = |value: &Value| value.as_str().is_none_or(str::is_empty);
    for condition in list {
        if is_empty(&condition["lastUpdateTime"]) {
            condition["lastUpdateTime"] = now.into();
        }
        if is_empty(&condition["lastTransitionTime"]) {
            let same = before.iter().find(|old| {
                old["type"] == condition["type"]
                    && old["status"] == condition["status"]
                    && !is_empty(&old["lastTransitionTime"])
            });
            condition["lastTransitionTime"] =
                same.map_or_else(|| now.into(), |old| old["lastTransitionTime"].clone());
        }
    }
}

/// What is wrong with a change of the answer.
pub fn check(call: &Call, new: &Value, old: &Value) -> Vec<FieldError> {
    if is_one(&call.kind) { changes(&call.info.subresource, new, old) } else { Vec::new() }
}

fn changes(subresource: &str, new: &Value, old: &Value) -> Vec<FieldError> {
    let count =
        |object: &Value, sort: &str| conditions(object).iter().filter(|one| one["type"] == sort).count();
    let refuse = |what: &str, sort: &str| {
        let why = format!("updates may not {what} a condition of type {sort:?}");
        FieldError::forbidden("status.conditions", why)
    };
    let mut errors = Vec::new();
    for sort in DECISIONS {
        let (before, after) = (count(old, sort), count(new, sort));
        if after < before {
            errors.push(refuse("remove", sort));
        } else if after > before && subresource != APPROVAL && APPROVALS.contains(&sort) {
            errors.push(refuse("add", sort));
        }
    }
    let issued = |object: &Value| object["status"]["certificate"].as_str().unwrap_or_default().to_owned();
    let (before, after) = (issued(old), issued(new));
    if before != after {
        let why = match (subresource, before.is_empty()) {
            ("status", true) => return errors,
            ("status", false) => "updates may not modify existing certificate content",
            _ => "updates may not set certificate content",
        };
        errors.push(FieldError::forbidden("status.certificate", why));
    }
    errors
}

fn conditions(object: &Value) -> &[Value] {
    object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_the_servers_to_say() {
        let mut new =
            json!({"spec": {"username": "root", "groups": ["system:masters"], "uid": "1", "request": "x"}});
        asked_by(&User::new("jane", &["dev"]), &mut new);
        assert_eq!(new, json!({"spec": {"username": "jane", "groups": ["dev"], "request": "x"}}));
    }

    #[test]
    fn conditions_get_times_and_keep_those_of_the_same_state() {
        let old = json!({"status": {"conditions": [
            {"type": "Own", "status": "True", "lastUpdateTime": "u", "lastTransitionTime": "t"}]}});
        let mut new = json!({"status": {"conditions": [
            {"type": "Own", "status": "True"}, {"type": "Approved", "status": "True"}]}});
        settle(APPROVAL, "now", &mut new, &old);
        assert_eq!(
            new["status"]["conditions"],
            json!([
                {"type": "Own", "status": "True", "lastUpdateTime": "now", "lastTransitionTime": "t"},
                {"type": "Approved", "status": "True", "lastUpdateTime": "now", "lastTransitionTime": "now"},
            ])
        );
    }

    #[test]
    fn each_view_changes_its_own_part() {
        let approved = json!({"type": "Approved", "status": "True", "message": "a"});
        let with = |conditions: Value, certificate: &str| {
            let mut status = json!({"conditions": conditions});
            if !certificate.is_empty() {
                status["certificate"] = certificate.into();
            }
            json!({"status": status})
        };
        let pending = || with(json!([]), "");
        let table = [
            (APPROVAL, with(json!([approved]), ""), pending(), ""),
            (
                "status",
                with(json!([approved]), ""),
                pending(),
                r#"may not add a condition of type "Approved""#,
            ),
            ("status", with(json!([{"type": "Failed", "status": "True"}]), ""), pending(), ""),
            (
                APPROVAL,
                pending(),
                with(json!([approved]), ""),
                r#"may not remove a condition of type "Approved""#,
            ),
            (
                "status",
                pending(),
                with(json!([approved]), ""),
                r#"may not remove a condition of type "Approved""#,
            ),
            ("status", with(json!([]), "b"), pending(), ""),
            (
                "status",
                with(json!([]), "b"),
                with(json!([]), "a"),
                "may not modify existing certificate content",
            ),
            (APPROVAL, with(json!([]), "b"), pending(), "may not set certificate content"),
        ];
        for (view, new, old, expected) in table {
            let errors: Vec<String> = changes(view, &new, &old).iter().map(ToString::to_string).collect();
            if expected.is_empty() {
                assert!(errors.is_empty(), "{view} {new}: {errors:?}");
            } else {
                assert!(errors.len() == 1 && errors[0].contains(expected), "{view} {new}: {errors:?}");
            }
        }
        let mut new = with(json!([{"type": "Approved", "status": "True", "message": "other"}]), "");
        settle("status", "now", &mut new, &with(json!([approved]), ""));
        assert_eq!(new["status"]["conditions"][0]["message"], "a", "a signer does not reword an approval");
    }
}
