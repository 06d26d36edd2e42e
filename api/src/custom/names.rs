//! Which names a definition gets: those that no other in its group has, as upstream's naming controller gives them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::approval::{self, Approval};
use super::{schema, text, texts};

/// What a definition's status should say of its names and whether it is served; `None` if it says so already. `others`
/// are the definitions of the same group.
pub fn settle<'a>(definition: &Value, others: impl Iterator<Item = &'a Value>, now: &str) -> Option<Value> {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others {
        let names = &other["status"]["acceptedNames"];
        resources.extend([text(names, "plural"), text(names, "singular")].map(str::to_owned));
        resources.extend(texts(&names["shortNames"]));
        kinds.extend([text(names, "kind"), text(names, "listKind")].map(str::to_owned));
    }
    let wanted = &definition["spec"]["names"];
    let old = &definition["status"]["acceptedNames"];
    let mut accepted = if old.is_object() { old.clone() } else { json!({}) };
    let mut conflict: Option<(&str, String)> = None;
    for (key, reason, used) in [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("shortNames", "ShortNamesConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ] {
        let asked =
            if key == "shortNames" { texts(&wanted[key]) } else { vec![text(wanted, key).to_owned()] };
        let own = if key == "shortNames" { texts(&old[key]) } else { vec![text(old, key).to_owned()] };
        let taken: Vec<String> = asked
            .iter()
            .filter(|name| !own.contains(name) && used.contains(*name))
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        match taken.as_slice() {
            [] => put(&mut accepted, key, &wanted[key]),
            [one] => conflict = Some((reason, one.clone())),
            many => conflict = Some((reason, format!("[{}]", many.join(", ")))),
        }
    }
    put(&mut accepted, "categories", &wanted["categories"]);
    let mut status = definition["status"].clone();
    status["acceptedNames"] = accepted;
    let accepted = conflict.is_none();
    let (reason, message) = conflict.unwrap_or(("NoConflicts", "no conflicts found".into()));
    set_condition(&mut status, "NamesAccepted", accepted, reason, &message, now);
    if accepted {
        set_condition(&mut status, "Established", true, "InitialNamesAccepted", ESTABLISHED, now);
    } else if !is_true(definition, "Established") {
        set_condition(&mut status, "Established", false, "NotAccepted", "not all names are accepted", now);
    }
    conform(definition, &mut status, now);
    (status != definition["status"]).then_some(status)
}

/// What else upstream says of a definition: whether its schemas are structural, and who approved a protected group.
fn conform(definition: &Value, status: &mut Value, now: &str) {
    let versions = definition["spec"]["versions"].as_array();
    let broken = versions.into_iter().flatten().enumerate().find_map(|(index, version)| {
        let path = format!("spec.versions[{index}].schema.openAPIV3Schema");
        schema::violation(&version["schema"]["openAPIV3Schema"], &path)
    });
    if let Some(why) = broken {
        set_condition(status, "NonStructuralSchema", true, "Violations", &why, now);
    } else if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|one| one["type"] != "NonStructuralSchema");
    }
    if approval::is_protected(text(&definition["spec"], "group")) {
        let (given, message) = approval::of(definition);
        let name = "KubernetesAPIApprovalPolicyConformant";
        set_condition(status, name, given == Approval::Given, given.reason(), &message, now);
    }
}

const ESTABLISHED: &str = "the initial names have been accepted";

fn put(names: &mut Value, key: &str, value: &Value) {
    match value {
        Value::Null => {
            if let Some(names) = names.as_object_mut() {
                names.remove(key);
            }
        }
        value => names[key] = value.clone(),
    }
}

/// Whether a condition of a definition holds.
pub fn is_true(definition: &Value, condition: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == condition && one["status"] == "True")
}

/// Sets a condition of a status; its time moves only if its status does.
pub fn set_condition(status: &mut Value, name: &str, holds: bool, reason: &str, message: &str, now: &str) {
    let value = if holds { "True" } else { "False" };
    let mut condition = json!({
        "type": name, "status": value, "reason": reason, "message": message, "lastTransitionTime": now,
    });
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|one| one["type"] == name) {
        Some(old) => {
            if old["status"] == value {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({"spec": {"names": {
            "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
            "shortNames": short,
        }}, "status": {}})
    }

    #[test]
    fn free_names_are_given_once() {
        let mut tower = definition("towers", "Tower", &["tw"]);
        tower["status"] = settle(&tower, [].into_iter(), "now").unwrap();
        assert!(is_true(&tower, "Established") && is_true(&tower, "NamesAccepted"));
        assert_eq!(tower["status"]["acceptedNames"], tower["spec"]["names"]);
        assert!(settle(&tower, [].into_iter(), "later").is_none(), "nothing is written twice");
    }

    #[test]
    fn a_status_says_who_approved_a_protected_group_and_that_a_schema_is_not_structural() {
        let mut tower = definition("towers", "Tower", &[]);
        let said = |tower: &Value, name: &str| {
            let status = settle(tower, [].into_iter(), "now").unwrap();
            let conditions = status["conditions"].as_array().unwrap();
            let found = conditions.iter().find(|one| one["type"] == name);
            found.map(|one| {
                format!("{} {}: {}", text(one, "status"), text(one, "reason"), text(one, "message"))
            })
        };
        let approved = "KubernetesAPIApprovalPolicyConformant";
        tower["spec"]["group"] = "example.com".into();
        assert_eq!((said(&tower, approved), said(&tower, "NonStructuralSchema")), (None, None));
        tower["spec"]["group"] = "x.k8s.io".into();
        for (given, expected) in [
            ("https://a.b/c", "True ApprovedAnnotation: approved in https://a.b/c"),
            ("unapproved, so far", "False UnapprovedAnnotation: not approved: \"unapproved, so far\""),
            ("x", "False InvalidAnnotation: protected groups must have"),
            ("", "False MissingAnnotation: protected groups must have"),
        ] {
            tower["metadata"] = json!({"annotations": {"api-approved.kubernetes.io": given}});
            let found = said(&tower, approved).unwrap();
            assert!(found.starts_with(expected), "{found}");
        }
        tower["spec"]["versions"] = json!([{"schema": {"openAPIV3Schema": {"type": "string"}}}]);
        let expected = "True Violations: spec.versions[0].schema.openAPIV3Schema.type: Invalid value: \"string\": must be \
                        object at the root";
        assert_eq!(said(&tower, "NonStructuralSchema").as_deref(), Some(expected));
    }

    #[test]
    fn a_name_that_another_has_is_refused_and_the_rest_is_given() {
        let mut tower = definition("towers", "Tower", &["tw"]);
        tower["status"] = settle(&tower, [].into_iter(), "now").unwrap();
        let mut twin = definition("twins", "Tower", &["tw"]);
        twin["status"] = settle(&twin, [&tower].into_iter(), "now").unwrap();
        let condition = &twin["status"]["conditions"][0];
        assert_eq!((text(condition, "reason"), text(condition, "status")), ("ListKindConflict", "False"));
        assert_eq!(twin["status"]["acceptedNames"]["plural"], "twins");
        assert!(!is_true(&twin, "Established"));
        // The name comes free.
        let status = settle(&twin, [].into_iter(), "later").unwrap();
        assert_eq!(status["conditions"][1]["status"], "True");
    }
}
