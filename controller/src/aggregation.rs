//! A ClusterRole with an `aggregationRule` shows the rules of the roles that it selects.
//!
//! Behaviour as upstream's `pkg/controller/clusterroleaggregation`. The API server decides by what is selected, at once; what is written here is for those
//! who read roles (`kubectl describe`, `auth can-i --list` of tools that resolve roles by themselves).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use skiff_runtime::queue::{self, Action, Queue};

use crate::context::Context;
use crate::error::{Error, is_not_found};

const NAME: &str = "clusterrole-aggregation-controller";

/// Whether labels are selected; a selector that says nothing selects all.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    wanted.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.into_iter().all(|expression| {
            let have = labels.get(&expression.key);
            let listed =
                have.is_some_and(|have| expression.values.iter().flatten().any(|value| value == have));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => have.is_some(),
                "DoesNotExist" => have.is_none(),
                _ => false,
            }
        })
}

/// The rules that a role should show, if it aggregates and shows others; `all` is sorted by name.
fn decide(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let selected = all
            .iter()
            .filter(|other| other.name_any() != role.name_any() && selects(selector, other.labels()));
        for rule in selected.flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    (role.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

/// Runs the controller.
pub(crate) async fn run(context: Arc<Context>) {
    let queue = Queue::new(NAME);
    {
        let (queue, roles) = (queue.clone(), context.cluster_roles.clone());
        context.cluster_roles.follow(context.shutdown.clone(), move |change| {
            // Any role may be selected by any that aggregates; there are few of those.
            let all = roles.list();
            let aggregating = all.iter().chain(&change.new).filter(|role| role.aggregation_rule.is_some());
            for role in aggregating {
                queue.add(role.name_any());
            }
        });
    }
    tokio::select! {
        () = context.cluster_roles.synced() => {}
        () = context.shutdown.cancelled() => return,
    }
    let reconcile = |name| reconcile(&context, name);
    queue::run(queue.clone(), 2, reconcile, context.shutdown.clone()).await;
}

async fn reconcile(context: &Context, name: String) -> Result<Action, Error> {
    let Some(role) = context.cluster_roles.get("", &name) else { return Ok(Action::Done) };
    let mut all = context.cluster_roles.list();
    all.sort_by_key(|role| role.name_any());
    let Some(rules) = decide(&role, &all) else { return Ok(Action::Done) };
    let api: Api<ClusterRole> = Api::all(context.client.clone());
    let wanted = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
        "rules": rules,
    });
    match api.patch(&name, &PatchParams::apply(NAME).force(), &Patch::Apply(&wanted)).await {
        Ok(written) => context.cluster_roles.caught_up(&written).await,
        Err(error) if is_not_found(&error) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(value: serde_json::Value) -> Arc<ClusterRole> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn part(name: &str, label: &str, resource: &str) -> Arc<ClusterRole> {
        role(json!({
            "metadata": {"name": name, "labels": {label: "true"}},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}],
        }))
    }

    #[test]
    fn rules_are_gathered_once_each_in_the_order_of_names() {
        let whole = role(json!({
            "metadata": {"name": "whole", "labels": {"to-whole": "true"}},
            "aggregationRule": {"clusterRoleSelectors": [
                {"matchLabels": {"to-whole": "true"}},
                {"matchExpressions": [{"key": "also", "operator": "Exists"}]},
            ]},
            "rules": [{"apiGroups": [""], "resources": ["old"], "verbs": ["get"]}],
        }));
        let all = [
            part("a", "to-whole", "pods"),
            part("b", "other", "secrets"),
            part("c", "also", "nodes"),
            part("d", "to-whole", "pods"),
            whole.clone(),
        ];
        let rules = decide(&whole, &all).unwrap();
        let resources: Vec<String> = rules.iter().flat_map(|rule| rule.resources.clone().unwrap()).collect();
        assert_eq!(resources, ["pods", "nodes"]);
        let mut settled = (*whole).clone();
        settled.rules = Some(rules);
        assert_eq!(decide(&settled, &all), None);
        assert_eq!(decide(&all[0], &all), None, "a plain role keeps its own");
    }
}
