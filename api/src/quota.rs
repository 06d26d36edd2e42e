//! Quotas: what an object counts, which quotas it falls under, and what a namespace uses.
//!
//! The API server charges a quota before it stores an object, and the quota controller counts anew what is there; both
//! measure here. Behaviour: upstream's `pkg/quota/v1/evaluator/core` and `apiserver/pkg/quota/v1`.

mod charge;
pub mod limited;
mod measure;
mod scope;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Object;
use crate::quantity::Quantity;
use crate::resources::{self, ResourceList};

pub use charge::{Change, Refusal, charge};
pub use measure::Measure;
pub use scope::Scopes;

/// What a namespace uses of what its quota limits. `objects` answers with everything of a kind (group and plural) that
/// is in the namespace, or nothing if that cannot be told: then the last count stays.
pub fn usage(
    quota: &Object,
    now_s: i64,
    mut objects: impl FnMut(&Measure) -> Option<Vec<Object>>,
) -> ResourceList {
    let hard = resources::read(&quota["spec"]["hard"]);
    let before = resources::read(&quota["status"]["used"]);
    let mut used: ResourceList =
        before.into_iter().filter(|(name, _)| hard.contains_key(name.as_str())).collect();
    let scopes = Scopes::of(quota);
    let mut counted = ResourceList::new();
    for measure in Measure::of_names(hard.keys().map(String::as_str)) {
        let Some(objects) = objects(&measure) else { continue };
        let tracked = measure.tracks(hard.keys().map(String::as_str));
        let mut sum: ResourceList =
            tracked.iter().map(|name| ((*name).to_owned(), Quantity::count(0))).collect();
        for object in objects.iter().filter(|object| scopes.take(&measure, object)) {
            resources::add(&mut sum, &measure.usage(object, now_s));
        }
        resources::add(&mut counted, &resources::only(&sum, &tracked));
    }
    used.extend(counted);
    used
}

/// The status of a quota that uses this, if it is not what the quota says already.
pub fn status(quota: &Object, used: &ResourceList) -> Option<Value> {
    let spec = quota["spec"].get("hard").filter(|hard| hard.is_object()).cloned().unwrap_or_default();
    let status = &quota["status"];
    let hard = resources::read(&spec);
    let settled = status["hard"].is_object() && status["used"].is_object();
    if settled && resources::read(&status["hard"]) == hard && resources::read(&status["used"]) == *used {
        return None;
    }
    Some(serde_json::json!({"hard": resources::write(&hard), "used": resources::write(used)}))
}

/// Whether the quota limits anything that this measures.
pub fn concerns(quota: &Object, measure: &Measure) -> bool {
    !measure.tracks(hard_names(quota)).is_empty()
}

/// The names of what the quota was found to limit.
fn hard_names(quota: &Object) -> impl Iterator<Item = &str> {
    quota["status"]["hard"].as_object().into_iter().flatten().map(|(name, _)| name.as_str())
}

/// Of some names those that are in a set.
fn matching<'a>(names: impl Iterator<Item = &'a str>, takes: impl Fn(&str) -> bool) -> BTreeSet<&'a str> {
    names.filter(|name| takes(name)).collect()
}

#[cfg(test)]
mod tests;
