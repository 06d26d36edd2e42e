//! ValidatingAdmissionPolicy: what must hold of an object, in CEL.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use skiff_api::status::{Cause, Status};
use skiff_cel::{Budget, Value as Cel};

use super::binding::Binding;
use super::concerns;
use super::rule::{Validating, Validation};
use crate::admission::expression::{Facts, Failure};
use crate::admission::webhook::GROUP;
use crate::admission::{Plugin, Review};
use crate::cache::Derived;
use crate::conversion;

/// The longest message that an expression may make, in bytes.
const MESSAGE_MAX: usize = 5 << 10;
/// The longest value of an audit annotation, in bytes.
const ANNOTATION_MAX: usize = 10 << 10;
/// Where failures are recorded that are not refused.
const RECORDED: &str = "validation.policy.admission.k8s.io/validation_failure";
/// The codes of the reasons that a validation may give.
const REASONS: [(&str, u16); 4] =
    [("Invalid", 422), ("Forbidden", 403), ("Unauthorized", 401), ("RequestEntityTooLarge", 413)];

/// The plugin.
pub struct ValidatingAdmissionPolicy {
    policies: Derived<Validating>,
    bindings: Derived<Binding>,
}

impl Default for ValidatingAdmissionPolicy {
    fn default() -> Self {
        Self {
            policies: Derived::new(GROUP, "validatingadmissionpolicies", Validating::read),
            bindings: Derived::new(GROUP, "validatingadmissionpolicybindings", Binding::read),
        }
    }
}

/// What one evaluation found.
#[derive(Debug, Default)]
struct Found {
    /// The validations that do not hold, by their place; what fails as a whole has the first.
    failures: Vec<(usize, Refusal)>,
    /// Annotations to record.
    annotations: Vec<(String, String)>,
    /// Annotations that failed: refused whatever the binding's actions.
    errors: Vec<Refusal>,
}

/// Why a request is refused.
#[derive(Debug, Clone)]
struct Refusal {
    message: String,
    reason: String,
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self { message, reason: "Invalid".into() }
    }
}

/// A failure as it is recorded.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recorded<'a> {
    message: &'a str,
    policy: &'a str,
    binding: &'a str,
    expression_index: usize,
    validation_actions: &'a [String],
}

#[async_trait::async_trait]
impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        concerns(review) && !self.bindings.get(&review.call.app.cache).is_empty()
    }

    async fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), Status> {
        let cache = &review.call.app.cache;
        let (policies, bindings) = (self.policies.get(cache), self.bindings.get(cache));
        let mut first: Option<Refusal> = None;
        for policy in policies.iter() {
            let own: Vec<&Binding> = bindings
                .iter()
                .map(|binding| &**binding)
                .filter(|one| one.policy == policy.policy.name)
                .collect();
            if own.is_empty() {
                continue;
            }
            let refused = judge_all(review, policy, &own, object).await;
            first = first.or(refused);
        }
        match first {
            None => Ok(()),
            Some(refusal) => {
                let shown = if object.is_null() { review.old.unwrap_or(object) } else { object };
                Err(refuse(review, review.name(shown), refusal))
            }
        }
    }
}

/// All bindings of a policy; the first refusal, if there is one.
async fn judge_all(
    review: &Review<'_>,
    validating: &Validating,
    bindings: &[&Binding],
    object: &Value,
) -> Option<Refusal> {
    let policy = &validating.policy;
    let name = &policy.name;
    let mut first: Option<Refusal> = None;
    let mut refuse = |binding: Option<&Binding>, refusal: Refusal| {
        let with = binding.map(|one| format!(" with binding '{}'", one.name)).unwrap_or_default();
        let message = format!("ValidatingAdmissionPolicy '{name}'{with} denied request: {}", refusal.message);
        first.get_or_insert(Refusal { message, ..refusal });
    };
    let fails = |what: &str, why: &str| {
        (!policy.ignores_failures).then(|| Refusal::from(format!("failed to configure {what}: {why}")))
    };
    let version = match policy.about.version(review, object) {
        Ok(Some(version)) => version,
        Ok(None) => return None,
        Err(status) => {
            fails("policy", &status.message).into_iter().for_each(|refusal| refuse(None, refusal));
            return first;
        }
    };
    if let Some(Err(why)) = policy.param_kind.as_ref().map(|kind| kind.check(review.call)) {
        fails("policy", &why).into_iter().for_each(|refusal| refuse(None, refusal));
        return first;
    }
    let shown = conversion::both(review, object, &version).await;
    let facts = Facts::of(review, &version, object);
    let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for binding in bindings {
        let params = match binding.concerns(review, object) {
            Ok(false) => continue,
            Ok(true) => binding.params(review, policy.param_kind.as_ref()),
            Err(status) => Err(status.message),
        };
        let judged = match (&params, &shown) {
            (Err(why), _) => Err(why.clone()),
            (_, Err(status)) => Err(format!("failed to convert object version: {}", status.message)),
            (Ok(params), Ok((object, old))) => Ok(params
                .iter()
                .map(|params| judge(validating, &facts, object, old, params))
                .collect::<Vec<_>>()),
        };
        let judged = match judged {
            Ok(judged) => judged,
            Err(why) => {
                fails("binding", &why).into_iter().for_each(|refusal| refuse(Some(binding), refusal));
                continue;
            }
        };
        for found in judged {
            for (index, failure) in found.failures {
                for action in &binding.actions {
                    match action.as_str() {
                        "Deny" => refuse(Some(binding), failure.clone()),
                        "Warn" => review.call.context.warn(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{}': {}",
                            binding.name, failure.message
                        )),
                        _ => record(review, name, binding, index, &failure.message),
                    }
                }
            }
            found.errors.into_iter().for_each(|refusal| refuse(Some(binding), refusal));
            for (key, value) in found.annotations {
                let values = annotations.entry(key).or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
    }
    for (key, values) in annotations {
        review.call.context.annotate(&format!("{name}/{key}"), &values.join(", "));
    }
    first
}

fn record(review: &Review<'_>, policy: &str, binding: &Binding, expression_index: usize, message: &str) {
    let validation_actions = &binding.actions;
    let failure = Recorded { message, policy, binding: &binding.name, expression_index, validation_actions };
    let text = serde_json::to_string(&[failure]).expect("texts and numbers are valid JSON");
    review.call.context.annotate(RECORDED, &text);
}

/// One evaluation of all that a policy says, with one set of params. Pure but for what its authorizer is asked.
fn judge(validating: &Validating, facts: &Facts, object: &Value, old: &Value, params: &Value) -> Found {
    let policy = &validating.policy;
    let mut found = Found::default();
    let failed = |why: String| (!policy.ignores_failures).then(|| Refusal::from(why));
    let activation = policy.with_variables(facts.activation(object, old, params, policy.uses()));
    match policy.conditions.hold(&activation) {
        Ok(true) => {}
        Ok(false) => return found,
        Err(why) => {
            found.failures.extend(failed(why).map(|refusal| (0, refusal)));
            return found;
        }
    }
    let mut budget = Budget::default();
    let mut values = Vec::new();
    for validation in &validating.validations {
        match validation.expression.evaluate(&activation, &mut budget) {
            Err(Failure::Budget) => {
                found.failures.extend(failed(Failure::Budget.told()).map(|refusal| (0, refusal)));
                return found;
            }
            value => values.push(value),
        }
    }
    for (index, (validation, value)) in validating.validations.iter().zip(values).enumerate() {
        let refusal = match value {
            Ok(value) if value.as_bool() == Some(true) => None,
            Ok(_) => match message(validation, |expression| expression.evaluate(&activation, &mut budget)) {
                Ok(message) => Some(Refusal { message, reason: validation.reason.clone() }),
                Err(spent) => failed(format!("failed messageExpression: {}", spent.told())),
            },
            Err(failure) => failed(failure.told()),
        };
        found.failures.extend(refusal.map(|refusal| (index, refusal)));
    }
    let mut budget = Budget::default();
    for annotation in &validating.annotations {
        match annotation.expression.evaluate(&activation, &mut budget) {
            Ok(value) => {
                let text = value.as_str().map(str::trim).filter(|text| !text.is_empty());
                let text = text.map(|text| clip(text, ANNOTATION_MAX).to_owned());
                found.annotations.extend(text.map(|text| (annotation.key.clone(), text)));
            }
            Err(Failure::Budget) => {
                let spent = failed(Failure::Budget.told()).map(|refusal| (0, refusal));
                return Found { failures: spent.into_iter().collect(), ..Found::default() };
            }
            Err(failure) => found.errors.extend(failed(failure.told())),
        }
    }
    found
}

/// The longest beginning of a text that fits.
fn clip(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// What is said of a validation that does not hold: what its expression makes, else its message, else its text.
fn message<'a>(
    validation: &'a Validation,
    mut evaluate: impl FnMut(&'a crate::admission::expression::Expression) -> Result<Cel<'a>, Failure>,
) -> Result<String, Failure> {
    if let Some(expression) = &validation.message_expression {
        match evaluate(expression) {
            Ok(value) => {
                let text = value.as_str().unwrap_or_default().trim();
                if !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n') {
                    return Ok(text.to_owned());
                }
            }
            Err(Failure::Budget) => return Err(Failure::Budget),
            Err(Failure::One(why)) => tracing::debug!(why, "a messageExpression has no value"),
        }
    }
    if validation.message.is_empty() {
        return Ok(format!("failed expression: {}", validation.expression.text().trim()));
    }
    Ok(validation.message.clone())
}

fn refuse(review: &Review<'_>, name: &str, refusal: Refusal) -> Status {
    let kind = &review.call.kind;
    let mut status = Status::forbidden(&kind.group, &kind.plural, name, &refusal.message);
    let known = REASONS.into_iter().find(|(reason, _)| *reason == refusal.reason);
    (status.reason, status.code) = known.unwrap_or(("Invalid", 422));
    let cause = Cause { reason: "", message: refusal.message, field: String::new() };
    status.details.get_or_insert_default().causes.push(cause);
    status
}
