//! The rules of custom kinds (`x-kubernetes-validations`): compiled once a definition, evaluated on every write
//! (`apiextensions-apiserver/pkg/apiserver/schema/cel`).
//!
//! [`Rules`] is what a schema's rules are compiled to, which checks objects ([`skiff_api::validate::Rules`]); [`check_definition`] what is said of them when a definition is
//! written.

mod definition;
mod evaluate;
mod field_path;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::environment::Environment;
use crate::program::Program;
use crate::shape::{Form, ListKind, Shape};
use crate::types::Type;

pub use definition::check_definition;

const WORD: &str = "x-kubernetes-validations";

/// The compiled rules of a schema.
#[derive(Debug)]
pub struct Rules(Node);

impl Rules {
    /// Compiles all rules of an `openAPIV3Schema`; `None` if it has none.
    pub fn compile(schema: &Json) -> Option<Self> {
        let shape = Shape::structural(schema, "selfType", true);
        Node::build(schema, schema, shape.as_ref()).map(Self)
    }
}

/// The rules of one place of a schema and of all below.
#[derive(Debug)]
struct Node {
    rules: Vec<Rule>,
    /// The type that the schema names.
    ty: String,
    all_of: Vec<Node>,
    properties: BTreeMap<String, Node>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
    /// By which keys items are known again; none if they are not.
    keys: Option<Vec<String>>,
    /// Whether the members of the map are compared one by one (`x-kubernetes-map-type` is not atomic).
    granular: bool,
}

/// A compiled rule.
#[derive(Debug)]
struct Rule {
    rule: String,
    program: Result<Program, String>,
    message: String,
    message_expression: Option<Program>,
    reason: String,
    /// Where its failures are told, below its own place.
    path: String,
    /// Whether it compares with what was there before.
    transition: bool,
    /// Whether it is evaluated also where nothing was there before.
    optional: bool,
}

impl Node {
    /// `validations` is where rules stand: the schema itself, or a part of its `allOf`.
    fn build(validations: &Json, schema: &Json, shape: Option<&Arc<Shape>>) -> Option<Self> {
        let rules: Vec<Rule> = match shape {
            Some(shape) => {
                list(validations, WORD).iter().filter_map(|raw| Rule::compile(raw, schema, shape)).collect()
            }
            None => Vec::new(),
        };
        let all_of =
            list(validations, "allOf").iter().filter_map(|part| Self::build(part, schema, shape)).collect();
        let below = |key: &str, shape: Option<&Arc<Shape>>| {
            let (validations, schema) = (&validations[key], &schema[key]);
            (validations.is_object() && schema.is_object())
                .then(|| Self::build(validations, schema, shape))
                .flatten()
        };
        let form = shape.map(|shape| &shape.form);
        let (item, value) = match form {
            Some(Form::List { items, .. }) => (Some(items), None),
            Some(Form::Map(values)) => (None, Some(values)),
            _ => (None, None),
        };
        let mut properties = BTreeMap::new();
        if let Some(Form::Object(object)) = form {
            for (name, validations) in validations["properties"].as_object().into_iter().flatten() {
                let field = object.fields.get(name).filter(|field| !matches!(field.shape.form, Form::Hidden));
                let Some((field, schema)) = field.zip(schema["properties"].get(name)) else { continue };
                if let Some(node) = Self::build(validations, schema, Some(&field.shape)) {
                    properties.insert(name.clone(), node);
                }
            }
        }
        let keys = match form {
            Some(Form::List { kind: ListKind::Map(keys), .. }) => Some(keys.clone()),
            _ => None,
        };
        let node = Self {
            rules,
            ty: schema["type"].as_str().unwrap_or_default().to_owned(),
            all_of,
            properties,
            additional: below("additionalProperties", value).map(Box::new),
            items: below("items", item).map(Box::new),
            keys,
            granular: schema["x-kubernetes-map-type"] != "atomic",
        };
        let empty = node.rules.is_empty()
            && node.all_of.is_empty()
            && node.properties.is_empty()
            && node.additional.is_none()
            && node.items.is_none();
        (!empty).then_some(node)
    }
}

impl Rule {
    fn compile(raw: &Json, schema: &Json, shape: &Arc<Shape>) -> Option<Self> {
        let rule = text(raw, "rule");
        if rule.trim().is_empty() {
            return None;
        }
        let optional = raw["optionalOldSelf"] == true;
        let environment = environment(shape, optional);
        let program = compile_rule(&environment, rule);
        let transition = program.as_ref().is_ok_and(|program| program.uses("oldSelf"));
        let expression = text(raw, "messageExpression");
        Some(Self {
            rule: rule.trim().to_owned(),
            program,
            message: text(raw, "message").trim().to_owned(),
            message_expression: compile_message(&environment, expression).and_then(Result::ok),
            reason: text(raw, "reason").to_owned(),
            path: field_path::normalise(text(raw, "fieldPath"), schema).unwrap_or_default(),
            transition,
            optional,
        })
    }
}

/// What a rule may use: `self`, and `oldSelf` as it is or as an optional.
fn environment(shape: &Arc<Shape>, optional: bool) -> Environment {
    let environment = Environment::new().variable("self", Arc::clone(shape));
    if optional {
        environment.optional("oldSelf", Arc::clone(shape))
    } else {
        environment.variable("oldSelf", Arc::clone(shape))
    }
}

fn compile_rule(environment: &Environment, rule: &str) -> Result<Program, String> {
    let program = environment.compile(rule).map_err(|errors| errors.detail())?;
    if !program.result_type().is(&Type::Bool) {
        return Err("cel expression must evaluate to a bool".into());
    }
    Ok(program)
}

/// `None` if there is none.
fn compile_message(environment: &Environment, expression: &str) -> Option<Result<Program, String>> {
    if expression.is_empty() {
        return None;
    }
    Some(match environment.compile(expression) {
        Err(errors) if errors.instantiation => {
            Err(format!("messageExpression instantiation failed: {errors}"))
        }
        Err(errors) => Err(format!("messageExpression compilation failed: {errors}")),
        Ok(program) if program.result_type().is(&Type::String) => Ok(program),
        Ok(_) => Err("messageExpression must evaluate to a string".into()),
    })
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Json, key: &str) -> &'a [Json] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}
