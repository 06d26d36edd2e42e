//! A policy as it is used: what it is about, and its expressions compiled.

use serde_json::Value;
use skiff_cel::{Activation, Environment, Type, Variables};

use super::binding::ParamKind;
use crate::admission::constraint::Constraint;
use crate::admission::expression::{self, Conditions, Expression, Uses};

/// What both sorts of policies have.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Whether a request passes when the policy fails.
    pub ignores_failures: bool,
    /// What it is about.
    pub about: Constraint,
    /// The kind of its params, if it has some.
    pub param_kind: Option<ParamKind>,
    /// What must hold before it is looked at.
    pub conditions: Conditions,
    variables: Variables,
}

impl Policy {
    /// Reads a policy; the environments with which its own expressions are compiled are those of the variables that it
    /// uses, with `authorizer` and without.
    pub fn read(object: &Value) -> (Self, Environment, Environment) {
        let spec = &object["spec"];
        let param_kind = ParamKind::read(&spec["paramKind"]);
        let uses = Uses { params: param_kind.is_some(), authorizer: true };
        let (full, variables) = expression::variables(expression::environment(uses), &spec["variables"]);
        let plain = expression::environment(Uses { authorizer: false, ..uses });
        let plain = plain.variable("variables", variables.shape());
        let policy = Self {
            name: skiff_api::meta::name(object).to_owned(),
            ignores_failures: spec["failurePolicy"] == "Ignore",
            about: Constraint::of_policy(&spec["matchConstraints"]),
            param_kind,
            conditions: Conditions::read(&full, &spec["matchConditions"]),
            variables,
        };
        (policy, full, plain)
    }

    /// What its expressions may use.
    pub fn uses(&self) -> Uses {
        Uses { params: self.param_kind.is_some(), authorizer: true }
    }

    /// Adds its variables.
    pub fn with_variables<'a>(&'a self, mut activation: Activation<'a>) -> Activation<'a> {
        activation.variables(&self.variables);
        activation
    }
}

/// One of the `validations` of a ValidatingAdmissionPolicy.
#[derive(Debug)]
pub struct Validation {
    /// What must be true.
    pub expression: Expression,
    /// What is said if it is not.
    pub message: String,
    /// What is said if it has a value that can be shown.
    pub message_expression: Option<Expression>,
    /// The reason of the refusal.
    pub reason: String,
}

/// One of the `auditAnnotations`.
#[derive(Debug)]
pub struct Annotation {
    /// Its key, without the policy's name.
    pub key: String,
    /// Its value; null for none.
    pub expression: Expression,
}

/// A ValidatingAdmissionPolicy.
#[derive(Debug)]
pub struct Validating {
    /// What it has in common with the other sort.
    pub policy: Policy,
    /// What it demands.
    pub validations: Vec<Validation>,
    /// What it records.
    pub annotations: Vec<Annotation>,
}

impl Validating {
    /// Reads one.
    pub fn read(object: &Value) -> Self {
        let (policy, full, plain) = Policy::read(object);
        let spec = &object["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |key: &str| spec[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let validations = list("validations").iter().map(|one| Validation {
            expression: Expression::compile(&full, &text(&one["expression"]), &[Type::Bool]),
            message: text(&one["message"]).trim().to_owned(),
            message_expression: one["messageExpression"]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(|text| Expression::compile(&plain, text, &[Type::String])),
            reason: one["reason"].as_str().unwrap_or("Invalid").to_owned(),
        });
        let annotations = list("auditAnnotations").iter().map(|one| Annotation {
            key: text(&one["key"]),
            expression: Expression::compile(
                &full,
                &text(&one["valueExpression"]),
                &[Type::String, Type::Null],
            ),
        });
        let (validations, annotations) = (validations.collect(), annotations.collect());
        Self { policy, validations, annotations }
    }
}

/// One of the `mutations` of a MutatingAdmissionPolicy.
#[derive(Debug)]
pub enum Mutation {
    /// An object that is merged into the one under review.
    Apply(Expression),
    /// A JSON patch.
    Patch(Expression),
}

/// A MutatingAdmissionPolicy.
#[derive(Debug)]
pub struct Mutating {
    /// What it has in common with the other sort.
    pub policy: Policy,
    /// What it changes, one after the other.
    pub mutations: Vec<Mutation>,
    /// Whether it is asked again when others changed the object after it.
    pub reinvoked: bool,
}

impl Mutating {
    /// Reads one.
    pub fn read(object: &Value) -> Self {
        let (policy, full, _) = Policy::read(object);
        let spec = &object["spec"];
        let environment = patching(full);
        let mutations = spec["mutations"].as_array().into_iter().flatten().map(|one| {
            let text = |key: &str| one[key]["expression"].as_str().unwrap_or_default().trim().to_owned();
            if one["patchType"] == "JSONPatch" {
                let results = [patch_list(&environment)];
                Mutation::Patch(Expression::compile(&environment, &text("jsonPatch"), &results))
            } else {
                let results = [object_type()];
                Mutation::Apply(Expression::compile(&environment, &text("applyConfiguration"), &results))
            }
        });
        Self { policy, mutations: mutations.collect(), reinvoked: spec["reinvocationPolicy"] == "IfNeeded" }
    }
}

/// The environment in which objects and patches can be made.
pub fn patching(environment: Environment) -> Environment {
    environment.any_object_type().json_patches()
}

/// The type of what a JSON patch is.
pub fn patch_list(environment: &Environment) -> Type {
    let one = environment.compile("JSONPatch{op: '', path: ''}");
    Type::list(one.map_or(Type::Dyn, |program| program.result_type().clone()))
}

/// The type `Object`.
pub fn object_type() -> Type {
    let one = Environment::new().any_object_type().compile("Object{}");
    one.map_or(Type::Dyn, |program| program.result_type().clone())
}
