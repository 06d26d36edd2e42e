//! The functions of the language and of Kubernetes' libraries. What each takes is in `functions.txt`; here is what
//! each does, looked up by name when an expression is compiled.

mod authorizer;
mod conversions;
pub(crate) mod declarations;
mod format;
mod ip;
mod lists;
mod named_format;
mod operators;
mod optional;
mod quantity;
pub(crate) mod regex;
mod semver;
mod sets;
mod strings;
mod times;
mod url;

use std::sync::Arc;

use ::regex::Regex;

use crate::error::EvaluationError;
use crate::value::{List, Value};

pub use authorizer::{Authorizer, Decision, Question, ResourceCheck, Subject, Target};
pub use ip::{Cidr, Ip};
pub use named_format::NamedFormat;
pub use semver::Semver;
pub use url::Url;

type Result<T> = std::result::Result<T, EvaluationError>;

/// A value that only a library can make.
#[derive(Debug, Clone)]
pub enum Library<'a> {
    /// `kubernetes.Quantity`.
    Quantity(skiff_api::quantity::Quantity),
    /// `kubernetes.URL`.
    Url(Arc<Url>),
    /// `net.IP`.
    Ip(Ip),
    /// `net.CIDR`.
    Cidr(Cidr),
    /// `kubernetes.NamedFormat`.
    Format(&'static NamedFormat),
    /// `kubernetes.Semver`.
    Semver(Arc<Semver>),
    /// `kubernetes.authorization.Authorizer`.
    Authorizer(Arc<Subject<'a>>),
    /// `kubernetes.authorization.PathCheck`.
    PathCheck(Arc<Subject<'a>>, Arc<str>),
    /// `kubernetes.authorization.GroupCheck`.
    GroupCheck(Arc<Subject<'a>>, Arc<str>),
    /// `kubernetes.authorization.ResourceCheck`.
    ResourceCheck(Arc<Subject<'a>>, Arc<ResourceCheck>),
    /// `kubernetes.authorization.Decision`.
    Decision(Arc<Decision>),
}

impl Library<'_> {
    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::PathCheck(..) => "kubernetes.authorization.PathCheck",
            Self::GroupCheck(..) => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck(..) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    /// Its size, which costs are counted by: the bytes of an address.
    pub fn size(&self) -> u64 {
        match self {
            Self::Ip(ip) => ip.size(),
            Self::Cidr(cidr) => cidr.size(),
            _ => 1,
        }
    }

    /// The text that it is written as, if it is written at all.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Self::Quantity(quantity) => quantity.to_string(),
            Self::Url(url) => url.to_string(),
            Self::Ip(ip) => ip.to_string(),
            Self::Cidr(cidr) => cidr.to_string(),
            Self::Semver(version) => version.to_string(),
            _ => return None,
        })
    }

    /// Without what it borrows; nothing if it cannot be without.
    pub fn into_owned(self) -> Option<Library<'static>> {
        Some(match self {
            Self::Quantity(quantity) => Library::Quantity(quantity),
            Self::Url(url) => Library::Url(url),
            Self::Ip(ip) => Library::Ip(ip),
            Self::Cidr(cidr) => Library::Cidr(cidr),
            Self::Format(format) => Library::Format(format),
            Self::Semver(version) => Library::Semver(version),
            Self::Decision(decision) => Library::Decision(decision),
            _ => return None,
        })
    }
}

impl PartialEq for Library<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a.to_string() == b.to_string(),
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::Semver(a), Self::Semver(b)) => a.compare(b).is_eq(),
            _ => false,
        }
    }
}

impl<'a> From<Library<'a>> for Value<'a> {
    fn from(value: Library<'a>) -> Self {
        Self::Library(value)
    }
}

/// The arguments of a call, the receiver first.
#[derive(Debug)]
pub(crate) struct Call<'c, 'a> {
    /// The arguments.
    pub args: &'c [Value<'a>],
    /// The overload, if there was only one that fits.
    pub overload: &'static str,
    /// The pattern, if it is a constant.
    pub regex: Option<&'c Regex>,
}

impl<'c, 'a> Call<'c, 'a> {
    fn value(&self, place: usize) -> Result<&'c Value<'a>> {
        self.args.get(place).ok_or_else(EvaluationError::no_overload)
    }

    fn text(&self, place: usize) -> Result<&'c str> {
        match self.value(place)? {
            Value::String(text) => Ok(text),
            _ => Err(EvaluationError::no_overload()),
        }
    }

    fn int(&self, place: usize) -> Result<i64> {
        match self.value(place)? {
            Value::Int(value) => Ok(*value),
            _ => Err(EvaluationError::no_overload()),
        }
    }

    /// An argument that may be left out.
    fn int_or(&self, place: usize, otherwise: i64) -> Result<i64> {
        if place < self.args.len() { self.int(place) } else { Ok(otherwise) }
    }

    fn list(&self, place: usize) -> Result<&'c List<'a>> {
        match self.value(place)? {
            Value::List(list) => Ok(list),
            _ => Err(EvaluationError::no_overload()),
        }
    }

    fn library(&self, place: usize) -> Result<&'c Library<'a>> {
        match self.value(place)? {
            Value::Library(value) => Ok(value),
            _ => Err(EvaluationError::no_overload()),
        }
    }
}

/// What a function does. Of its overloads it finds the right one by its arguments.
pub(crate) type Native = for<'c, 'a> fn(&Call<'c, 'a>) -> Result<Value<'a>>;

/// A function by its name.
pub(crate) fn native(name: &str) -> Option<Native> {
    let rooms = [
        operators::native,
        conversions::native,
        times::native,
        optional::native,
        strings::native,
        lists::native,
        sets::native,
        regex::native,
        url::native,
        quantity::native,
        ip::native,
        named_format::native,
        semver::native,
        authorizer::native,
    ];
    rooms.iter().find_map(|room| room(name))
}

#[cfg(test)]
mod tests {
    use super::declarations::FUNCTIONS;

    /// What the planner makes steps of, so that no function stands behind it.
    const STEPS: &[&str] = &[
        "_&&_",
        "_||_",
        "_?_:_",
        "@not_strictly_false",
        "_==_",
        "_!=_",
        "_[_]",
        "_[?_]",
        "_?._",
        "or",
        "orValue",
        "cel.@mapInsert",
    ];

    #[test]
    fn every_declared_function_does_something() {
        for name in FUNCTIONS.keys() {
            assert!(
                STEPS.contains(name) || super::native(name).is_some(),
                "{name} is declared and does nothing"
            );
        }
    }
}
