//! Every field that is only narrowed somewhere is described outside of that. Matched to `schema/complete.go`.

use serde_json::Value;

use super::narrowing;
use crate::status::FieldError;

/// What junctors anywhere on a schema speak of and the schema does not describe.
pub(super) fn check(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (place, part) in narrowing(schema) {
        covered(part, Some(schema), &format!("{path}.{place}"), path, errors);
    }
}

fn covered(part: &Value, outside: Option<&Value>, path: &str, place: &str, errors: &mut Vec<FieldError>) {
    let Some(outside) = outside.filter(|outside| outside.is_object()) else {
        errors.push(FieldError::required(place, format!("because it is defined in {path}")));
        return;
    };
    for (inner, narrower) in narrowing(part) {
        covered(narrower, Some(outside), &format!("{path}.{inner}"), place, errors);
    }
    if part["items"].is_object() {
        let (path, place) = (format!("{path}.items"), format!("{place}.items"));
        covered(&part["items"], outside.get("items"), &path, &place, errors);
    }
    for (name, property) in part["properties"].as_object().into_iter().flatten() {
        let at = |root: &str| format!("{root}.properties[{name}]");
        covered(property, outside["properties"].get(name), &at(path), &at(place), errors);
    }
}
