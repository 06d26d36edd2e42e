//! What is looked at after the types: literals that can never be read, and lists and maps of mixed types
//! (`cel/validator.go`).

use super::{Checker, Expr, Kind, Literal};
use crate::ast::deeper;
use crate::library::regex;
use crate::time;
use crate::types::Type;

/// Adds the mistakes of all literals below a node.
pub(super) fn check(checker: &mut Checker<'_>, expr: &Expr) {
    walk(checker, expr, false);
}

fn walk(checker: &mut Checker<'_>, expr: &Expr, exempt: bool) {
    let mut exempt = exempt;
    match &expr.kind {
        Kind::Call { function, args, .. } => {
            arguments(checker, function, args);
            exempt |= function == "format";
        }
        Kind::List(items) if !exempt && !checker.environment.options.mixed_literals => {
            let values = items.iter().map(|item| (&item.value, item.optional));
            homogeneous(checker, values, true);
        }
        Kind::Map(entries) if !exempt && !checker.environment.options.mixed_literals => {
            homogeneous(checker, entries.iter().map(|entry| (&entry.key, false)), false);
            homogeneous(checker, entries.iter().map(|entry| (&entry.value, entry.optional)), false);
        }
        _ => {}
    }
    for child in expr.children() {
        deeper(|| walk(checker, child, exempt));
    }
}

fn arguments(checker: &mut Checker<'_>, function: &str, args: &[Expr]) {
    let Some(Expr { id, kind: Kind::Literal(literal) }) = args.first() else { return };
    let readable = match (function, literal) {
        ("matches", Literal::String(pattern)) => regex::compile(pattern).is_ok(),
        ("duration", Literal::String(text)) => time::parse_duration(text).is_some(),
        ("timestamp", Literal::String(text)) => time::parse_timestamp(text).is_some(),
        ("timestamp", Literal::Int(seconds)) => time::from_seconds(*seconds).is_some(),
        _ => true,
    };
    if !readable {
        checker.mistake(*id, format!("invalid {function} argument"));
    }
}

/// Of a list the first that differs is told, of a map every one.
fn homogeneous<'e>(checker: &mut Checker<'_>, values: impl Iterator<Item = (&'e Expr, bool)>, once: bool) {
    let mut first: Option<Type> = None;
    for (value, optional) in values {
        let mut found = checker.substitutions.apply(&checker.types[value.id], true);
        if optional {
            found = found.unwrap_optional().0;
        }
        match &first {
            None => first = Some(found),
            Some(expected) if expected.is(&found) => {}
            Some(expected) => {
                let expected = expected.clone();
                checker.mismatch(value.id, &expected, &found);
                if once {
                    return;
                }
            }
        }
    }
}
