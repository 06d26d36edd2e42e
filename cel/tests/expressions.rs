//! Every table of expressions: what each is worth, or how it fails.

use skiff_cel::{Activation, Budget, Environment, Program, Value};

/// One line of a table.
struct Row<'a> {
    expression: &'a str,
    expected: &'a str,
}

fn rows(table: &str) -> Vec<Row<'_>> {
    // A line that begins with a quote mark three times goes on to the next.
    let mut rows = Vec::new();
    let mut rest = table;
    while !rest.is_empty() {
        let end = match rest.starts_with("\"\"\"") {
            true => rest
                .find("\n")
                .and_then(|first| rest[first + 1..].find('\n').map(|second| first + 1 + second)),
            false => rest.find('\n'),
        };
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
        if line.is_empty() || line.starts_with("# E") || line.starts_with("# -") {
            continue;
        }
        let (expression, expected) =
            line.split_once(" => ").unwrap_or_else(|| panic!("no arrow in {line:?}"));
        rows.push(Row { expression, expected });
    }
    rows
}

fn run(program: &Program) -> Result<Value<'_>, String> {
    program.evaluate(&Activation::new(), &mut Budget::unlimited()).map_err(|error| error.to_string())
}

fn same(environment: &Environment, left: &str, right: &str) -> Result<(), String> {
    let both = format!("dyn({left}) == dyn({right})");
    let program = environment.compile(&both).map_err(|errors| format!("refused: {errors}"))?;
    match run(&program) {
        Ok(value) if value.as_bool() == Some(true) => Ok(()),
        Ok(_) => {
            let program = environment.compile(left).map_err(|errors| errors.to_string())?;
            Err(format!("it is {:?}", run(&program)))
        }
        Err(error) => Err(format!("fails: {error}")),
    }
}

fn check(environment: &Environment, row: &Row<'_>) -> Result<(), String> {
    if let Some(words) = row.expected.strip_prefix("refused: ") {
        return match environment.compile(row.expression) {
            Err(errors) if errors.to_string().contains(words) => Ok(()),
            Err(errors) => Err(format!("refused: {errors}")),
            Ok(program) => Err(format!("it is {:?}", run(&program))),
        };
    }
    if let Some(words) = row.expected.strip_prefix("fails: ") {
        let program = environment.compile(row.expression).map_err(|errors| format!("refused: {errors}"))?;
        return match run(&program) {
            Err(error) if error.contains(words) => Ok(()),
            other => Err(format!("it is {other:?}")),
        };
    }
    same(environment, row.expression, row.expected)
}

fn check_table(name: &str, table: &str, least: usize, environment: &Environment) {
    let rows = rows(table);
    assert!(rows.len() >= least, "{name} has {} rows", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let problem = check(environment, row).err()?;
            Some(format!("{} => {}\n    {problem}", row.expression, row.expected))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows of {name}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn the_language_gives_what_it_gives_upstream() {
    check_table("language.txt", include_str!("tables/language.txt"), 140, &Environment::new());
}

#[test]
fn the_libraries_give_what_they_give_upstream() {
    check_table("libraries.txt", include_str!("tables/libraries.txt"), 300, &Environment::new());
}

#[test]
fn mutations_are_made_as_upstream_makes_them() {
    let environment = Environment::new().any_object_type().json_patches();
    check_table("mutations.txt", include_str!("tables/mutations.txt"), 20, &environment);
}

#[test]
fn objects_become_json_if_their_types_are_those_of_their_places() {
    let environment = Environment::new().any_object_type();
    for (expression, expected) in [
        (
            "Object{spec: Object.spec{replicas: 3, list: [Object.spec.list{a: 1}]}}",
            Ok("{\"spec\":{\"list\":[{\"a\":1}],\"replicas\":3}}"),
        ),
        (
            "Object{at: timestamp('2020-01-01T00:00:00Z'), size: b'ab'}",
            Ok("{\"at\":\"2020-01-01T00:00:00Z\",\"size\":\"YWI=\"}"),
        ),
        (
            "Object{spec: Object.other{}}",
            Err(
                "unexpected type name \"Object.other\", expected \"Object.spec\", which matches field name path from root Object type",
            ),
        ),
        (
            "Object{spec: Object.spec{list: [Object.spec{}]}}",
            Err(
                "unexpected type name \"Object.spec\", expected \"Object.spec.list\", which matches field name path from root Object type",
            ),
        ),
    ] {
        let program = environment.compile(expression).expect("it compiles");
        let value = run(&program).expect("it has a value");
        let json = value.to_json().map(|json| json.to_string()).map_err(|error| error.to_string());
        assert_eq!(json.as_deref().map_err(String::as_str), expected, "{expression}");
    }
}
