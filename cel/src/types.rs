//! Types of expressions, how they are written, and when one may stand for another (`checker/types.go`).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::shape::{ObjectShape, Shape};

/// A type.
#[derive(Debug, Clone)]
pub enum Type {
    /// Anything; looked at when evaluated.
    Dyn,
    /// Of an expression that is wrong, so that nothing more is said about it.
    Error,
    /// `null`.
    Null,
    /// A truth.
    Bool,
    /// 64 bits with a sign.
    Int,
    /// 64 bits without one.
    Uint,
    /// A floating number.
    Double,
    /// A text.
    String,
    /// Bytes.
    Bytes,
    /// A point in time.
    Timestamp,
    /// A span of time.
    Duration,
    /// A list of one type.
    List(Arc<Type>),
    /// A map of keys and values.
    Map(Arc<(Type, Type)>),
    /// An object with known fields. Two are the same if their names are.
    Object(Arc<ObjectShape>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// A type of a library, such as `kubernetes.Quantity`.
    Opaque(&'static str),
    /// A type as a value.
    Type(Arc<Type>),
    /// A parameter of a function's signature, or a type that is not known yet.
    Param(u32),
}

impl Type {
    /// `list(of)`.
    pub fn list(of: Type) -> Self {
        Self::List(Arc::new(of))
    }

    /// `map(key, value)`.
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// `optional_type(of)`.
    pub fn optional(of: Type) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// The type that values of this shape have.
    pub fn of(shape: &Arc<Shape>) -> Self {
        shape.cel_type()
    }

    /// Whether two types are the same.
    pub fn is(&self, other: &Type) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b))
            | (Self::Optional(a), Self::Optional(b))
            | (Self::Type(a), Self::Type(b)) => a.is(b),
            (Self::Map(a), Self::Map(b)) => a.0.is(&b.0) && a.1.is(&b.1),
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::Param(a), Self::Param(b)) => a == b,
            _ => {
                std::mem::discriminant(self) == std::mem::discriminant(other)
                    && !matches!(
                        self,
                        Self::List(_)
                            | Self::Map(_)
                            | Self::Object(_)
                            | Self::Optional(_)
                            | Self::Opaque(_)
                            | Self::Type(_)
                            | Self::Param(_)
                    )
            }
        }
    }

    /// Whether nothing is known about it.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    fn is_wild(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// What an optional holds, and whether it is one.
    pub fn unwrap_optional(&self) -> (Type, bool) {
        match self {
            Self::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        }
    }

    fn parts(&self) -> Vec<&Type> {
        match self {
            Self::List(of) | Self::Optional(of) | Self::Type(of) => vec![of],
            Self::Map(of) => vec![&of.0, &of.1],
            _ => Vec::new(),
        }
    }

    fn may_be_null(&self) -> bool {
        matches!(
            self,
            Self::Null
                | Self::Optional(_)
                | Self::Opaque(_)
                | Self::Object(_)
                | Self::Duration
                | Self::Timestamp
        )
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(of) => write!(f, "map({}, {})", of.0, of.1),
            Self::Object(object) => f.write_str(&object.name),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Opaque(name) => f.write_str(name),
            Self::Type(of) => write!(f, "type({of})"),
            Self::Param(number) => write!(f, "_var{number}"),
        }
    }
}

/// What is known about types that were not known at first.
#[derive(Debug, Clone, Default)]
pub struct Substitutions(HashMap<u32, Type>);

impl Substitutions {
    /// Whether each type may stand for the other of its pair; what was learnt is kept only if all may.
    pub fn assignable<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a Type, &'a Type)>) -> bool {
        let mut tried = self.clone();
        let fits = pairs.into_iter().all(|(a, b)| tried.fits(a, b));
        if fits {
            *self = tried;
        }
        fits
    }

    /// The type with all that is known put in; what is not known stays, or is `dyn`.
    pub fn apply(&self, of: &Type, unknown_is_dyn: bool) -> Type {
        match of {
            Type::Param(number) => match self.0.get(number) {
                Some(known) => self.apply(known, unknown_is_dyn),
                None if unknown_is_dyn => Type::Dyn,
                None => of.clone(),
            },
            Type::List(item) => Type::list(self.apply(item, unknown_is_dyn)),
            Type::Optional(item) => Type::optional(self.apply(item, unknown_is_dyn)),
            Type::Type(item) => Type::Type(Arc::new(self.apply(item, unknown_is_dyn))),
            Type::Map(entry) => {
                Type::map(self.apply(&entry.0, unknown_is_dyn), self.apply(&entry.1, unknown_is_dyn))
            }
            other => other.clone(),
        }
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Param(number) = b {
            match self.substitute(a, *number) {
                (true, _) => return true,
                (false, true) => return false,
                _ => {}
            }
        }
        if let Type::Param(number) = a {
            return self.substitute(b, *number).0;
        }
        if a.is_wild() || b.is_wild() {
            return true;
        }
        if matches!(a, Type::Null) {
            return b.may_be_null();
        }
        if matches!(b, Type::Null) {
            return a.may_be_null();
        }
        match (a, b) {
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(_), Type::List(_))
            | (Type::Map(_), Type::Map(_))
            | (Type::Optional(_), Type::Optional(_)) => {
                a.parts().into_iter().zip(b.parts()).all(|(a, b)| self.fits(a, b))
            }
            _ => a.is(b),
        }
    }

    /// Whether the parameter may be this type, and whether something was known about it.
    fn substitute(&mut self, of: &Type, number: u32) -> (bool, bool) {
        let parameter = Type::Param(number);
        if of.is(&parameter) {
            return (true, true);
        }
        if let Some(known) = self.0.get(&number).cloned() {
            if of.is(&known) {
                return (true, true);
            }
            if self.fits(of, &known) {
                let general = most_general(of, &known);
                if self.absent(&parameter, &general) {
                    self.0.insert(number, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.absent(&parameter, of) {
            self.0.insert(number, of.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether a parameter does not occur in a type.
    fn absent(&self, parameter: &Type, within: &Type) -> bool {
        if parameter.is(within) {
            return false;
        }
        match within {
            Type::Param(number) => self.0.get(number).is_none_or(|known| self.absent(parameter, known)),
            other => other.parts().into_iter().all(|part| self.absent(parameter, part)),
        }
    }
}

/// The more general of two types that fit.
pub fn most_general(a: &Type, b: &Type) -> Type {
    if less_specific(a, b) { a.clone() } else { b.clone() }
}

fn less_specific(a: &Type, b: &Type) -> bool {
    if a.is_dyn() || matches!(a, Type::Param(_)) {
        return true;
    }
    if b.is_dyn() || matches!(b, Type::Param(_)) {
        return false;
    }
    match (a, b) {
        (Type::Type(_), Type::Type(_)) => true,
        (Type::List(_), Type::List(_))
        | (Type::Map(_), Type::Map(_))
        | (Type::Optional(_), Type::Optional(_)) => {
            a.parts().into_iter().zip(b.parts()).all(|(a, b)| less_specific(a, b))
        }
        _ => a.is(b),
    }
}
