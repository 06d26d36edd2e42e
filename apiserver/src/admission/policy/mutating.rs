//! MutatingAdmissionPolicy: changes of an object, in CEL.

use serde_json::Value;
use skiff_api::ownership;
use skiff_api::schema::{ListKind, Schema, Shape};
use skiff_api::status::{Cause, Status};
use skiff_api::walk;
use skiff_cel::{Activation, Budget};

use super::binding::Binding;
use super::concerns;
use super::rule::{Mutating, Mutation};
use crate::admission::expression::{Expression, Facts, Failure};
use crate::admission::webhook::GROUP;
use crate::admission::{Operation, Plugin, Review};
use crate::cache::Derived;
use crate::conversion;

/// The plugin.
pub struct MutatingAdmissionPolicy {
    policies: Derived<Mutating>,
    bindings: Derived<Binding>,
}

impl Default for MutatingAdmissionPolicy {
    fn default() -> Self {
        Self {
            policies: Derived::new(GROUP, "mutatingadmissionpolicies", Mutating::read),
            bindings: Derived::new(GROUP, "mutatingadmissionpolicybindings", Binding::read),
        }
    }
}

/// A policy that is bound for a request, with one set of params.
struct Invocation<'a> {
    policy: &'a Mutating,
    binding: &'a Binding,
    params: Value,
    version: String,
}

/// Everything that is wrong, in the order in which it was found.
#[derive(Default)]
struct Refusals(Vec<String>);

impl Refusals {
    fn add(&mut self, policy: &Mutating, binding: Option<&Binding>, why: &str) {
        if policy.policy.ignores_failures {
            return;
        }
        let name = &policy.policy.name;
        self.0.push(match binding {
            Some(binding) => {
                format!("policy '{name}' with binding '{}' denied request: {why}", binding.name)
            }
            None => format!("policy {name:?} denied request: {why}"),
        });
    }
}

#[async_trait::async_trait]
impl Plugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        matches!(review.operation, Operation::Create | Operation::Update)
            && concerns(review)
            && !self.bindings.get(&review.call.app.cache).is_empty()
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        let cache = &review.call.app.cache;
        let (policies, bindings) = (self.policies.get(cache), self.bindings.get(cache));
        let mut refusals = Refusals::default();
        let mut invocations = Vec::new();
        for policy in policies.iter() {
            let own = bindings.iter().map(|one| &**one).filter(|one| one.policy == policy.policy.name);
            gather(review, policy, own.collect(), object, &mut invocations, &mut refusals);
        }
        if !invocations.is_empty() {
            if review.is_of_own_kind() {
                // As a client would see it.
                walk::normalise(review.call.schema(), object);
            }
            review.reinvocation.compare(object);
            for invocation in &invocations {
                invoke(review, invocation, object, &mut refusals).await?;
            }
            review.reinvocation.leave(object);
        }
        let Some(first) = refusals.0.first() else { return Ok(()) };
        let kind = &review.call.kind;
        let mut status = Status::forbidden(&kind.group, &kind.plural, review.name(object), first);
        status.message.clone_from(first);
        status.reason = "Invalid";
        let causes =
            refusals.0.iter().map(|why| Cause { reason: "", message: why.clone(), field: String::new() });
        status.details.get_or_insert_default().causes.extend(causes);
        Err(status)
    }
}

/// The bindings of a policy that concern a request.
fn gather<'a>(
    review: &Review<'_>,
    policy: &'a Mutating,
    bindings: Vec<&'a Binding>,
    object: &Value,
    invocations: &mut Vec<Invocation<'a>>,
    refusals: &mut Refusals,
) {
    if bindings.is_empty() {
        return;
    }
    let version = match policy.policy.about.version(review, object) {
        Ok(Some(version)) => version,
        Ok(None) => return,
        Err(status) => {
            return refusals.add(policy, None, &format!("failed to configure policy: {}", status.message));
        }
    };
    if let Some(Err(why)) = policy.policy.param_kind.as_ref().map(|kind| kind.check(review.call)) {
        return refusals.add(policy, None, &format!("failed to configure policy: {why}"));
    }
    for binding in bindings {
        let params = match binding.concerns(review, object) {
            Ok(false) => continue,
            Ok(true) => binding.params(review, policy.policy.param_kind.as_ref()),
            Err(status) => Err(status.message),
        };
        match params {
            Ok(params) => invocations.extend(params.into_iter().map(|params| Invocation {
                policy,
                binding,
                params,
                version: version.clone(),
            })),
            Err(why) => refusals.add(policy, Some(binding), &format!("failed to configure binding: {why}")),
        }
    }
}

/// Evaluates one, and changes the object as it says.
async fn invoke(
    review: &Review<'_>,
    invocation: &Invocation<'_>,
    object: &mut Value,
    refusals: &mut Refusals,
) -> Result<(), Status> {
    let Invocation { policy, binding, params, version } = invocation;
    let own = &review.call.version;
    let (shown, old) = conversion::both(review, object, version).await?;
    let (mut shown, old) = (shown.into_owned(), old.into_owned());
    let facts = Facts::of(review, version, &shown);
    let who = format!(
        "policy/{}/{}/{}/{}",
        policy.policy.name,
        binding.name,
        skiff_api::meta::namespace(params),
        skiff_api::meta::name(params)
    );
    match holds(policy, &facts, &shown, &old, params) {
        Ok(true) if review.reinvocation.asks(&who) => {}
        Ok(_) => return Ok(()),
        Err(why) => {
            refusals.add(policy, Some(binding), &why);
            return Ok(());
        }
    }
    let schema = review.call.kind.version(version).filter(|_| review.is_of_own_kind()).map(|of| &of.schema);
    let before = shown.clone();
    for mutation in &policy.mutations {
        match change(policy, mutation, schema, &facts, &shown, &old, params) {
            Ok(new) => shown = new,
            Err(why) => refusals.add(policy, Some(binding), &why),
        }
    }
    if shown != before {
        review.reinvocation.changed();
        *object = conversion::shown(review, shown, own).await?;
    }
    if policy.reinvoked {
        review.reinvocation.asked(who);
    }
    Ok(())
}

fn holds(
    policy: &Mutating,
    facts: &Facts,
    object: &Value,
    old: &Value,
    params: &Value,
) -> Result<bool, String> {
    let policy = &policy.policy;
    let activation = policy.with_variables(facts.activation(object, old, params, policy.uses()));
    match policy.conditions.hold(&activation) {
        Err(_) if policy.ignores_failures => Ok(false),
        held => held,
    }
}

fn value<'a>(expression: &'a Expression, activation: &Activation<'a>) -> Result<Value, String> {
    let value = expression.evaluate(activation, &mut Budget::default()).map_err(Failure::told)?;
    value.to_json().map_err(|error| format!("type mismatch: {error}"))
}

/// The object as one mutation leaves it.
fn change(
    policy: &Mutating,
    mutation: &Mutation,
    schema: Option<&Schema>,
    facts: &Facts,
    object: &Value,
    old: &Value,
    params: &Value,
) -> Result<Value, String> {
    let policy = &policy.policy;
    let activation = policy.with_variables(facts.activation(object, old, params, policy.uses()));
    let mut new = match mutation {
        Mutation::Apply(expression) => {
            let mut wanted = value(expression, &activation)?;
            for key in ["apiVersion", "kind"] {
                wanted[key] = object[key].clone();
            }
            merged(schema, object, &wanted)?
        }
        Mutation::Patch(expression) => {
            let operations: json_patch::Patch = serde_json::from_value(value(expression, &activation)?)
                .map_err(|error| format!("type mismatch: {error}"))?;
            let mut new = object.clone();
            match json_patch::patch(&mut new, &operations) {
                Ok(()) => new,
                // A test that does not hold leaves the object as it is.
                Err(error) if matches!(error.kind, json_patch::PatchErrorKind::TestFailed) => {
                    return Ok(object.clone());
                }
                Err(error) => return Err(format!("JSON Patch: {error}")),
            }
        }
    };
    if let Some(schema) = schema {
        let text = |key: &str| new[key].as_str().unwrap_or_default().to_owned();
        if let Some(status) = walk::decode_error(&text("kind"), &text("apiVersion"), schema, &new) {
            return Err(status.message);
        }
        walk::prune(schema, &mut new);
        walk::default(schema, &mut new);
        walk::normalise(schema, &mut new);
    }
    Ok(new)
}

fn merged(schema: Option<&Schema>, object: &Value, wanted: &Value) -> Result<Value, String> {
    let Some(schema) = schema else {
        return Err("the kind of this subresource has no schema to merge by".into());
    };
    let applying = |why: String| format!("error applying patch: {why}");
    ownership::check(schema, wanted)
        .map_err(|why| applying(format!("failed to convert patch object to typed object: {why}")))?;
    let mut atomic = Vec::new();
    atomics(schema, wanted, &mut String::new(), &mut atomic);
    if !atomic.is_empty() {
        let all = atomic.join(", ");
        return Err(applying(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {all}"
        )));
    }
    ownership::merge(schema, object, wanted).map_err(|why| applying(format!("failed to merge patch: {why}")))
}

/// The paths of what a configuration would replace as a whole: whoever means to add to it would remove what he does
/// not know.
fn atomics(schema: &Schema, value: &Value, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match (&schema.shape, value) {
        (Shape::Object(fields), Value::Object(map)) => {
            if schema.atomic {
                found.push(path.clone());
            }
            for (key, value) in map {
                if let Some(field) = fields.known.get(key) {
                    path.push_str(&format!(".{key}"));
                    atomics(&field.schema, value, path, found);
                    path.truncate(length);
                }
            }
        }
        (Shape::Map(_), Value::Object(_)) if schema.atomic => found.push(path.clone()),
        (Shape::List { items, kind }, Value::Array(list)) => {
            if *kind == ListKind::Atomic {
                found.push(path.clone());
            }
            for (index, value) in list.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                atomics(items, value, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
