//! Reading the tables of rules.

use std::collections::HashMap;

const TABLES: [&str; 2] =
    [include_str!("../../overlay/rules/pod.txt"), include_str!("../../overlay/rules/kinds.txt")];

/// One line of a table.
#[derive(Debug)]
pub struct Rule {
    /// The field, or `.`.
    pub field: &'static str,
    /// What of it.
    pub of: Of,
    /// Whether a key is told at the map's path and not at its own.
    pub bare: bool,
    /// The test.
    pub test: Test,
    /// The words of a refusal; empty for the test's own.
    pub detail: &'static str,
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The field itself.
    Field,
    /// Each item of the list in it.
    Items,
    /// Each key of the map in it.
    Keys,
}

/// The vocabulary.
#[derive(Debug)]
pub enum Test {
    /// `required`: not absent and not zero.
    Required,
    /// `given`: not absent; zero is a value of its own.
    Given,
    /// `required-if FIELD VALUE`.
    RequiredIf(&'static str, &'static str),
    /// `forbidden`: absent or zero.
    Forbidden,
    /// `forbidden-if FIELD VALUE`.
    ForbiddenIf(&'static str, &'static str),
    /// `only-if FIELD VALUE`: forbidden otherwise.
    OnlyIf(&'static str, &'static str),
    /// `range LOW HIGH`, `min LOW`.
    Range(i64, i64),
    /// `one-of VALUE…`.
    OneOf(Vec<&'static str>),
    /// `format NAME`, see [`super::format`].
    Format(&'static str),
    /// `exactly-one FIELD… : NONE : MORE`, `at-most-one FIELD… : MORE`.
    OneField(Vec<&'static str>, bool),
    /// `max-items N`.
    MostItems(usize),
    /// `max-bytes N`.
    MostBytes(usize),
    /// `unique [KEY]`.
    Unique(&'static str),
    /// `immutable`: an update keeps it.
    Immutable,
}

/// All rules, by definition.
pub fn load() -> HashMap<&'static str, Vec<Rule>> {
    let mut rules: HashMap<&str, Vec<Rule>> = HashMap::new();
    let mut at = Vec::new();
    for line in TABLES.iter().flat_map(|table| table.lines()).filter(|line| !line.starts_with('#')) {
        match line.strip_prefix(' ') {
            // Several definitions may share what follows.
            None => at = line.split_whitespace().collect(),
            Some(line) => {
                for name in &at {
                    rules.entry(name).or_default().push(rule(line));
                }
            }
        }
    }
    rules
}

fn rule(line: &'static str) -> Rule {
    let (head, detail) = line.split_once(" : ").unwrap_or((line, ""));
    let mut words = head.split_whitespace();
    let field = words.next().unwrap_or_default();
    let (field, of, bare) = if let Some(field) = field.strip_suffix("[]") {
        (field, Of::Items, false)
    } else if let Some(field) = field.strip_suffix("{}!") {
        (field, Of::Keys, true)
    } else if let Some(field) = field.strip_suffix("{}") {
        (field, Of::Keys, false)
    } else {
        (field, Of::Field, false)
    };
    let name = words.next().unwrap_or_default();
    let arguments: Vec<&'static str> = words.collect();
    let word = |index: usize| arguments.get(index).copied().unwrap_or_default();
    let number = |index: usize| word(index).parse::<i64>().unwrap_or_default();
    let count = |index: usize| word(index).parse::<usize>().unwrap_or_default();
    let test = match name {
        "required" => Test::Required,
        "given" => Test::Given,
        "required-if" => Test::RequiredIf(word(0), word(1)),
        "forbidden" => Test::Forbidden,
        "forbidden-if" => Test::ForbiddenIf(word(0), word(1)),
        "only-if" => Test::OnlyIf(word(0), word(1)),
        "range" => Test::Range(number(0), number(1)),
        "min" => Test::Range(number(0), i64::MAX),
        "port" => Test::Range(1, 65535),
        "one-of" => Test::OneOf(arguments),
        "format" => Test::Format(word(0)),
        "exactly-one" => Test::OneField(arguments, true),
        "at-most-one" => Test::OneField(arguments, false),
        "max-items" => Test::MostItems(count(0)),
        "max-bytes" => Test::MostBytes(count(0)),
        "unique" => Test::Unique(word(0)),
        "immutable" => Test::Immutable,
        other => panic!("no rule is called {other}: {line}"),
    };
    Rule { field, of, bare, test, detail }
}
