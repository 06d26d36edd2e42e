//! NodeAffinity: `nodeSelector`, and the node affinity of a pod.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod};

use crate::pod::Needs;
use crate::snapshot::NodeInfo;

/// Refuses a node that is not selected.
pub fn filter(pod: &Pod, _: &Needs, info: &NodeInfo) -> Result<(), Vec<String>> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| info.label(key) == Some(value.as_str()));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let wanted =
        required.is_none_or(|required| required.node_selector_terms.iter().any(|term| holds(term, info)));
    if selected && wanted {
        return Ok(());
    }
    Err(vec!["node(s) didn't match Pod's node affinity/selector".into()])
}

/// A term without requirements selects nothing.
fn holds(term: &NodeSelectorTerm, info: &NodeInfo) -> bool {
    let labels = term.match_expressions.iter().flatten();
    let fields = term.match_fields.iter().flatten();
    let empty = labels.clone().next().is_none() && fields.clone().next().is_none();
    !empty
        && labels.into_iter().all(|requirement| meets(requirement, info.label(&requirement.key)))
        && fields.into_iter().all(|requirement| meets(requirement, Some(info.name())))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|one| one == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = number(values.first().map(String::as_str));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => number(value).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// The weights of the preferences that a node meets, as a share of all.
pub fn score(pod: &Pod, _: &Needs, info: &NodeInfo) -> i64 {
    let preferred = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.affinity.as_ref())
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default();
    let all: i64 = preferred.iter().map(|term| i64::from(term.weight)).sum();
    let met =
        preferred.iter().filter(|term| holds(&term.preference, info)).map(|term| i64::from(term.weight));
    if all == 0 { 0 } else { met.sum::<i64>() * 100 / all }
}
