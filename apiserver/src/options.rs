//! What a query says about a request, read and refused as upstream does. Pure.
//!
//! Matched to `apimachinery/pkg/apis/meta/internalversion/validation` and `meta/v1/validation`.

use serde_json::{Value, json};
use skiff_api::status::{FieldError, Problem, Status};

use crate::request::Query;

/// The longest name of a field manager, in characters.
const MANAGER_MAX: usize = 128;

/// Which version of a collection is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Match {
    /// The client does not say.
    #[default]
    Unset,
    /// Exactly the version asked for.
    Exact,
    /// That version or a newer one.
    NotOlderThan,
}

/// The options of a list, a watch or a deletecollection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListOptions {
    /// At most so many objects; 0 is no limit.
    pub limit: usize,
    /// Where to go on; empty for the beginning.
    pub continue_token: String,
    /// As it was sent.
    pub resource_version: String,
    /// What it means.
    pub matching: Match,
    /// Whether a watch begins with what is there; defaults are filled in.
    pub initial_events: bool,
    /// Whether bookmarks may be sent.
    pub bookmarks: bool,
    /// How long a watch lasts; 0 if the client does not say.
    pub timeout_s: u64,
}

/// The options of a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteOptions {
    /// Whether nothing may be stored.
    pub dry_run: bool,
    /// `Ignore`, `Warn` or `Strict`.
    pub field_validation: String,
}

/// Reads the options of a list or, if `watch`, of a watch.
pub fn list(query: &Query, watch: bool) -> Result<ListOptions, Status> {
    let limit = integer(query, "limit")?.unwrap_or(0);
    let timeout = integer(query, "timeoutSeconds")?.unwrap_or(0);
    let mut options = ListOptions {
        // Upstream takes a negative limit for none.
        limit: usize::try_from(limit).unwrap_or(0),
        continue_token: query.get("continue").to_owned(),
        resource_version: query.get("resourceVersion").to_owned(),
        matching: match query.get("resourceVersionMatch") {
            "Exact" => Match::Exact,
            "NotOlderThan" => Match::NotOlderThan,
            _ => Match::Unset,
        },
        initial_events: query.flag("sendInitialEvents"),
        bookmarks: query.flag("allowWatchBookmarks"),
        timeout_s: u64::try_from(timeout).unwrap_or(0),
    };
    let asked = query.get("resourceVersionMatch");
    let sent = !query.all("sendInitialEvents").is_empty();
    let errors = if watch { watch_errors(&options, asked, sent) } else { list_errors(&options, asked, sent) };
    if !errors.is_empty() {
        return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors));
    }
    if watch && !sent && asked.is_empty() && matches!(options.resource_version.as_str(), "" | "0") {
        options.initial_events = true;
    }
    Ok(options)
}

fn list_errors(options: &ListOptions, asked: &str, initial: bool) -> Vec<FieldError> {
    let field = "resourceVersionMatch";
    let mut errors = Vec::new();
    if !asked.is_empty() {
        if options.resource_version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(FieldError::forbidden(field, why));
        }
        if !options.continue_token.is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(field, why));
        }
        if options.matching == Match::Unset {
            // Not in the order of their letters, as upstream.
            let known = r#"supported values: "Exact", "NotOlderThan", """#;
            errors.push(FieldError::new(Problem::NotSupported, field, asked.into(), known));
        }
        if options.matching == Match::Exact && options.resource_version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(field, why));
        }
    }
    if initial {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    errors
}

fn watch_errors(options: &ListOptions, asked: &str, initial: bool) -> Vec<FieldError> {
    let field = "resourceVersionMatch";
    let mut errors = Vec::new();
    if initial && options.matching != Match::NotOlderThan {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(field, why));
    }
    if !asked.is_empty() {
        if !initial {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(field, why));
        }
        if options.matching != Match::NotOlderThan {
            errors.push(FieldError::not_supported(field, asked, &["NotOlderThan"]));
        }
        if !options.continue_token.is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(field, why));
        }
    }
    errors
}

/// Reads the options of a write. `kind` is that of the options (`CreateOptions`…), for refusals;
/// `apply` whether they are of a server-side apply.
pub fn write(query: &Query, kind: &str, apply: bool) -> Result<WriteOptions, Status> {
    let mut errors = Vec::new();
    let manager = query.get("fieldManager");
    if kind == "PatchOptions" {
        if apply && manager.is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if !apply && !query.all("force").is_empty() {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
    }
    if kind != "DeleteOptions" {
        errors.extend(manager_errors(manager));
    }
    errors.extend(dry_run_errors(&json!(query.all("dryRun"))));
    let validation = query.get("fieldValidation");
    if kind != "DeleteOptions" && !matches!(validation, "" | "Ignore" | "Warn" | "Strict") {
        let known = ["", "Ignore", "Strict", "Warn"];
        errors.push(FieldError::not_supported("fieldValidation", validation, &known));
    }
    if !errors.is_empty() {
        return Err(Status::invalid("meta.k8s.io", kind, "", &errors));
    }
    let field_validation = if validation.is_empty() { "Warn" } else { validation }.to_owned();
    Ok(WriteOptions { dry_run: !query.all("dryRun").is_empty(), field_validation })
}

/// What is wrong with a `dryRun` list.
pub fn dry_run_errors(list: &Value) -> Option<FieldError> {
    let known = list.as_array().is_none_or(|list| list.iter().all(|text| text == "All"));
    (!known).then(|| FieldError::not_supported("dryRun", list.clone(), &["All"]))
}

fn manager_errors(manager: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if manager.len() > MANAGER_MAX {
        let detail = format!("may not be more than {MANAGER_MAX} bytes");
        errors.push(FieldError::new(Problem::TooLong, "fieldManager", Value::Null, detail));
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.push(FieldError::invalid("fieldManager", manager, detail));
    }
    errors
}

/// A whole number in a query, refused in Go's words.
pub fn integer(query: &Query, key: &str) -> Result<Option<i64>, Status> {
    let text = query.get(key);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_watches_are_refused_in_upstreams_words() {
        let table = [
            (false, "limit=x", 400, r#"strconv.ParseInt: parsing "x": invalid syntax"#),
            (
                false,
                "resourceVersionMatch=Exact",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"#,
            ),
            (
                false,
                "resourceVersion=0&resourceVersionMatch=Exact",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0""#,
            ),
            (
                false,
                "sendInitialEvents=true",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"#,
            ),
            (
                true,
                "sendInitialEvents=true",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"#,
            ),
        ];
        for (watch, query, code, message) in table {
            let status = list(&Query::parse(query), watch).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, message), "{query}");
        }
        assert_eq!(list(&Query::parse("limit=-5"), false).unwrap().limit, 0);
        assert!(list(&Query::parse(""), true).unwrap().initial_events);
        assert!(!list(&Query::parse("resourceVersion=7"), true).unwrap().initial_events);
    }

    #[test]
    fn writes_are_refused_in_upstreams_words() {
        let refused =
            |query: &str, kind: &str, apply| write(&Query::parse(query), kind, apply).unwrap_err().message;
        assert_eq!(
            refused("force=true", "PatchOptions", false),
            r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#
        );
        assert_eq!(
            refused("", "PatchOptions", true),
            r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#
        );
        assert!(refused("fieldValidation=x", "CreateOptions", false).contains("Unsupported value: \"x\""));
        assert!(refused("dryRun=x", "UpdateOptions", false).contains("supported values: \"All\""));
        assert!(write(&Query::parse("dryRun=All"), "CreateOptions", false).unwrap().dry_run);
    }
}
