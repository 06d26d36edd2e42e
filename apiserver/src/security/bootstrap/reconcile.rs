//! At start the cluster's roles and bindings are brought up to what they should hold: what is missing is added, what
//! people have added stays, and an object whose autoupdate annotation says `false` is left alone.
//!
//! Behaviour as upstream's `component-helpers/auth/rbac/reconciliation`, without removal of what is extra.

use serde_json::{Map, Value, json};

use super::AUTOUPDATE;
use crate::security::rbac::{Rule, escalation};
use crate::security::{items, text};

/// What becomes of an object that is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It holds all that it should, or is not to be touched.
    Keep,
    /// It is written so.
    Update(Value),
    /// It refers to another role, which cannot be changed: it is deleted and made anew.
    Recreate,
}

/// What becomes of `existing`, where `expected` is the cluster's own.
pub fn reconcile(existing: &Value, expected: &Value) -> Outcome {
    if existing["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return Outcome::Keep;
    }
    if expected.get("roleRef").is_some() && existing["roleRef"] != expected["roleRef"] {
        return Outcome::Recreate;
    }
    let mut wanted = existing.clone();
    for part in ["labels", "annotations"] {
        let own = expected["metadata"][part].as_object();
        for (key, value) in own.into_iter().flatten() {
            let held = &mut wanted["metadata"][part];
            if !held.is_object() {
                *held = Value::Object(Map::new());
            }
            if held.get(key).is_none() {
                held[key] = value.clone();
            }
        }
    }
    let selectors = "/aggregationRule/clusterRoleSelectors";
    if !items(expected, selectors).is_empty() {
        let held = items(existing, selectors);
        let missing: Vec<&Value> =
            items(expected, selectors).iter().filter(|one| !held.contains(one)).collect();
        if !missing.is_empty() {
            let all: Vec<&Value> = held.iter().chain(missing).collect();
            wanted["aggregationRule"] = json!({"clusterRoleSelectors": all});
        }
    } else if expected.get("roleRef").is_none() {
        append(&mut wanted, "rules", missing_rules(existing, expected));
    }
    let held = items(existing, "/subjects");
    let missing =
        items(expected, "/subjects").iter().filter(|one| !held.iter().any(|held| is_same(held, one)));
    append(&mut wanted, "subjects", missing.cloned().collect());
    if wanted == *existing { Outcome::Keep } else { Outcome::Update(wanted) }
}

fn append(object: &mut Value, field: &str, further: Vec<Value>) {
    if further.is_empty() {
        return;
    }
    match object[field].as_array_mut() {
        Some(list) => list.extend(further),
        None => object[field] = further.into(),
    }
}

/// What the expected rules allow and the existing ones do not: a rule for each verb, group and resource, as upstream adds it.
fn missing_rules(existing: &Value, expected: &Value) -> Vec<Value> {
    let rules = |object: &Value| items(object, "/rules").iter().map(Rule::of).collect::<Vec<_>>();
    let (_, missing) = escalation::covers(&rules(existing), &rules(expected));
    missing.iter().map(Rule::to_object).collect()
}

/// Whether two subjects are the same; of a service account the group is not looked at.
fn is_same(left: &Value, right: &Value) -> bool {
    ["/kind", "/name", "/namespace"].iter().all(|field| text(left, field) == text(right, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(rules: Value) -> Value {
        json!({"kind": "ClusterRole", "metadata": {"name": "r", "annotations": {AUTOUPDATE: "true"},
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}, "rules": rules})
    }

    fn rule(verbs: &[&str], resources: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": [""], "resources": resources})
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_more_stays() {
        let expected = role(json!([rule(&["get", "list"], &["pods"])]));
        assert_eq!(reconcile(&expected, &expected), Outcome::Keep);
        let more = role(json!([rule(&["get", "list", "delete"], &["pods", "secrets"])]));
        assert_eq!(reconcile(&more, &expected), Outcome::Keep);
        let mut less = role(json!([rule(&["get"], &["pods"])]));
        let Outcome::Update(wanted) = reconcile(&less, &expected) else { panic!("a verb is missing") };
        assert_eq!(wanted["rules"], json!([rule(&["get"], &["pods"]), rule(&["list"], &["pods"])]));
        assert_eq!(reconcile(&wanted, &expected), Outcome::Keep, "a fixed point");
        less["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        assert_eq!(reconcile(&less, &expected), Outcome::Keep, "it is not to be touched");
    }

    #[test]
    fn labels_annotations_and_selectors_are_added() {
        let mut expected = role(json!([]));
        expected["metadata"]["labels"]["to"] = "true".into();
        expected["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"x": "true"}}]});
        let existing = json!({"kind": "ClusterRole",
            "metadata": {"name": "r", "labels": {"to": "mine"}}, "rules": [rule(&["get"], &["pods"])]});
        let Outcome::Update(wanted) = reconcile(&existing, &expected) else { panic!("much is missing") };
        assert_eq!(wanted["metadata"]["labels"]["to"], "mine", "what people have said stays");
        assert_eq!(wanted["metadata"]["annotations"][AUTOUPDATE], "true");
        assert_eq!(wanted["aggregationRule"], expected["aggregationRule"]);
        assert_eq!(wanted["rules"], existing["rules"], "what is shown is the controller's to write");
    }

    #[test]
    fn a_binding_is_given_its_subjects_and_made_anew_for_another_role() {
        let binding = |role: &str, subjects: Value| {
            json!({"kind": "ClusterRoleBinding", "metadata": {"name": "b"}, "subjects": subjects,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
        };
        let group =
            |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name});
        let expected = binding("r", json!([group("a")]));
        let other = binding("r", json!([group("b")]));
        let Outcome::Update(wanted) = reconcile(&other, &expected) else { panic!("a subject is missing") };
        assert_eq!(wanted["subjects"], json!([group("b"), group("a")]));
        assert_eq!(reconcile(&binding("other", json!([])), &expected), Outcome::Recreate);
    }
}
