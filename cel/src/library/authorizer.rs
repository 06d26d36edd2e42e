//! `authorizer`: questions to whoever decides what is allowed.

use std::fmt;
use std::sync::Arc;

use skiff_api::name;

use super::{Call, Library, Native, Result};
use crate::error::EvaluationError;
use crate::value::Value;

/// Who decides what is allowed. It is asked while an expression is evaluated, so it must not block.
pub trait Authorizer: Send + Sync {
    /// The answer to a question.
    fn decide(&self, question: &Question<'_>) -> Decision;
}

/// What is asked.
#[derive(Debug)]
pub struct Question<'q> {
    /// About a service account (namespace and name) instead of the user of the request.
    pub service_account: Option<(&'q str, &'q str)>,
    /// The verb.
    pub verb: &'q str,
    /// What of.
    pub of: Target<'q>,
}

/// What a question is about.
#[derive(Debug)]
pub enum Target<'q> {
    /// A path that is no resource.
    Path(&'q str),
    /// A resource, of any version.
    Resource(&'q ResourceCheck),
}

/// A resource that is asked about.
#[derive(Debug, Clone, Default)]
pub struct ResourceCheck {
    /// Its group.
    pub group: String,
    /// Its plural.
    pub resource: String,
    /// Its subresource, or empty.
    pub subresource: String,
    /// Its namespace, or empty.
    pub namespace: String,
    /// Its name, or empty.
    pub name: String,
    /// A selector by fields, or empty.
    pub field_selector: String,
    /// A selector by labels, or empty.
    pub label_selector: String,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while it was decided.
    pub error: Option<String>,
}

/// Who is asked, about whom.
#[derive(Clone)]
pub struct Subject<'a> {
    authorizer: &'a dyn Authorizer,
    service_account: Option<(String, String)>,
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("service_account", &self.service_account).finish_non_exhaustive()
    }
}

impl<'a> Value<'a> {
    /// The value of the variable `authorizer`.
    pub fn authorizer(authorizer: &'a dyn Authorizer) -> Self {
        Library::Authorizer(Arc::new(Subject { authorizer, service_account: None })).into()
    }

    /// The value of the variable `authorizer.requestResource`.
    pub fn resource_check(authorizer: &'a dyn Authorizer, check: ResourceCheck) -> Self {
        let subject = Arc::new(Subject { authorizer, service_account: None });
        Library::ResourceCheck(subject, Arc::new(check)).into()
    }
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "path" => |call| {
            let path = call.text(1)?;
            if path.trim().is_empty() {
                return Err(EvaluationError::failed("path must not be empty"));
            }
            Ok(Library::PathCheck(subject(call)?, path.into()).into())
        },
        "group" => |call| Ok(Library::GroupCheck(subject(call)?, call.text(1)?.into()).into()),
        "serviceAccount" => service_account,
        "resource" => resource,
        "subresource" => |call| narrowed(call, |check, text| check.subresource = text),
        "namespace" => |call| narrowed(call, |check, text| check.namespace = text),
        "name" => |call| narrowed(call, |check, text| check.name = text),
        "fieldSelector" => |call| narrowed(call, |check, text| check.field_selector = text),
        "labelSelector" => |call| narrowed(call, |check, text| check.label_selector = text),
        "check" => check,
        "errored" => |call| Ok(Value::Bool(decision(call)?.error.is_some())),
        "error" => |call| Ok(decision(call)?.error.clone().unwrap_or_default().into()),
        "allowed" => |call| Ok(Value::Bool(decision(call)?.allowed)),
        "reason" => |call| Ok(decision(call)?.reason.clone().into()),
        _ => return None,
    })
}

fn subject<'a>(call: &Call<'_, 'a>) -> Result<Arc<Subject<'a>>> {
    match call.library(0)? {
        Library::Authorizer(subject) => Ok(Arc::clone(subject)),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn decision(call: &Call<'_, '_>) -> Result<Arc<Decision>> {
    match call.library(0)? {
        Library::Decision(decision) => Ok(Arc::clone(decision)),
        _ => Err(EvaluationError::no_overload()),
    }
}

fn service_account<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let (namespace, account) = (call.text(1)?, call.text(2)?);
    if !name::dns1123_subdomain(account).is_empty() {
        return Err(EvaluationError::failed("Invalid service account name"));
    }
    if !name::dns1123_label(namespace).is_empty() {
        return Err(EvaluationError::failed("Invalid service account namespace"));
    }
    let mut subject = (*subject(call)?).clone();
    subject.service_account = Some((namespace.to_owned(), account.to_owned()));
    Ok(Library::Authorizer(Arc::new(subject)).into())
}

fn resource<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let Library::GroupCheck(subject, group) = call.library(0)? else {
        return Err(EvaluationError::no_overload());
    };
    let resource = call.text(1)?;
    if resource.trim().is_empty() {
        return Err(EvaluationError::failed("resource must not be empty"));
    }
    let check =
        ResourceCheck { group: group.to_string(), resource: resource.to_owned(), ..ResourceCheck::default() };
    Ok(Library::ResourceCheck(Arc::clone(subject), Arc::new(check)).into())
}

fn narrowed<'a>(call: &Call<'_, 'a>, set: fn(&mut ResourceCheck, String)) -> Result<Value<'a>> {
    let Library::ResourceCheck(subject, check) = call.library(0)? else {
        return Err(EvaluationError::no_overload());
    };
    let mut check = (**check).clone();
    set(&mut check, call.text(1)?.to_owned());
    Ok(Library::ResourceCheck(Arc::clone(subject), Arc::new(check)).into())
}

fn check<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let verb = call.text(1)?;
    let (subject, of) = match call.library(0)? {
        Library::PathCheck(subject, path) => (subject, Target::Path(path)),
        Library::ResourceCheck(subject, check) => (subject, Target::Resource(check)),
        _ => return Err(EvaluationError::no_overload()),
    };
    let service_account =
        subject.service_account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    let decision = subject.authorizer.decide(&Question { service_account, verb, of });
    Ok(Library::Decision(Arc::new(decision)).into())
}
