//! How large the values of an expression may be: as they are written, as they are declared, or as what they are made of.

use super::{Coster, Entries, Path, Sized};
use crate::ast::{ACCUMULATOR, Expr, Kind, Literal, OLD_ACCUMULATOR};
use crate::cost::Estimate;
use crate::shape::{Form, Shape};
use crate::types::Type;

impl<'c> Coster<'c, '_> {
    pub(super) fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    /// The declared structure of what a path leads to.
    fn declared(&self, path: &[String]) -> Option<&Shape> {
        let (first, rest) = path.split_first()?;
        let mut shape = (self.root)(first)?;
        for step in rest {
            shape = match (step.as_str(), &shape.form) {
                ("@items" | "@values", Form::List { items, .. }) => items,
                ("@items" | "@values", Form::Map(values)) => values,
                (name, Form::Object(object)) => {
                    // By the name that it is declared with: a reserved word is declared with underscores.
                    let field = object.field(name)?;
                    if crate::shape::escape(&crate::shape::unescape(name)?)? != name {
                        return None;
                    }
                    field
                }
                _ => return None,
            };
        }
        Some(shape)
    }

    /// The declared size of what a path leads to. The keys of a map have none: it is zero, as upstream's.
    fn declared_size(&self, path: &[String]) -> Option<Estimate> {
        if let Some((last, rest)) = path.split_last()
            && last == "@keys"
        {
            return matches!(self.declared(rest)?.form, Form::Map(_)).then_some(Estimate::fixed(0));
        }
        self.declared(path).map(|shape| Estimate::between(0, shape.max_elements))
    }

    pub(super) fn size(&mut self, expr: &Expr) -> Option<Estimate> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = written_size(expr) {
            return Some(size);
        }
        let path = self.path(expr);
        if let Some(size) = self.declared_size(&path) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.ty(expr)) {
            return Some(Estimate::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    pub(super) fn size_of(&mut self, expr: &Expr) -> Estimate {
        self.size(expr).unwrap_or(Estimate::UNKNOWN)
    }

    pub(super) fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        }
    }

    pub(super) fn sized(&mut self, expr: &'c Expr) -> Sized<'c> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|first| first == ACCUMULATOR || first == OLD_ACCUMULATOR) {
            path = Path::new();
        }
        Sized { expr, ty: self.ty(expr), path, size: self.size(expr) }
    }

    /// The size of a node as the libraries see it: also where only its declaration tells.
    pub(in crate::cost) fn library_size(&self, node: &Sized<'_>) -> Estimate {
        node.size.or_else(|| self.declared_size(&node.path)).unwrap_or(Estimate::UNKNOWN)
    }

    /// The size of the items of a list.
    pub(in crate::cost) fn item_size(&self, node: &Sized<'_>) -> Estimate {
        let mut path = node.path.clone();
        if path.is_empty() {
            return Estimate::UNKNOWN;
        }
        path.push("@items".into());
        self.declared_size(&path).unwrap_or(Estimate::UNKNOWN)
    }
}

/// The size of a literal.
fn written_size(expr: &Expr) -> Option<Estimate> {
    let size = match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count(),
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len(),
        Kind::Literal(_) => 1,
        Kind::List(items) => items.len(),
        Kind::Map(entries) => entries.len(),
        _ => return None,
    };
    Some(Estimate::fixed(size as u64))
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}
