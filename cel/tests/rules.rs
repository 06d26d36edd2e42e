//! Rules over objects with schemas: what each costs and how it fails; what each may cost by its estimate.

use serde_json::Value as Json;
use skiff_cel::{
    Activation, Authorizer, Decision, Environment, Options, Program, Question, Shape, Type, Value,
};

fn lines(table: &str) -> Vec<Json> {
    table.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn environment(group: &Json) -> Environment {
    let root = group["root"] == true;
    let Some(shape) = Shape::structural(&group["schema"], "selfType", root) else {
        panic!("no expression can see {}", group["schema"])
    };
    let environment = Environment::new().variable("self", shape.clone());
    if group["optional"] == true {
        environment.optional("oldSelf", shape)
    } else {
        environment.variable("oldSelf", shape)
    }
}

fn compile(environment: &Environment, rule: &str) -> Result<Program, String> {
    let program = environment.compile(rule).map_err(|errors| errors.detail())?;
    if program.result_type().is(&Type::Bool) {
        Ok(program)
    } else {
        Err("cel expression must evaluate to a bool".into())
    }
}

fn evaluate(program: &Program, group: &Json) -> Result<u64, String> {
    let mut activation = Activation::new();
    activation.json("self", &group["object"]);
    if !group["old"].is_null() {
        activation.json("oldSelf", &group["old"]);
    }
    match program.measure(&activation, u64::MAX) {
        (Ok(value), cost) if value.as_bool() == Some(true) => Ok(cost),
        (Ok(value), _) => Err(format!("it is {value}")),
        (Err(error), _) => Err(format!("fails: {error}")),
    }
}

/// Each rule of each group with what is expected of it; tells how many there were.
fn each(
    table: &str,
    check: impl Fn(&Json, &Environment, &str, &Json) -> Result<(), String>,
) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    for group in lines(table) {
        let environment = environment(&group);
        for row in group["rules"].as_array().expect("each group has rules") {
            let (rule, expected) = (row[0].as_str().expect("a rule is a text"), &row[1]);
            count += 1;
            if let Err(problem) = check(&group, &environment, rule, expected) {
                wrong.push(format!("{} {rule}\n    expected {expected}\n    {problem}", group["about"]));
            }
        }
    }
    (count, wrong)
}

fn refused(found: Result<Program, String>, expected: &str) -> Result<(), String> {
    match found {
        Err(detail) if same_refusal(&detail, expected) => Ok(()),
        Err(detail) => Err(format!("refused: {detail}")),
        Ok(_) => Err("it compiles".into()),
    }
}

/// Syntax errors are held to their place and their kind; the words of ours are fewer.
fn same_refusal(found: &str, expected: &str) -> bool {
    let syntax = |text: &str| text.split("Syntax error: ").next().map(str::to_owned);
    if expected.contains("Syntax error: ") {
        return syntax(found) == syntax(expected);
    }
    if expected.contains("error parsing regexp") {
        return found.contains("error parsing regexp");
    }
    found == expected
}

#[test]
fn rules_hold_cost_and_fail_as_upstream() {
    let (count, wrong) = each(include_str!("tables/rules.jsonl"), |group, environment, rule, expected| {
        if let Some(words) = expected.as_str().and_then(|text| text.strip_prefix("refused: ")) {
            return refused(compile(environment, rule), words);
        }
        let program = compile(environment, rule).map_err(|detail| format!("refused: {detail}"))?;
        match (evaluate(&program, group), expected.as_u64()) {
            (Ok(cost), Some(expected)) if cost == expected => Ok(()),
            (Ok(cost), _) => Err(format!("costs {cost}")),
            (Err(problem), None) if Some(problem.as_str()) == expected.as_str() => Ok(()),
            (Err(problem), _) => Err(problem),
        }
    });
    assert!(wrong.is_empty(), "{} of {count} rules:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 1000, "the table is read: {count}");
}

#[test]
fn rules_are_estimated_as_upstream() {
    let (count, wrong) = each(include_str!("tables/estimates.jsonl"), |_, environment, rule, expected| {
        if let Some(words) = expected.as_str().and_then(|text| text.strip_prefix("refused: ")) {
            return refused(compile(environment, rule), words);
        }
        let program = compile(environment, rule).map_err(|detail| format!("refused: {detail}"))?;
        let estimate = program.cost_estimate();
        if Some(estimate.max) == expected.as_u64() {
            Ok(())
        } else {
            Err(format!("estimated at {}", estimate.max))
        }
    });
    assert!(wrong.is_empty(), "{} of {count} rules:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 400, "the table is read: {count}");
}

struct AllowAll;

impl Authorizer for AllowAll {
    fn decide(&self, _: &Question<'_>) -> Decision {
        Decision { allowed: true, ..Decision::default() }
    }
}

#[test]
fn libraries_cost_as_upstream() {
    let environment = Environment::new()
        .authorizer("authorizer")
        .json_patches()
        .options(Options { unoptimized: true, mixed_literals: true });
    let (mut count, mut wrong) = (0, Vec::new());
    for line in include_str!("tables/costs.txt").lines().filter(|line| !line.starts_with('#')) {
        let (expression, cost) = line.rsplit_once(" => ").expect("each line has an arrow");
        count += 1;
        match environment.compile(expression) {
            Err(errors) => wrong.push(format!("{expression}\n    {errors}")),
            Ok(program) => {
                let mut activation = Activation::new();
                activation.value_of("authorizer", Value::authorizer(&AllowAll));
                match program.measure(&activation, u64::MAX) {
                    (Err(error), _) => wrong.push(format!("{expression}\n    {error}")),
                    (Ok(_), found) if found.to_string() == cost => {}
                    (Ok(_), found) => {
                        wrong.push(format!("{expression}\n    expected {cost} but it costs {found}"))
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 150, "the table is read: {count}");
}
