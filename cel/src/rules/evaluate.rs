//! Rules against objects: in the order of the schema, within one budget, with what is known of the object before.
//!
//! A failure of what was not changed does not refuse an update; it becomes a warning (ratcheting, KEP-4008), unless the
//! rule itself compares with what was there before.

use std::fmt;

use serde_json::{Map, Value as Json};
use skiff_api::status::{FieldError, Problem};
use skiff_api::validate::{self, Found};

use super::{Node, Rule, Rules};
use crate::error::EvaluationError;
use crate::eval::Activation;
use crate::program::{Budget, Program};

/// How long the result of a `messageExpression` may be, in bytes.
const MESSAGE_BYTES: usize = 5 * 1024;

impl validate::Rules for Rules {
    fn check(&self, new: &Json, old: Option<&Json>) -> Found {
        let mut check = Check { found: Found::default(), budget: Budget::default() };
        let known = Known { current: old.map(|old| (new, old)), parent: None };
        // What goes over the budget has said so; there is nothing to add.
        let _ended = check.node(&self.0, &Path::Root, new, old, known);
        check.found
    }
}

/// What is known of a value before: itself if it can be known again, and else the nearest above that can.
#[derive(Clone, Copy)]
struct Known<'v> {
    current: Option<(&'v Json, &'v Json)>,
    parent: Option<(&'v Json, &'v Json)>,
}

impl<'v> Known<'v> {
    fn unchanged(self) -> bool {
        self.current.or(self.parent).is_some_and(|(new, old)| new == old)
    }

    fn below(self, new: &'v Json, old: Option<&'v Json>) -> Self {
        match self.current {
            None => self,
            Some(_) => Self { current: old.map(|old| (new, old)), parent: self.current },
        }
    }
}

/// The way to a value, written out only if something is said of it.
enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Key(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As Go shows a path without steps.
            Self::Root => f.write_str("<nil>"),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(above, name) => write!(f, "{above}.{name}"),
            Self::Key(above, key) => write!(f, "{above}[{key}]"),
            Self::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// The budget is used up, and nothing more is evaluated.
struct Ended;

struct Check {
    found: Found,
    budget: Budget,
}

impl Check {
    fn node(
        &mut self,
        node: &Node,
        path: &Path<'_>,
        new: &Json,
        old: Option<&Json>,
        known: Known<'_>,
    ) -> Result<(), Ended> {
        if new.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        for rule in &node.rules {
            self.rule(node, rule, path, new, old, known)?;
        }
        for part in &node.all_of {
            self.node(part, path, new, old, Known { current: None, parent: known.parent })?;
        }
        match new {
            Json::Array(items) => self.items(node, path, items, old, known),
            Json::Object(members) => self.members(node, path, members, old, known),
            _ => Ok(()),
        }
    }

    fn items(
        &mut self,
        node: &Node,
        path: &Path<'_>,
        items: &[Json],
        old: Option<&Json>,
        known: Known<'_>,
    ) -> Result<(), Ended> {
        let Some(of) = &node.items else { return Ok(()) };
        let before = old.and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        for (index, item) in items.iter().enumerate() {
            let old = node.keys.as_ref().and_then(|keys| same_keys(before, item, keys));
            self.node(of, &Path::Item(path, index), item, old, known.below(item, old))?;
        }
        Ok(())
    }

    fn members(
        &mut self,
        node: &Node,
        path: &Path<'_>,
        members: &Map<String, Json>,
        old: Option<&Json>,
        known: Known<'_>,
    ) -> Result<(), Ended> {
        for (name, value) in members {
            let (of, path) = match (node.properties.get(name), &node.additional) {
                (Some(of), _) => (of, Path::Field(path, name)),
                (None, Some(of)) => (&**of, Path::Key(path, name)),
                (None, None) => continue,
            };
            let old = old.and_then(|old| old.get(name));
            // What is seen of an object's version and kind is not what was changed.
            let hidden = known.parent.is_none() && matches!(name.as_str(), "apiVersion" | "kind");
            let below = if hidden {
                Known { current: None, parent: None }
            } else {
                known.below(value, old.filter(|_| node.granular))
            };
            self.node(of, &path, value, old, below)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        node: &Node,
        rule: &Rule,
        path: &Path<'_>,
        new: &Json,
        old: Option<&Json>,
        known: Known<'_>,
    ) -> Result<(), Ended> {
        // How errors of an evaluation name what was evaluated: by its type.
        let invalid = |why: String| FieldError::invalid(path.to_string(), node.ty.as_str(), why);
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                self.found.errors.push(invalid(format!("rule compile error: {why}")));
                return Ok(());
            }
        };
        if rule.transition && old.is_none() && !rule.optional {
            return Ok(());
        }
        let shown = if rule.message.is_empty() { &rule.rule } else { &rule.message };
        let result = match self.evaluate(program, rule, new, old) {
            Ok(value) => value.as_deref() == Some("true"),
            Err(EvaluationError::Budget) => {
                self.found.errors.push(invalid(EvaluationError::Budget.to_string()));
                return Err(Ended);
            }
            Err(EvaluationError::CallLimit) => {
                self.found.errors.push(invalid(format!(
                    "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}",
                    EvaluationError::CallLimit
                )));
                return Err(Ended);
            }
            Err(EvaluationError::Failed(why)) => {
                let why = if why.starts_with("no such overload") {
                    format!(
                        "'{why}': call arguments did not match a supported operator, function or macro signature for \
                         rule: {shown}"
                    )
                } else {
                    format!("{why} evaluating rule: {shown}")
                };
                self.found.errors.push(invalid(why));
                return Ok(());
            }
        };
        if result {
            return Ok(());
        }
        let (message, ended) = match self.message(rule, new, old) {
            Ok(message) => (message, None),
            Err(why) => (None, Some(why)),
        };
        let place = match (path, rule.path.as_str()) {
            (path, "") => path.to_string(),
            (Path::Root, below) => below.to_owned(),
            (path, below) => format!("{path}.{below}"),
        };
        let error = match &ended {
            Some(why) => FieldError::invalid(place, node.ty.as_str(), why.as_str()),
            None => failure(rule, place, new, message.unwrap_or_else(|| rule.said())),
        };
        if !rule.transition && known.unchanged() {
            self.found.warnings.push(error.to_string());
        } else {
            self.found.errors.push(error);
        }
        if ended.is_some() { Err(Ended) } else { Ok(()) }
    }

    /// The text of a message, or `true` and `false` of a rule.
    fn evaluate(
        &mut self,
        program: &Program,
        rule: &Rule,
        new: &Json,
        old: Option<&Json>,
    ) -> Result<Option<String>, EvaluationError> {
        let mut activation = Activation::new();
        activation.json("self", new);
        match old {
            _ if rule.optional => drop(activation.optional("oldSelf", old)),
            Some(old) => drop(activation.json("oldSelf", old)),
            None => {}
        }
        let value = program.evaluate(&activation, &mut self.budget)?;
        Ok(match value.as_bool() {
            Some(value) => Some(value.to_string()),
            None => value.as_str().map(str::to_owned),
        })
    }

    /// What the `messageExpression` says, if it says something; an error if it went over a limit.
    fn message(&mut self, rule: &Rule, new: &Json, old: Option<&Json>) -> Result<Option<String>, String> {
        let Some(program) = &rule.message_expression else { return Ok(None) };
        match self.evaluate(program, rule, new, old) {
            Ok(text) => {
                let text = text.unwrap_or_default().trim().to_owned();
                let fits = !text.is_empty() && text.len() <= MESSAGE_BYTES && !text.contains('\n');
                Ok(fits.then_some(text))
            }
            Err(EvaluationError::Budget) => {
                Err("messageExpression evaluation failed due to running out of cost budget, \
                                                 no further validation rules will be run"
                    .into())
            }
            Err(EvaluationError::CallLimit) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                program.source()
            )),
            Err(EvaluationError::Failed(_)) => Ok(None),
        }
    }
}

impl Rule {
    fn said(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.rule) } else { self.message.clone() }
    }
}

/// The error of a rule that does not hold. Whole objects and lists are not shown.
fn failure(rule: &Rule, path: String, value: &Json, detail: String) -> FieldError {
    let whole = value.is_object() || value.is_array();
    let problem = match rule.reason.as_str() {
        "FieldValueForbidden" => return FieldError::forbidden(path, detail),
        "FieldValueRequired" => return FieldError::required(path, detail),
        "FieldValueDuplicate" => Problem::Duplicate,
        _ => Problem::Invalid,
    };
    let detail = if problem == Problem::Duplicate { String::new() } else { detail };
    if whole {
        FieldError::unshown(problem, path, detail)
    } else {
        FieldError::new(problem, path, value.clone(), detail)
    }
}

/// The item of a list that has the keys of this one.
fn same_keys<'v>(before: &'v [Json], item: &Json, keys: &[String]) -> Option<&'v Json> {
    before.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key)))
}
