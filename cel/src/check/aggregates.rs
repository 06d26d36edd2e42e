//! Literals of lists, maps and objects.

use std::sync::Arc;

use super::{Checker, Reference};
use crate::ast::{Element, Entry, Expr, FieldInit, Id};
use crate::types::{Type, most_general};

impl Checker<'_> {
    /// The type of two values that stand in one list or map.
    fn join(&mut self, before: Option<Type>, found: Type) -> Type {
        let Some(before) = before else { return found };
        if self.substitutions.assignable([(&before, &found)]) {
            return most_general(&before, &found);
        }
        // That they are of one type is asked for later, where it must be.
        Type::Dyn
    }

    /// The type of an item, unwrapped if it is marked as optional.
    fn item(&mut self, value: &Expr, optional: bool) -> Type {
        self.check(value);
        let found = self.type_of(value);
        if !optional {
            return found;
        }
        let (inner, wrapped) = found.unwrap_optional();
        if !wrapped && !inner.is_dyn() {
            self.mismatch(value.id, &Type::optional(inner.clone()), &inner);
        }
        inner
    }

    pub(super) fn list(&mut self, items: &[Element]) -> Type {
        let mut of = None;
        for item in items {
            let found = self.item(&item.value, item.optional);
            of = Some(self.join(of, found));
        }
        Type::list(of.unwrap_or_else(|| self.fresh()))
    }

    pub(super) fn map(&mut self, entries: &[Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            self.check(&entry.key);
            let found = self.type_of(&entry.key);
            keys = Some(self.join(keys, found));
            let found = self.item(&entry.value, entry.optional);
            values = Some(self.join(values, found));
        }
        let keys = keys.unwrap_or_else(|| self.fresh());
        let values = values.unwrap_or_else(|| self.fresh());
        Type::map(keys, values)
    }

    pub(super) fn structure(&mut self, at: Id, name: &str, fields: &[FieldInit]) -> Type {
        let plain = name.strip_prefix('.').unwrap_or(name);
        let object = match self.lookup(plain) {
            Some((Reference::Type(name), Type::Type(of))) => match &*of {
                Type::Object(object) => Some((name, Arc::clone(object))),
                other => {
                    self.mistake(at, format!("'{other}' is not a message type"));
                    None
                }
            },
            Some((_, other)) => {
                self.mistake(at, format!("'{other}' is not a type"));
                None
            }
            None => {
                self.undeclared(at, name);
                None
            }
        };
        for field in fields {
            let found = self.item(&field.value, field.optional);
            let Some((_, object)) = &object else { continue };
            let expected = match object.field(&field.name) {
                Some(shape) => shape.cel_type(),
                None if self.is_open(&object.name) => Type::Dyn,
                None => {
                    self.mistake(field.id, format!("undefined field '{}'", field.name));
                    Type::Error
                }
            };
            if !self.substitutions.assignable([(&expected, &found)]) {
                let message = format!(
                    "expected type of field '{}' is '{expected}' but provided type is '{}'",
                    field.name,
                    self.substitutions.apply(&found, true)
                );
                self.mistake(field.id, message);
            }
        }
        match object {
            Some((name, object)) => {
                self.references.insert(at, Reference::Type(name));
                Type::Object(object)
            }
            None => Type::Error,
        }
    }
}
