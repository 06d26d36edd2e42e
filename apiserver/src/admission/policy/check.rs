//! What is wrong with the expressions of an object that is written. Pure.
//!
//! Paths and words as upstream's `pkg/apis/admissionregistration/validation`.

use serde_json::Value;
use skiff_api::kind::Kind;
use skiff_api::status::FieldError;
use skiff_cel::{Environment, Type, Variables};

use super::rule::{object_type, patch_list, patching};
use crate::admission::expression::{self, Uses};
use crate::admission::webhook::GROUP;

/// The longest `valueExpression`, in bytes.
const VALUE_EXPRESSION_MAX: usize = 5 << 10;

/// What is wrong with the expressions of a policy, or with the conditions of a webhook; nothing for other kinds.
pub fn check(kind: &Kind, new: &Value) -> Vec<FieldError> {
    if kind.group != GROUP {
        return Vec::new();
    }
    match kind.kind.as_str() {
        "ValidatingAdmissionPolicy" => policy(new, validations),
        "MutatingAdmissionPolicy" => policy(new, mutations),
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            let hooks = new["webhooks"].as_array().into_iter().flatten().enumerate();
            let environment = expression::environment(Uses { params: false, authorizer: true });
            hooks
                .flat_map(|(index, hook)| {
                    match_conditions(&environment, hook, &format!("webhooks[{index}].matchConditions"))
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What is wrong with the expressions of `matchConditions`.
pub fn match_conditions(environment: &Environment, of: &Value, path: &str) -> Vec<FieldError> {
    let conditions = of["matchConditions"].as_array().into_iter().flatten().enumerate();
    let errors = conditions.flat_map(|(index, condition)| {
        let text = condition["expression"].as_str().unwrap_or_default().trim();
        compiled(environment, text, text, &[Type::Bool], &format!("{path}[{index}].expression"))
    });
    errors.collect()
}

type Rest = fn(&Value, &Environment, &Environment, &mut Vec<FieldError>);

fn policy(object: &Value, rest: Rest) -> Vec<FieldError> {
    let spec = &object["spec"];
    let params = spec["paramKind"].is_object();
    let full = expression::environment(Uses { params, authorizer: true });
    let plain = expression::environment(Uses { params, authorizer: false });
    let mut errors = match_conditions(&full, spec, "spec.matchConditions");
    let (full, variables) = variables(full, &spec["variables"], &mut errors);
    let plain = plain.variable("variables", variables.shape());
    rest(object, &full, &plain, &mut errors);
    errors
}

fn compiled(
    environment: &Environment,
    text: &str,
    shown: &str,
    results: &[Type],
    path: &str,
) -> Option<FieldError> {
    if text.trim().is_empty() {
        return None;
    }
    let why = expression::compile(environment, text, results).err()?;
    Some(FieldError::invalid(path, shown, why))
}

fn variables(
    mut environment: Environment,
    list: &Value,
    errors: &mut Vec<FieldError>,
) -> (Environment, Variables) {
    let mut known = Variables::new();
    environment = environment.variable("variables", known.shape());
    for (index, one) in list.as_array().into_iter().flatten().enumerate() {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        let path = format!("spec.variables[{index}]");
        let (name, expression) = (text("name"), text("expression"));
        if name.trim().is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), "name is not specified"));
        } else if !skiff_cel::is_identifier(name) {
            let why = "must be a valid CEL identifier";
            errors.push(FieldError::invalid(format!("{path}.name"), name, why));
        }
        if expression.trim().is_empty() {
            errors.push(FieldError::required(format!("{path}.expression"), "expression is not specified"));
            continue;
        }
        match environment.compile(expression) {
            Ok(program) => {
                known.push(name, program);
                environment = environment.variable("variables", known.shape());
            }
            Err(why) => {
                errors.push(FieldError::invalid(format!("{path}.expression"), expression, why.detail()));
            }
        }
    }
    (environment, known)
}

fn validations(object: &Value, full: &Environment, plain: &Environment, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let list = |key: &str| spec[key].as_array().into_iter().flatten().enumerate();
    for (index, one) in list("validations") {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        let path = format!("spec.validations[{index}]");
        let expression = text("expression");
        if expression.trim().is_empty() {
            errors.push(FieldError::required(format!("{path}.expression"), "expression is not specified"));
        }
        errors.extend(compiled(full, expression, expression, &[Type::Bool], &format!("{path}.expression")));
        let made = text("messageExpression");
        let place = format!("{path}.messageExpression");
        if !made.is_empty() && made.trim().is_empty() {
            errors.push(FieldError::invalid(&place, made, "must be non-empty if specified"));
        }
        errors.extend(compiled(plain, made, made, &[Type::String], &place));
        let message = text("message");
        if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(
                format!("{path}.message"),
                message,
                "must be non-empty if specified",
            ));
        } else if message.trim().contains(['\n', '\r']) {
            errors.push(FieldError::invalid(
                format!("{path}.message"),
                message,
                "must not contain line breaks",
            ));
        }
    }
    for (index, one) in list("auditAnnotations") {
        let given = one["valueExpression"].as_str().unwrap_or_default();
        let text = given.trim();
        let path = format!("spec.auditAnnotations[{index}].valueExpression");
        if text.is_empty() {
            errors.push(FieldError::required(path, "valueExpression is not specified"));
        } else if text.len() > VALUE_EXPRESSION_MAX {
            let why = format!("must not exceed {VALUE_EXPRESSION_MAX} bytes in length");
            errors.push(FieldError::required(path, why));
        } else {
            errors.extend(compiled(full, text, given, &[Type::String, Type::Null], &path));
        }
    }
}

fn mutations(object: &Value, full: &Environment, _: &Environment, errors: &mut Vec<FieldError>) {
    let environment = patching(full.clone());
    for (index, one) in object["spec"]["mutations"].as_array().into_iter().flatten().enumerate() {
        for (key, result) in [("applyConfiguration", object_type()), ("jsonPatch", patch_list(&environment))]
        {
            if !one[key].is_object() {
                continue;
            }
            let path = format!("spec.mutations[{index}].{key}.expression");
            let text = one[key]["expression"].as_str().unwrap_or_default().trim();
            if text.is_empty() {
                errors.push(FieldError::required(&path, ""));
            }
            errors.extend(compiled(&environment, text, text, &[result], &path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(kind: &str, spec: Value) -> Vec<String> {
        let registry = skiff_api::builtin::registry();
        let kind = registry.kind(GROUP, kind).unwrap();
        check(kind, &json!({"metadata": {"name": "p"}, "spec": spec}))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_expression_that_does_not_compile_is_refused_at_its_path() {
        let table = [
            (
                json!({"validations": [{"expression": "object.x == 1"}, {"expression": "object.x +"}]}),
                "spec.validations[1].expression: Invalid value: \"object.x +\": compilation failed: ERROR: <input>:1:11",
            ),
            (
                json!({"validations": [{"expression": "1 + 1"}]}),
                "spec.validations[0].expression: Invalid value: \"1 + 1\": must evaluate to bool but got int",
            ),
            (json!({"validations": [{"expression": "params.x == 1"}]}), "undeclared reference to 'params'"),
            (
                json!({"validations": [{"expression": "true", "messageExpression": "authorizer.path('/x').check('get').allowed() ? 'a' : 'b'"}]}),
                "spec.validations[0].messageExpression: Invalid value",
            ),
            (
                json!({"validations": [{"expression": "true", "message": "a\nb"}]}),
                "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks",
            ),
            (
                json!({"variables": [{"name": "9", "expression": "1"}], "validations": [{"expression": "true"}]}),
                "spec.variables[0].name: Invalid value: \"9\": must be a valid CEL identifier",
            ),
            (
                json!({"variables": [{"name": "a", "expression": "1"}], "validations": [{"expression": "variables.b == 1"}]}),
                "undefined field 'b'",
            ),
            (
                json!({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}),
                "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null] but got int",
            ),
            (
                json!({"matchConditions": [{"name": "c", "expression": "'x'"}], "validations": [{"expression": "true"}]}),
                "spec.matchConditions[0].expression: Invalid value: \"'x'\": must evaluate to bool but got string",
            ),
        ];
        for (spec, expected) in table {
            let told = told("ValidatingAdmissionPolicy", spec.clone());
            assert!(told.len() == 1 && told[0].contains(expected), "{spec}: {told:?}");
        }
    }

    #[test]
    fn mutations_make_objects_and_patches() {
        let apply = |text: &str| {
            told(
                "MutatingAdmissionPolicy",
                json!({"mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}]}),
            )
        };
        assert_eq!(apply("Object{metadata: Object.metadata{labels: {'a': 'b'}}}"), Vec::<String>::new());
        assert!(apply("{'a': 'b'}")[0].contains("must evaluate to Object but got map(string, string)"));
        let patch = |text: &str| {
            told(
                "MutatingAdmissionPolicy",
                json!({"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": text}}]}),
            )
        };
        assert_eq!(
            patch("[JSONPatch{op: 'add', path: '/metadata/labels/x', value: 'y'}]"),
            Vec::<String>::new()
        );
        assert!(
            patch("JSONPatch{op: 'add'}")[0].contains("must evaluate to list(JSONPatch) but got JSONPatch")
        );
    }
}
