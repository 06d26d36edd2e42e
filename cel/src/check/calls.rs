//! Calls: which overloads fit their arguments, and what follows for types that are not known yet.

use std::sync::Arc;

use super::{Checker, Reference};
use crate::ast::{Expr, Kind, Literal};
use crate::library::declarations::{FUNCTIONS, Overload};
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Type {
        if function == "_?._" {
            let [operand, field] = args else { return Type::Error };
            let Kind::Literal(Literal::String(name)) = &field.kind else { return Type::Error };
            let ty = self.field(expr.id, operand, name, true);
            self.types[field.id] = Type::String;
            let reference =
                Reference::Function { name: "_?._", overloads: vec!["select_optional_field"], member: false };
            self.references.insert(expr.id, reference);
            return self.known(&ty);
        }
        for arg in args {
            self.check(arg);
        }
        let Some(target) = target else {
            return match self.function(function.strip_prefix('.').unwrap_or(function)) {
                Some((name, overloads)) => self.resolve(expr, name, overloads, None, args),
                None => {
                    self.undeclared(expr.id, function);
                    Type::Error
                }
            };
        };
        // `a.b.c()` is the function `a.b.c`, or `c` of `a.b`.
        let qualified = target.qualified_name().map(|prefix| format!("{prefix}.{function}"));
        if let Some((name, overloads)) = qualified.and_then(|name| self.function(&name)) {
            return self.resolve(expr, name, overloads, None, args);
        }
        self.check(target);
        match self.function(function) {
            Some((name, overloads)) => self.resolve(expr, name, overloads, Some(target), args),
            None => {
                self.undeclared(expr.id, function);
                Type::Error
            }
        }
    }

    fn function(&self, name: &str) -> Option<(&'static str, &'static [Overload])> {
        if name.starts_with("jsonpatch.") && !self.environment.patches {
            return None;
        }
        FUNCTIONS.get_key_value(name).map(|(name, overloads)| (*name, overloads.as_slice()))
    }

    fn resolve(
        &mut self,
        expr: &Expr,
        name: &'static str,
        overloads: &'static [Overload],
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Type {
        let found: Vec<Type> = target.into_iter().chain(args).map(|arg| self.type_of(arg)).collect();
        if matches!(name, "_&&_" | "_||_") {
            return self.logical(expr, name, overloads, args);
        }
        let mut result: Option<Type> = None;
        let mut fitting = Vec::new();
        for overload in overloads.iter().filter(|overload| overload.member == target.is_some()) {
            if overload.args.len() != found.len() {
                continue;
            }
            let fresh: Vec<Type> = (0..overload.parameters).map(|_| self.fresh()).collect();
            let wanted: Vec<Type> = overload.args.iter().map(|arg| instantiate(arg, &fresh)).collect();
            if !self.substitutions.assignable(found.iter().zip(&wanted)) {
                continue;
            }
            fitting.push(overload.id);
            let ty = self.known(&instantiate(&overload.result, &fresh));
            result = Some(match result {
                None => ty,
                Some(before) if before.is_dyn() || before.is(&ty) => before,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let shown: Vec<String> =
                found.iter().map(|of| self.substitutions.apply(of, true).to_string()).collect();
            let signature = match (target, shown.split_first()) {
                (Some(_), Some((receiver, rest))) => format!("{receiver}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            self.mistake(
                expr.id,
                format!("found no matching overload for '{name}' applied to '{signature}'"),
            );
            return Type::Error;
        };
        let reference = Reference::Function { name, overloads: fitting, member: target.is_some() };
        self.references.insert(expr.id, reference);
        result
    }

    fn logical(
        &mut self,
        expr: &Expr,
        name: &'static str,
        overloads: &'static [Overload],
        args: &[Expr],
    ) -> Type {
        let mut fits = true;
        for arg in args {
            let found = self.type_of(arg);
            if !self.substitutions.assignable([(&found, &Type::Bool)]) {
                self.mismatch(arg.id, &Type::Bool, &found);
                fits = false;
            }
        }
        let overloads = overloads.iter().map(|overload| overload.id).collect();
        self.references.insert(expr.id, Reference::Function { name, overloads, member: false });
        if fits { Type::Bool } else { Type::Error }
    }
}

/// A signature's type with its parameters put in.
fn instantiate(of: &Type, fresh: &[Type]) -> Type {
    match of {
        Type::Param(number) => fresh[*number as usize].clone(),
        Type::List(of) => Type::list(instantiate(of, fresh)),
        Type::Optional(of) => Type::optional(instantiate(of, fresh)),
        Type::Type(of) => Type::Type(Arc::new(instantiate(of, fresh))),
        Type::Map(entry) => Type::map(instantiate(&entry.0, fresh), instantiate(&entry.1, fresh)),
        other => other.clone(),
    }
}
