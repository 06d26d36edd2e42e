//! What the variables of an evaluation are.

use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::Value as Json;

use super::Result;
use crate::environment::Variable;
use crate::error::EvaluationError;
use crate::program::Program;
use crate::value::Value;

/// The values of variables. It borrows what they are made of.
///
/// JSON becomes values by what the program's environment declares of the variable, so one activation serves programs
/// of different environments.
#[derive(Debug, Default)]
pub struct Activation<'a> {
    bindings: Vec<(&'a str, Binding<'a>)>,
    lazy: Option<&'a Variables>,
    /// What lazily evaluated variables were found to be.
    known: RefCell<HashMap<&'a str, Result<Value<'a>>>>,
}

#[derive(Debug, Clone)]
enum Binding<'a> {
    Value(Value<'a>),
    Json(&'a Json),
    Optional(Option<&'a Json>),
}

impl<'a> Activation<'a> {
    /// Without variables.
    pub fn new() -> Self {
        Self::default()
    }

    fn bind(&mut self, name: &'a str, binding: Binding<'a>) -> &mut Self {
        self.bindings.retain(|(known, _)| *known != name);
        self.bindings.push((name, binding));
        self
    }

    /// A variable that is a value.
    pub fn value_of(&mut self, name: &'a str, value: Value<'a>) -> &mut Self {
        self.bind(name, Binding::Value(value))
    }

    /// A variable that is JSON; it is not copied.
    pub fn json(&mut self, name: &'a str, json: &'a Json) -> &mut Self {
        self.bind(name, Binding::Json(json))
    }

    /// A variable that is an optional of JSON.
    pub fn optional(&mut self, name: &'a str, json: Option<&'a Json>) -> &mut Self {
        self.bind(name, Binding::Optional(json))
    }

    /// `variables.NAME`: each is evaluated once, when it is first asked for.
    pub fn variables(&mut self, variables: &'a Variables) -> &mut Self {
        self.lazy = Some(variables);
        self.value_of("variables", Value::Variables)
    }

    pub(super) fn value(&self, name: &str, declared: Option<&'a Variable>) -> Result<Value<'a>> {
        let Some((_, binding)) = self.bindings.iter().find(|(known, _)| *known == name) else {
            return Err(EvaluationError::Failed(format!("no such attribute(s): {name}")));
        };
        let of = |json: &'a Json| match declared {
            Some(declared) => Value::of_json(json, &declared.shape),
            None => Ok(Value::plain(json)),
        };
        match binding {
            Binding::Value(value) => Ok(value.clone()),
            // A whole object that is absent (`oldObject` on a create) is null whatever its type.
            Binding::Json(Json::Null) => Ok(Value::Null),
            Binding::Json(json) => of(json),
            Binding::Optional(json) => Ok(match json {
                Some(json) => of(json)?.some(),
                None => Value::Optional(None),
            }),
        }
    }

    /// The value of a lazily evaluated variable, and what it cost now.
    pub(super) fn variable(&self, name: &str, limit: u64) -> (Result<Value<'a>>, u64) {
        if let Some(known) = self.known.borrow().get(name) {
            return (known.clone(), 0);
        }
        let found = self.lazy.and_then(|variables| variables.entries.iter().find(|(known, _)| known == name));
        let Some((name, program)) = found else {
            return (Err(EvaluationError::Failed(format!("no such key: {name}"))), 0);
        };
        let (value, cost) = program.measure(self, limit);
        let value = value.map_err(|error| match error {
            EvaluationError::Failed(why) => {
                EvaluationError::Failed(format!("composited variable {name:?} fails to evaluate: {why}"))
            }
            limit => limit,
        });
        self.known.borrow_mut().insert(name, value.clone());
        (value, cost)
    }
}

/// Named expressions that others use as `variables.NAME`. Each may use those before it.
#[derive(Debug, Default)]
pub struct Variables {
    entries: Vec<(String, Program)>,
}

impl Variables {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, after those that it uses.
    pub fn push(&mut self, name: impl Into<String>, program: Program) {
        self.entries.push((name.into(), program));
    }

    /// The structure of `variables` as expressions see it, to be declared in their environment.
    pub fn shape(&self) -> std::sync::Arc<crate::Shape> {
        use crate::shape::{FieldShape, Form, ObjectShape, Shape};
        let fields = self.entries.iter().map(|(name, program)| {
            (name.clone(), FieldShape { shape: Shape::of_type(program.result_type()), exposed: true })
        });
        let object = ObjectShape { name: "kubernetes.variables".into(), fields: fields.collect() };
        std::sync::Arc::new(Shape::new(Form::Object(std::sync::Arc::new(object)), 0, 2))
    }
}
