//! Errors as Kubernetes speaks them: a `Status` with a code, a reason, a message and causes.
//!
//! Wording follows upstream's `apimachinery/pkg/api/errors` and `util/validation/field`.

use std::fmt;

use serde_json::{Value, json};

/// A refusal (or failure) on its way to a client. It serialises as a `v1` `Status`.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, such as `NotFound`; empty where upstream gives none.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// What it is about.
    pub details: Option<Details>,
    /// Where an expired list may go on, in the present.
    pub continue_token: Option<String>,
    /// The whole object, where another server said it.
    pub told: Option<Box<Value>>,
}

/// What a [`Status`] is about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// The group of the resource.
    pub group: String,
    /// The resource, or the kind where the reason is `Invalid`.
    pub kind: String,
    /// The object's uid.
    pub uid: String,
    /// The single causes.
    pub causes: Vec<Cause>,
    /// When to try again.
    pub retry_after_s: u32,
}

/// One cause in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// The path of the field, or empty.
    pub field: String,
}

impl Status {
    /// A status without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: None, told: None }
    }

    /// What another server said, to be passed on as it is.
    pub fn told(code: u16, message: impl Into<String>, object: Value) -> Self {
        Self { told: Some(Box::new(object)), ..Self::new(code, "", message) }
    }

    fn about(code: u16, reason: &'static str, message: String, group: &str, kind: &str, name: &str) -> Self {
        let details =
            Details { name: name.into(), group: group.into(), kind: kind.into(), ..Details::default() };
        Self { code, reason, message, details: Some(details), continue_token: None, told: None }
    }

    /// 404 for a named object. `resource` is the plural.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(resource, group));
        Self::about(404, "NotFound", message, group, resource, name)
    }

    /// 404 for a path that serves nothing.
    pub fn no_such_path() -> Self {
        let mut status = Self::new(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(Details::default());
        status
    }

    /// 409 for a create of what exists.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(resource, group));
        Self::about(409, "AlreadyExists", message, group, resource, name)
    }

    /// 409 for a write that was made from an old version.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(resource, group));
        Self::about(409, "Conflict", message, group, resource, name)
    }

    /// 409 because the object has been changed since it was read.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// 403 with upstream's frame around `why`.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", qualified(resource, group))
        } else {
            format!("{} {name:?} is forbidden: {why}", qualified(resource, group))
        };
        Self::about(403, "Forbidden", message, group, resource, name)
    }

    /// 422 with one cause per field error.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let list = match errors {
            [one] => one.to_string(),
            many => format!("[{}]", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        };
        let message = format!("{} {name:?} is invalid: {list}", qualified(kind, group));
        let mut status = Self::about(422, "Invalid", message, group, kind, name);
        if let Some(details) = &mut status.details {
            details.causes = errors.iter().map(FieldError::cause).collect();
        }
        status
    }

    /// 400 for a request that cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 405 for a verb that the resource does not have.
    pub fn method_not_supported(group: &str, resource: &str, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind {:?}", qualified(resource, group));
        Self::about(405, "MethodNotAllowed", message, group, resource, "")
    }

    /// 405 for a method that no one can use on this path.
    pub fn method_not_allowed() -> Self {
        let text = "the server does not allow this method on the requested resource";
        let mut status = Self::new(405, "MethodNotAllowed", text);
        status.details = Some(Details::default());
        status
    }

    /// 410 for a resource version or continue token that is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 504 for a resource version that has not happened.
    pub fn too_large_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut status = Self::new(504, "Timeout", message);
        status.details = Some(Details {
            causes: vec![Cause {
                reason: "ResourceVersionTooLarge",
                message: "Too large resource version".into(),
                field: String::new(),
            }],
            retry_after_s: 1,
            ..Details::default()
        });
        status
    }

    /// 500; the text must not carry internals.
    pub fn internal(why: impl fmt::Display) -> Self {
        let message = format!("Internal error occurred: {why}");
        let mut status = Self::new(500, "InternalError", message);
        status.details = Some(Details {
            causes: vec![Cause { reason: "", message: why.to_string(), field: String::new() }],
            ..Details::default()
        });
        status
    }

    /// 501 for what Skiff does not do yet.
    pub fn not_implemented(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("not implemented: {what}"))
    }

    /// The `v1` `Status` object.
    pub fn to_object(&self) -> Value {
        if let Some(told) = &self.told {
            return Value::clone(told);
        }
        let mut object = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(token) = &self.continue_token {
            object["metadata"]["continue"] = token.as_str().into();
        }
        if !self.reason.is_empty() {
            object["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            object["details"] = details.to_object();
        }
        object
    }
}

impl Details {
    fn to_object(&self) -> Value {
        let mut object = serde_json::Map::new();
        for (key, text) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !text.is_empty() {
                object.insert(key.into(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            object.insert("causes".into(), self.causes.iter().map(Cause::to_object).collect());
        }
        if self.retry_after_s > 0 {
            object.insert("retryAfterSeconds".into(), self.retry_after_s.into());
        }
        object.into()
    }
}

impl Cause {
    fn to_object(&self) -> Value {
        let mut object = serde_json::Map::new();
        for (key, text) in [("reason", self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                object.insert(key.into(), text.into());
            }
        }
        object.into()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// `pods`, or `deployments.apps`.
pub fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// The sort of mistake.
    pub problem: Problem,
    /// Such as `spec.containers[0].name`.
    pub path: String,
    /// What was there.
    pub bad: Value,
    /// Whether what was there is too large to be shown.
    pub unshown: bool,
    /// What is allowed.
    pub detail: String,
}

/// The sorts of mistakes that upstream tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Problem {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl FieldError {
    /// Any problem.
    pub fn new(problem: Problem, path: impl Into<String>, bad: Value, detail: impl Into<String>) -> Self {
        Self { problem, path: path.into(), bad, unshown: false, detail: detail.into() }
    }

    /// Any problem of a value that is not shown.
    pub fn unshown(problem: Problem, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { problem, path: path.into(), bad: Value::Null, unshown: true, detail: detail.into() }
    }

    /// The field must be there.
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Problem::Required, path, Value::Null, detail)
    }

    /// The value is not allowed.
    pub fn invalid(path: impl Into<String>, bad: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Problem::Invalid, path, bad.into(), detail)
    }

    /// The field may not be set, or changed, like this.
    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Problem::Forbidden, path, Value::Null, detail)
    }

    /// The value is not one of those known.
    pub fn not_supported(path: impl Into<String>, bad: impl Into<Value>, allowed: &[&str]) -> Self {
        let mut allowed: Vec<String> = allowed.iter().map(|value| format!("{value:?}")).collect();
        allowed.sort();
        Self::new(
            Problem::NotSupported,
            path,
            bad.into(),
            format!("supported values: {}", allowed.join(", ")),
        )
    }

    /// The value is there twice.
    pub fn duplicate(path: impl Into<String>, bad: impl Into<Value>) -> Self {
        Self::new(Problem::Duplicate, path, bad.into(), "")
    }

    fn cause(&self) -> Cause {
        let text = self.to_string();
        let message = text.strip_prefix(&format!("{}: ", self.path)).unwrap_or(&text).to_owned();
        Cause { reason: self.problem.reason(), message, field: self.path.clone() }
    }
}

impl Problem {
    fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::Internal | Self::TooLong)
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem.words())?;
        if self.problem.shows_value() && !self.unshown {
            write!(f, ": {}", self.bad)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}
