//! What may only be used where a quota covers it: `limitedResources` of the plugin's configuration.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Change, Measure, Scopes, hard_names};
use crate::Object;

/// A resource that needs a quota.
#[derive(Debug, Clone)]
pub struct Limited {
    kind: (String, String),
    /// Parts of the names of what counts.
    contains: Vec<String>,
    scopes: Scopes,
}

impl Limited {
    /// From an entry of `limitedResources`.
    pub fn read(entry: &Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let parts = entry["matchContains"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Self {
            kind: (text("apiGroup"), text("resource")),
            contains: parts.map(str::to_owned).collect(),
            scopes: Scopes::read(&entry["matchScopes"]),
        }
    }
}

/// Why a write is refused that no quota covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncovered {
    /// It uses what must be covered; upstream forbids that.
    Resources(String),
    /// It is in a scope that must be covered; upstream gives that as an error of its own.
    Scopes(String),
}

/// Whether quotas cover what a write uses.
///
/// # Errors
/// What is not covered.
pub fn check(limited: &[Limited], quotas: &[Object], change: &Change) -> Result<(), Uncovered> {
    let (measure, object) = (&change.measure, &change.new);
    let added = added(change);
    if limited.is_empty() || !added {
        return Ok(());
    }
    let (group, resource) = measure.kind();
    let usage = change.usage();
    let used = usage.iter().filter(|(_, amount)| amount.signum() > 0).map(|(name, _)| name.as_str());
    let own: Vec<&Limited> =
        limited.iter().filter(|one| one.kind.0 == group && one.kind.1 == resource).collect();
    let needed: BTreeSet<&str> = used
        .filter(|name| own.iter().any(|one| one.contains.iter().any(|part| name.contains(part.as_str()))))
        .collect();
    let falls = |quota: &&Object| Scopes::of(quota).take(measure, object);
    let covered: BTreeSet<&str> =
        quotas.iter().filter(falls).flat_map(|quota| measure.tracks(hard_names(quota))).collect();
    let open: Vec<&str> = needed.difference(&covered).copied().collect();
    if !open.is_empty() {
        return Err(Uncovered::Resources(format!("insufficient quota to consume: {}", open.join(","))));
    }
    let scoped = matches!(measure, Measure::Pods | Measure::Claims);
    let of_quotas: Vec<Scopes> = quotas.iter().map(Scopes::of).collect();
    let known = |scope: &str| {
        of_quotas.iter().flat_map(|scopes| scopes.matched(measure, object)).any(|one| one.scope == scope)
    };
    let open: Vec<String> = limited
        .iter()
        .filter(|_| scoped)
        .flat_map(|one| one.scopes.matched(measure, object))
        .filter(|selector| !known(&selector.scope))
        .map(ToString::to_string)
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(Uncovered::Scopes(format!("insufficient quota to match these scopes: [{}]", open.join(" "))))
}

/// Whether the write uses more than what is there.
fn added(change: &Change) -> bool {
    let Some(old) = &change.old else { return true };
    let before = change.measure.usage(old, change.now_s);
    change.usage().iter().any(|(name, amount)| before.get(name).is_none_or(|had| had < amount))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_limited_needs_a_quota_that_covers_it() {
        let limited = [
            Limited::read(
                &json!({"resource": "persistentvolumeclaims", "matchContains": [".storageclass.storage.k8s.io/"]}),
            ),
            Limited::read(&json!({"resource": "pods", "matchScopes": [
                {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]})),
        ];
        let made = |resource: &str, new: Object| Change {
            measure: Measure::of("", resource).unwrap(),
            subresource: String::new(),
            new,
            old: None,
            now_s: 0,
        };
        let claim =
            |class: &str| made("persistentvolumeclaims", json!({"spec": {"storageClassName": class}}));
        let pod = |class: &str| made("pods", json!({"spec": {"priorityClassName": class, "containers": []}}));
        assert_eq!(check(&limited, &[], &claim("")), Ok(()));
        let name = "gold.storageclass.storage.k8s.io/persistentvolumeclaims";
        let why = Uncovered::Resources(format!("insufficient quota to consume: {name}"));
        assert_eq!(check(&limited, &[], &claim("gold")), Err(why));
        let quota = json!({"spec": {}, "status": {"hard": {name: "1"}}});
        assert_eq!(check(&limited, std::slice::from_ref(&quota), &claim("gold")), Ok(()));
        let why = "insufficient quota to match these scopes: [{PriorityClass In [high]}]";
        assert_eq!(check(&limited, &[], &pod("high")), Err(Uncovered::Scopes(why.into())));
        assert_eq!(check(&limited, &[], &pod("low")), Ok(()));
        let quota = json!({"spec": {"scopes": ["PriorityClass"]}});
        assert_eq!(check(&limited, std::slice::from_ref(&quota), &pod("high")), Ok(()));
    }
}
