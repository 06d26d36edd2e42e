//! The rules that a CustomResourceDefinition brings: whether they compile, and what they may cost.
//!
//! The rest of a definition is checked by its strategy; this stands here because expressions are compiled by a crate that
//! stands upon the strategies' own.

use serde_json::Value;
use skiff_api::custom;
use skiff_api::status::FieldError;
use skiff_cel::check_definition;

use crate::app::Call;

/// What is wrong with the rules of a definition that has these errors besides. What an update leaves as it is was said
/// when it was written.
pub fn rules(call: &Call, new: &Value, old: Option<&Value>, errors: &[FieldError]) -> Vec<FieldError> {
    if call.kind.group != custom::GROUP || call.kind.plural != custom::PLURAL {
        return Vec::new();
    }
    let versions =
        |definition: &Value| definition["spec"]["versions"].as_array().cloned().unwrap_or_default();
    let before = old.map(versions).unwrap_or_default();
    let after = versions(new);
    let mut found = Vec::new();
    for (index, at) in custom::schema::places(&new["spec"], "schema") {
        let Some(version) = after.get(index) else { continue };
        let schema = &version["schema"]["openAPIV3Schema"];
        let same = |other: &Value| other["name"] == version["name"] && other["schema"] == version["schema"];
        if !schema.is_object() || before.iter().any(same) {
            continue;
        }
        let path = format!("{at}.openAPIV3Schema");
        let right = !errors.iter().any(|error| error.path.starts_with(&path));
        found.extend(check_definition(schema, &path, right));
    }
    found
}
