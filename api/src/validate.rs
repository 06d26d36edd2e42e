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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_may_be_given_no_time_to_end() {
        let registry = crate::builtin::registry();
        let kind = registry.kind("", "Pod").expect("pods are built in");
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]},
        });
        walk::default(&kind.stored().schema, &mut pod);
        walk::normalise(&kind.stored().schema, &mut pod);
        assert_eq!(validate(kind, kind.stored(), &pod, None), []);
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 0);
    }
}
