//! Type checking of ValidatingAdmissionPolicies: what their expressions would make of the types that they are about.
//!
//! A policy works whatever this finds; it is told in the policy's status. As upstream's
//! `apiserver/pkg/admission/plugin/policy/validating/typechecking.go` and the controller of the statuses.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use skiff_api::kind::Registry;
use skiff_api::meta;
use skiff_cel::{Environment, Shape, Type};

use crate::admission::expression::{self, Uses};
use crate::admission::webhook::GROUP;
use crate::app::App;
use crate::bootstrap::send;

const PLURAL: &str = "validatingadmissionpolicies";
const PATH: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
/// The most types that one rule is checked against.
const TYPES_MAX: usize = 10;

/// Tells in the status of each policy what its types make of it, until the server stops.
pub fn follow(app: &Arc<App>) {
    let Some(cache) = app.cache.find(GROUP, PLURAL) else { return };
    let app = app.clone();
    tokio::spawn(async move {
        let mut revisions = cache.subscribe();
        loop {
            let snapshot = cache.snapshot();
            let policies: Vec<Value> = snapshot
                .items
                .values()
                .map(|item| item.object(cache.kind(), "v1"))
                .filter(|policy| policy["status"]["observedGeneration"] != policy["metadata"]["generation"])
                .collect();
            for policy in policies {
                tell(&app, policy).await;
            }
            tokio::select! {
                changed = revisions.changed() => if changed.is_err() { return },
                () = app.shutdown.cancelled() => return,
            }
            revisions.borrow_and_update();
        }
    });
}

async fn tell(app: &Arc<App>, mut policy: Value) {
    let warnings = warnings(&app.registry.load_full(), &policy);
    let mut checking = json!({});
    if !warnings.is_empty() {
        checking["expressionWarnings"] = warnings.into();
    }
    policy["status"]["typeChecking"] = checking;
    policy["status"]["observedGeneration"] = policy["metadata"]["generation"].clone();
    // One that changed meanwhile comes by again.
    let path = format!("{PATH}/{}/status", meta::name(&policy));
    if let Err(error) = send(app, Method::PUT, &path, &policy).await {
        tracing::warn!(%error, policy = meta::name(&policy), "the types of a policy could not be told");
    }
}

/// What is to be said of each expression, by its path. Pure.
pub fn warnings(registry: &Registry, policy: &Value) -> Vec<Value> {
    let spec = &policy["spec"];
    let kinds = kinds(registry, &spec["matchConstraints"]["resourceRules"]);
    let param_kind = &spec["paramKind"];
    let uses = Uses { params: param_kind.is_object(), authorizer: true };
    let params = of_param(registry, param_kind);
    let environments: Vec<(String, Environment)> = kinds
        .into_iter()
        .map(|(name, object)| {
            let typed = expression::typed_environment(uses, &object, &params);
            (name, expression::variables(typed, &spec["variables"]).0)
        })
        .collect();
    let mut warnings = Vec::new();
    for (index, one) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for key in ["expression", "messageExpression"] {
            let Some(text) = one[key].as_str().filter(|text| !text.is_empty()) else { continue };
            let found: Vec<String> = environments
                .iter()
                .filter_map(|(name, environment)| {
                    let why = expression::compile(environment, text, &[]).err()?;
                    Some(format!("{name}: {why}\n"))
                })
                .collect();
            if !found.is_empty() {
                let path = format!("spec.validations[{index}].{key}");
                warnings.push(json!({"fieldRef": path, "warning": found.join("\n")}));
            }
        }
    }
    warnings
}

/// The kinds that rules name without stars, as upstream shows them, with the shape of their objects.
fn kinds(registry: &Registry, rules: &Value) -> Vec<(String, Arc<Shape>)> {
    let mut found = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        let list = |key: &str| -> Vec<&str> {
            let mut all: Vec<&str> =
                rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            all.sort_unstable();
            all
        };
        let (groups, versions) = (list("apiGroups"), list("apiVersions"));
        if groups.iter().chain(&versions).any(|word| word.contains('*')) {
            continue;
        }
        let resources = list("resources").into_iter().filter(|word| !word.contains(['*', '/']));
        let resources: Vec<&str> = resources.collect();
        let all = groups.iter().flat_map(|group| {
            let resources = &resources;
            versions.iter().flat_map(move |version| resources.iter().map(move |one| (*group, *version, *one)))
        });
        let known = all.filter_map(|(group, version, resource)| {
            let kind = registry.resource(group, version, resource)?;
            Some((group.to_owned(), version.to_owned(), kind.kind.clone()))
        });
        found.extend(known.take(TYPES_MAX));
    }
    let shapes = found.into_iter().filter_map(|(group, version, kind)| {
        let shape = shape(registry, &group, &version, &kind)?;
        Some((format!("{group}/{version}, Kind={kind}"), shape))
    });
    shapes.collect()
}

fn shape(registry: &Registry, group: &str, version: &str, kind: &str) -> Option<Arc<Shape>> {
    let found = registry.kind(group, kind)?.version(version)?;
    Some(Shape::of_schema(&found.schema, kind))
}

fn of_param(registry: &Registry, kind: &Value) -> Arc<Shape> {
    let api_version = kind["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let shape = shape(registry, group, version, kind["kind"].as_str().unwrap_or_default());
    shape.unwrap_or_else(|| Shape::of_type(&Type::Dyn))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(expression: &str, rules: Value) -> Vec<Value> {
        let registry = skiff_api::builtin::registry();
        let policy = json!({"spec": {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": expression}]}});
        warnings(&registry, &policy)
    }

    #[test]
    fn a_misspelt_field_is_told_for_each_type_that_has_not_got_it() {
        let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "replicasets"]}]);
        let told_of = |text: &str| told(text, rules.clone());
        assert_eq!(told_of("object.spec.replicas > 1"), Vec::<Value>::new());
        let told = told_of("object.spec.replicaz > 1");
        assert_eq!(told[0]["fieldRef"], "spec.validations[0].expression");
        let text = told[0]["warning"].as_str().unwrap();
        let expected = "apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:12: undefined field 'replicaz'\n | object.spec.replicaz > 1\n | ...........^\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("apps/v1, Kind=ReplicaSet: "), "{text}");
    }

    #[test]
    fn what_cannot_be_known_is_not_checked() {
        let stars = json!([{"apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["deployments"]}]);
        assert_eq!(told("object.nothing == 1", stars), Vec::<Value>::new());
        let custom = json!([{"apiGroups": ["shop.example"], "apiVersions": ["v1"], "resources": ["widgets", "*", "pods/exec"]}]);
        assert_eq!(told("object.nothing == 1", custom), Vec::<Value>::new());
    }
}
