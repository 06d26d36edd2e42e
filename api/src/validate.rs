//! Everything that is wrong with an object, whoever finds it: the rules of metadata, the schema, the
//! tables of rules, the kind's strategy.

use std::collections::HashSet;
use std::fmt;

use crate::kind::{Kind, Version};
use crate::status::{FieldError, Problem};
use crate::{Object, convert, rules, strategy, walk};

/// Rules of a version that are evaluated elsewhere: those that its definition writes in the expression language.
pub trait Rules: fmt::Debug + Send + Sync {
    /// What they say of an object; `old` is what an update changes.
    fn check(&self, new: &Object, old: Option<&Object>) -> Found;
}

/// What rules say of an object.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Why it is refused.
    pub errors: Vec<FieldError>,
    /// What would be a reason if it had been changed.
    pub warnings: Vec<String>,
}

/// What a version's rules say of an object with these errors. They are not evaluated over what has another form than
/// they were written for.
pub fn check_rules(version: &Version, new: &Object, old: Option<&Object>, errors: &[FieldError]) -> Found {
    let Some(rules) = &version.rules else { return Found::default() };
    let blocks = |error: &FieldError| {
        use Problem::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
        matches!(error.problem, NotSupported | Required | TooLong | TooMany | TypeInvalid)
    };
    if errors.iter().any(blocks) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                   complete validation";
        let error = FieldError::invalid("<nil>", serde_json::Value::Null, why);
        return Found { errors: vec![error], warnings: Vec::new() };
    }
    rules.check(new, old)
}

/// What is wrong with an object of a version that has been completed; `old` is what an update changes.
pub fn validate(kind: &Kind, version: &Version, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    if convert::differs(kind, &version.name) {
        // As upstream, what is wrong is told of one form of the object, whatever the client speaks.
        let stored = |object: &Object| {
            let mut object = object.clone();
            convert::store(kind, &version.name, &mut object);
            object
        };
        return validate(kind, kind.stored(), &stored(new), old.map(stored).as_ref());
    }
    let schema = &version.schema;
    let mut errors = strategy::check_metadata(kind, new, old);
    errors.extend(rules::check(schema, new, old));
    errors.extend(strategy::of(kind).validate(new, old));
    // The schema knows less than a rule about the same field.
    let told: HashSet<String> = errors.iter().map(|error| error.path.clone()).collect();
    let structural = match &version.validator {
        Some(validator) => validator.check(new, old),
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
