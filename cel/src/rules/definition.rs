//! What is said of the rules of a definition when it is written (`apis/apiextensions/validation`): their form, whether
//! they compile, what they may cost, each alone and all together.

use std::sync::Arc;

use serde_json::Value as Json;
use skiff_api::status::{FieldError, Problem};

use super::{WORD, compile_message, compile_rule, environment, field_path, list, text};
use crate::program::{CRD_COST_LIMIT, Program, RULE_COST_LIMIT};
use crate::shape::{Form, Shape};

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// How many rules are named when all together cost too much.
const NAMED: usize = 4;

/// Every mistake in the rules of an `openAPIV3Schema` at this path. The schema itself must be right; `compile` is false
/// if it is not, and then only the form of the rules is looked at.
pub fn check_definition(schema: &Json, path: &str, compile: bool) -> Vec<FieldError> {
    let mut check = Check { compile, forms: Vec::new(), errors: Vec::new(), total: 0, expensive: Vec::new() };
    let shape = Shape::structural(schema, "selfType", true);
    check.walk(
        schema,
        shape.as_ref(),
        &Place { path: path.to_owned(), cardinality: Some(1), uncorrelated: None },
    );
    let mut errors = check.forms;
    errors.extend(check.errors);
    if check.total > CRD_COST_LIMIT {
        check.expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (path, _) in check.expensive.into_iter().take(NAMED) {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, too_expensive(what, check.total, CRD_COST_LIMIT)));
    }
    errors
}

/// A place of a schema.
struct Place {
    path: String,
    /// How often it may stand in an object, if all lists and maps above are bounded.
    cardinality: Option<u64>,
    /// The nearest place above whose parts are not known again after an update.
    uncorrelated: Option<String>,
}

struct Check {
    compile: bool,
    /// Mistakes of form: below a place that has some nothing is compiled at it.
    forms: Vec<FieldError>,
    errors: Vec<FieldError>,
    total: u64,
    expensive: Vec<(String, u64)>,
}

impl Check {
    fn walk(&mut self, schema: &Json, shape: Option<&Arc<Shape>>, place: &Place) {
        let before = self.forms.len();
        let path = &place.path;
        let bound = |key: &str| {
            place.cardinality.zip(schema[key].as_u64()).map(|(above, most)| above.saturating_mul(most))
        };
        let form = shape.map(|shape| &shape.form);
        if schema["additionalProperties"].is_object() {
            let values = match form {
                Some(Form::Map(values)) => Some(values),
                _ => None,
            };
            let cardinality = bound("maxProperties");
            let uncorrelated = place.uncorrelated.clone();
            let below = Place { path: format!("{path}.additionalProperties"), cardinality, uncorrelated };
            self.walk(&schema["additionalProperties"], values, &below);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let shape = match form {
                Some(Form::Object(object)) => object.fields.get(name).map(|field| &field.shape),
                _ => None,
            };
            let (cardinality, uncorrelated) = (place.cardinality, place.uncorrelated.clone());
            self.walk(
                property,
                shape,
                &Place { path: format!("{path}.properties[{name}]"), cardinality, uncorrelated },
            );
        }
        if schema["items"].is_object() {
            let items = match form {
                Some(Form::List { items, .. }) => Some(items),
                _ => None,
            };
            let known = schema["x-kubernetes-list-type"] == "map";
            let uncorrelated = place.uncorrelated.clone().or_else(|| (!known).then(|| path.clone()));
            let below = Place { path: format!("{path}.items"), cardinality: bound("maxItems"), uncorrelated };
            self.walk(&schema["items"], items, &below);
        }
        for (index, rule) in list(schema, WORD).iter().enumerate() {
            self.form(rule, schema, &format!("{path}.{WORD}[{index}]"));
        }
        if self.compile && self.forms.len() == before {
            self.rules(schema, shape, place);
        }
    }

    /// What can be said of a rule without compiling it.
    fn form(&mut self, rule: &Json, schema: &Json, path: &str) {
        let at = |name: &str| format!("{path}.{name}");
        let broken = |text: &str| text.contains(['\n', '\r']);
        let given = |name: &str| rule.get(name).is_some_and(|value| value != "");
        let (source, message, field) =
            (text(rule, "rule").trim(), text(rule, "message"), text(rule, "fieldPath"));
        let mut errors = Vec::new();
        if source.is_empty() {
            errors.push(FieldError::required(at("rule"), "rule is not specified"));
        } else if given("message") && message.trim().is_empty() {
            errors.push(FieldError::invalid(at("message"), message, "must be non-empty if specified"));
        } else if broken(message.trim()) {
            errors.push(FieldError::invalid(at("message"), message, "must not contain line breaks"));
        } else if broken(source) && message.trim().is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(at("message"), why));
        }
        if given("messageExpression") && text(rule, "messageExpression").trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(at("messageExpression"), why));
        }
        if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
            errors.push(FieldError::not_supported(at("reason"), reason, &REASONS));
        }
        if !field.is_empty() {
            if field.trim().is_empty() {
                errors.push(FieldError::invalid(at("fieldPath"), field, "must be non-empty if specified"));
            }
            if broken(field) {
                errors.push(FieldError::invalid(at("fieldPath"), field, "must not contain line breaks"));
            }
            if field_path::normalise(field, schema).is_err() {
                errors.push(FieldError::invalid(at("fieldPath"), field, "must be a valid path"));
            }
        }
        self.forms.extend(errors);
    }

    fn rules(&mut self, schema: &Json, shape: Option<&Arc<Shape>>, place: &Place) {
        let rules = list(schema, WORD);
        if rules.is_empty() {
            return;
        }
        let Some(shape) = shape.filter(|shape| !matches!(shape.form, Form::Hidden)) else {
            let why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to \
                       convert structural schema to CEL declarations";
            let path = format!("{}.{WORD}", place.path);
            self.errors.push(FieldError::new(Problem::Internal, path, Json::Null, why));
            return;
        };
        for (index, rule) in rules.iter().enumerate() {
            self.rule(rule, shape, place, &format!("{}.{WORD}[{index}]", place.path));
        }
    }

    fn rule(&mut self, rule: &Json, shape: &Arc<Shape>, place: &Place, path: &str) {
        let at = |name: &str| format!("{path}.{name}");
        let environment = environment(shape, rule["optionalOldSelf"] == true);
        let program = compile_rule(&environment, text(rule, "rule"));
        let mut transition = false;
        match &program {
            Ok(program) => {
                let often = place.cardinality.unwrap_or_else(|| shape.max_cardinality());
                self.cost(program, often, "estimated rule cost", at("rule"));
                transition = program.uses("oldSelf");
            }
            Err(why) => self.errors.push(refused(at("rule"), rule, why)),
        }
        if program.is_ok() {
            match compile_message(&environment, text(rule, "messageExpression")) {
                Some(Ok(program)) => {
                    self.cost(&program, 1, "estimated messageExpression cost", at("messageExpression"))
                }
                Some(Err(why)) => self.errors.push(refused(at("messageExpression"), rule, &why)),
                None => {}
            }
        }
        if transition {
            if let Some(above) = &place.uncorrelated {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {above}"
                );
                self.errors.push(FieldError::invalid(at("rule"), text(rule, "rule"), why));
            }
        } else if let Some(optional) = rule["optionalOldSelf"].as_bool() {
            let why = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(at("optionalOldSelf"), optional, why));
        }
    }

    fn cost(&mut self, program: &Program, often: u64, what: &str, path: String) {
        let cost = program.cost_estimate().max.saturating_mul(often);
        if cost > RULE_COST_LIMIT {
            self.errors.push(FieldError::forbidden(path.clone(), too_expensive(what, cost, RULE_COST_LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= CRD_COST_LIMIT / 100 {
            self.expensive.push((path, cost));
        }
    }
}

/// An error that shows the rule as upstream shows it: all its fields, in the order of its type.
fn refused(path: String, rule: &Json, why: &str) -> FieldError {
    let shown = |name: &str, absent: &str| rule.get(name).map_or_else(|| absent.to_owned(), Json::to_string);
    let shown = format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        shown("rule", "\"\""),
        shown("message", "\"\""),
        shown("messageExpression", "\"\""),
        shown("reason", "null"),
        shown("fieldPath", "\"\""),
        shown("optionalOldSelf", "null"),
    );
    // Go writes these so.
    let shown = shown.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    FieldError::unshown(Problem::Invalid, path, format!("{shown}: {why}"))
}

#[expect(clippy::cast_precision_loss, reason = "a factor is told with one digit")]
fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}
