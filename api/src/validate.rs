//! Everything that is wrong with an object, whoever finds it: the rules of metadata, the schema, the
//! tables of rules, the kind's strategy.

use std::collections::HashSet;

use crate::kind::{Kind, Version};
use crate::status::{FieldError, Problem};
use crate::{Object, rules, strategy, walk};

/// What is wrong with an object of a version that has been completed; `old` is what an update changes.
pub fn validate(kind: &Kind, version: &Version, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let schema = &version.schema;
    let mut errors = strategy::check_metadata(kind, new, old);
    errors.extend(rules::check(schema, new, old));
    errors.extend(strategy::of(kind).validate(new, old));
    // The schema knows less than a rule about the same field.
    let told: HashSet<String> = errors.iter().map(|error| error.path.clone()).collect();
    let structural = match &version.validator {
        Some(validator) => validator.check(new),
        None => walk::check(schema, new, ""),
    };
    errors.extend(structural.into_iter().filter(|error| !told.contains(&error.path)));
    let mut seen = HashSet::new();
    errors.retain(|error| {
        let words = if error.problem == Problem::Invalid || error.problem == Problem::Forbidden {
            error.detail.clone()
        } else {
            String::new()
        };
        seen.insert((error.path.clone(), error.problem, words))
    });
    errors
}
